//! The exact form of a backup's key: `<prefix><database, _ as ->-YYYY-MM-DDTHH-MM-SS.dump.gz`, UTC.
//!
//! Retention and the sweep of open uploads touch only keys that [`KeyForm::parse`] accepts, so it accepts nothing
//! that [`KeyForm::key`] would not have written.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const SUFFIX: &str = ".dump.gz";
const DAY_SECONDS: i64 = 86_400;

/// A second in UTC, proleptic Gregorian calendar, without leap seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct UtcTime {
    /// Seconds since 1970-01-01T00:00:00Z.
    seconds: i64,
}

/// What a database's backups are called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeyForm {
    /// Everything before the time, the hyphen included.
    stem: String,
}

impl KeyForm {
    /// `prefix` stands before the key as it is (a folder ends in `/`); `_` in the database's name becomes `-`.
    pub(super) fn new(prefix: &str, database: &str) -> KeyForm {
        KeyForm {
            stem: format!("{prefix}{}-", database.replace('_', "-")),
        }
    }

    /// The key of a backup begun at `time`.
    pub(super) fn key(&self, time: UtcTime) -> String {
        let (year, month, day) = time.date();
        let second = time.seconds.rem_euclid(DAY_SECONDS);
        format!(
            "{}{year:04}-{month:02}-{day:02}T{:02}-{:02}-{:02}{SUFFIX}",
            self.stem,
            second / 3600,
            second / 60 % 60,
            second % 60
        )
    }

    /// The time in `key`, if the key is exactly of this form and its time is one that exists.
    pub(super) fn parse(&self, key: &str) -> Option<UtcTime> {
        let stamp = key.strip_prefix(&self.stem)?.strip_suffix(SUFFIX)?;
        if stamp.len() != "YYYY-MM-DDTHH-MM-SS".len() || !stamp.is_ascii() {
            return None;
        }
        let number = |from: usize, to: usize| -> Option<i64> { stamp.get(from..to)?.parse().ok() };
        let time = UtcTime::from_civil(
            (number(0, 4)?, number(5, 7)?, number(8, 10)?),
            (number(11, 13)?, number(14, 16)?, number(17, 19)?),
        );
        // Signs, 31 February, 25 o'clock, other separators: whatever does not come back unchanged was not ours.
        (self.key(time) == key).then_some(time)
    }

    /// What all keys of this form begin with: the prefix to list by.
    pub(super) fn prefix(&self) -> &str {
        &self.stem
    }
}

impl UtcTime {
    /// The current second.
    pub(super) fn now() -> UtcTime {
        UtcTime::from_system(SystemTime::now())
    }

    /// Cut to the second.
    pub(super) fn from_system(time: SystemTime) -> UtcTime {
        let seconds = match time.duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_secs()).unwrap_or(i64::MAX),
        };
        UtcTime { seconds }
    }

    /// From seconds since 1970-01-01T00:00:00Z.
    #[cfg(test)]
    pub(super) fn from_unix(seconds: i64) -> UtcTime {
        UtcTime { seconds }
    }

    /// Seconds since 1970-01-01T00:00:00Z.
    #[cfg(test)]
    pub(super) fn unix(self) -> i64 {
        self.seconds
    }

    /// Whether this second lies on a Sunday.
    pub(super) fn is_sunday(self) -> bool {
        // 1970-01-01 was a Thursday.
        (self.seconds.div_euclid(DAY_SECONDS) + 4).rem_euclid(7) == 0
    }

    /// The time `span` earlier.
    #[must_use]
    pub(super) fn before(self, span: Duration) -> UtcTime {
        UtcTime {
            seconds: self
                .seconds
                .saturating_sub(i64::try_from(span.as_secs()).unwrap_or(i64::MAX)),
        }
    }

    /// The next second.
    #[must_use]
    pub(super) fn next_second(self) -> UtcTime {
        UtcTime {
            seconds: self.seconds.saturating_add(1),
        }
    }

    /// Year, month and day by the days → civil algorithm: years begin in March, eras have 400 years.
    fn date(self) -> (i64, i64, i64) {
        let days = self.seconds.div_euclid(DAY_SECONDS) + 719_468; // since 0000-03-01
        let era = days.div_euclid(146_097);
        let day_of_era = days.rem_euclid(146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 {
            month_from_march + 3
        } else {
            month_from_march - 9
        };
        (year_of_era + era * 400 + i64::from(month <= 2), month, day)
    }

    /// The reverse of [`UtcTime::date`]; parts out of range give some other, valid time.
    fn from_civil((year, month, day): (i64, i64, i64), (hour, minute, second): (i64, i64, i64)) -> UtcTime {
        let year = year - i64::from(month <= 2);
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let month_from_march = (month + 9).rem_euclid(12);
        let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        let days = era * 146_097 + day_of_era - 719_468;
        UtcTime {
            seconds: days * DAY_SECONDS + hour * 3600 + minute * 60 + second,
        }
    }
}

impl fmt::Display for UtcTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.date();
        let second = self.seconds.rem_euclid(DAY_SECONDS);
        write!(
            f,
            "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC",
            second / 3600,
            second / 60 % 60,
            second % 60
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn at(seconds: i64) -> UtcTime {
        UtcTime::from_unix(seconds)
    }

    #[test]
    fn the_key_has_the_agreed_form() {
        let form = KeyForm::new("", "heys_production");
        assert_eq!(
            form.key(at(1_709_209_445)),
            "heys-production-2024-02-29T12-24-05.dump.gz"
        );
        let form = KeyForm::new("nightly/", "heys_production");
        assert_eq!(form.key(at(0)), "nightly/heys-production-1970-01-01T00-00-00.dump.gz");
    }

    #[test]
    fn every_key_written_is_read_back() {
        let form = KeyForm::new("a/b/", "x_y");
        // Every 11 hours and 7 seconds over four centuries: each month end and leap day is passed.
        for seconds in (-30_000_000_000..12_000_000_000_i64).step_by(39_607 * 499) {
            if form.key(at(seconds)).contains("--") {
                continue; // before the year 0
            }
            assert_eq!(form.parse(&form.key(at(seconds))), Some(at(seconds)));
        }
    }

    #[test]
    fn nothing_else_is_taken_for_ours() {
        let form = KeyForm::new("p/", "heys_production");
        assert!(form.parse("p/heys-production-2024-02-29T12-24-05.dump.gz").is_some());
        for foreign in [
            "heys-production-2024-02-29T12-24-05.dump.gz",
            "p/heys_production-2024-02-29T12-24-05.dump.gz",
            "p/heys-production-2023-02-29T12-24-05.dump.gz",
            "p/heys-production-2024-02-30T12-24-05.dump.gz",
            "p/heys-production-2024-00-29T12-24-05.dump.gz",
            "p/heys-production-2024-13-29T12-24-05.dump.gz",
            "p/heys-production-2024-02-29T24-24-05.dump.gz",
            "p/heys-production-2024-02-29T12-60-05.dump.gz",
            "p/heys-production-2024-02-29T12-24-60.dump.gz",
            "p/heys-production-2024-02-29T12-24-+5.dump.gz",
            "p/heys-production-2024-02-29T12:24:05.dump.gz",
            "p/heys-production-2024-02-29t12-24-05.dump.gz",
            "p/heys-production-2024-02-29T12-24-05.dump",
            "p/heys-production-2024-02-29T12-24-05.dump.gz.enc",
            "p/heys-production-2024-02-29T12-24-05.DUMP.gz",
            "p/heys-production-x-2024-02-29T12-24-05.dump.gz",
            "p/heys-production-2024-02-29T12-24-05-1.dump.gz",
            "p/heys-production-2024-02-29T12-24-٠٥.dump.gz",
            "p/heys-production-.dump.gz",
            "p/heys-production-",
            "",
        ] {
            assert_eq!(form.parse(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn sundays_are_utc_sundays() {
        let form = KeyForm::new("", "d");
        let day = |key: &str| form.parse(key).unwrap().is_sunday();
        assert!(day("d-2026-11-22T00-00-00.dump.gz"));
        assert!(day("d-2026-11-22T23-59-59.dump.gz"));
        assert!(!day("d-2026-11-21T23-59-59.dump.gz"));
        assert!(!day("d-2026-11-23T00-00-00.dump.gz"));
    }
}
