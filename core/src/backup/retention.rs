//! Which old backups may go: a pure decision over a listing.
//!
//! A wrong answer here deletes the last good backup, so every doubt keeps: foreign keys, keys of other databases,
//! times in the future, and always the newest `min_keep`.

use std::time::Duration;

use super::key::{KeyForm, UtcTime};

/// One listed object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    /// Its key.
    pub(super) key: String,
    /// Its length in bytes.
    pub(super) bytes: u64,
}

/// How long backups stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Backups whose key's time is more than this many days ago may go.
    pub days: u32,
    /// The newest so many always stay; at least 1.
    pub min_keep: u32,
}

/// What to delete, and what stays although it is old enough.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Plan {
    /// Keys to delete, oldest first.
    pub(super) delete: Vec<String>,
    /// One sentence for each backup, or kind of backup, that was not deleted for a reason other than its age.
    pub(super) refusals: Vec<String>,
}

/// Decides. `written` is the backup just made: when the listing does not show it, the listing is not to be trusted and
/// nothing is deleted.
pub(super) fn plan(listing: &[Listed], form: &KeyForm, written: &str, now: UtcTime, retention: Retention) -> Plan {
    let mut ours: Vec<(UtcTime, &Listed)> = listing
        .iter()
        .filter_map(|object| Some((form.parse(&object.key)?, object)))
        .collect();
    ours.sort_by_key(|(time, _)| std::cmp::Reverse(*time));
    ours.dedup_by(|a, b| a.1.key == b.1.key);

    let mut plan = Plan::default();
    if !ours.iter().any(|(_, object)| object.key == written) {
        plan.refusals
            .push("the listing does not show the backup just made, so nothing was deleted".to_owned());
        return plan;
    }

    let horizon = now.before(Duration::from_secs(u64::from(retention.days) * 86_400));
    let mut kept = 0;
    for (time, object) in ours {
        let counts = object.bytes > 0 && (time <= now || object.key == written);
        if time >= horizon {
            if time > now && object.key != written {
                plan.refusals.push(format!("{} lies in the future", object.key));
            }
            kept += u32::from(counts);
        } else if kept < retention.min_keep.max(1) && counts {
            kept += 1;
            plan.refusals.push(format!(
                "{} is older than {} days but among the newest {}",
                object.key, retention.days, retention.min_keep
            ));
        } else if object.key != written {
            plan.delete.push(object.key.clone());
        }
    }
    plan.delete.reverse();
    plan
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const DAY: i64 = 86_400;

    fn now() -> UtcTime {
        UtcTime::from_unix(1_800_000_000)
    }

    fn form() -> KeyForm {
        KeyForm::new("", "db")
    }

    fn aged(days: i64) -> String {
        form().key(UtcTime::from_unix(now().unix() - days * DAY))
    }

    fn listing(keys: &[String]) -> Vec<Listed> {
        keys.iter()
            .map(|key| Listed {
                key: key.clone(),
                bytes: 1,
            })
            .collect()
    }

    fn decide(keys: &[String], days: u32, min_keep: u32) -> Plan {
        plan(&listing(keys), &form(), &aged(0), now(), Retention { days, min_keep })
    }

    #[test]
    fn old_backups_go_oldest_first_and_young_ones_stay() {
        let keys: Vec<String> = (0..12).map(aged).collect();
        let plan = decide(&keys, 7, 3);
        assert_eq!(plan.delete, [aged(11), aged(10), aged(9), aged(8)]);
        assert_eq!(plan.refusals, [] as [String; 0]);
    }

    #[test]
    fn the_horizon_itself_still_stays() {
        let plan = decide(&[aged(0), aged(7), aged(8)], 7, 1);
        assert_eq!(plan.delete, [aged(8)]);
    }

    #[test]
    fn the_newest_stay_however_old_and_each_is_named() {
        let plan = decide(&[aged(0), aged(30), aged(31), aged(32)], 7, 3);
        assert_eq!(plan.delete, [aged(32)]);
        assert_eq!(plan.refusals.len(), 2);
        assert!(plan.refusals[0].contains(&aged(30)) && plan.refusals[1].contains(&aged(31)));
    }

    #[test]
    fn a_min_keep_of_zero_still_keeps_the_backup_just_made() {
        let plan = decide(&[aged(0), aged(30)], 7, 0);
        assert_eq!(plan.delete, [aged(30)]);
    }

    #[test]
    fn empty_objects_and_future_times_do_not_count_as_kept() {
        let mut objects = listing(&[aged(0), aged(-3), aged(20), aged(21), aged(22)]);
        objects[2].bytes = 0;
        let plan = plan(&objects, &form(), &aged(0), now(), Retention { days: 7, min_keep: 2 });
        assert_eq!(plan.delete, [aged(22), aged(20)]);
        assert_eq!(plan.refusals.len(), 2);
    }

    #[test]
    fn foreign_keys_are_never_touched() {
        let foreign = [
            "db-2001-01-01T00-00-00.dump.gz.age".to_owned(),
            "other-2001-01-01T00-00-00.dump.gz".to_owned(),
            "db-old-2001-01-01T00-00-00.dump.gz".to_owned(),
            "photos/1.jpg".to_owned(),
        ];
        let mut keys: Vec<String> = foreign.to_vec();
        keys.extend([aged(0), aged(40)]);
        let plan = decide(&keys, 7, 1);
        assert_eq!(plan.delete, [aged(40)]);
    }

    #[test]
    fn a_listing_without_the_new_backup_deletes_nothing() {
        let plan = decide(&[aged(30), aged(40)], 7, 1);
        assert_eq!(plan.delete, [] as [String; 0]);
        assert_eq!(plan.refusals.len(), 1);
    }

    #[test]
    fn an_empty_listing_deletes_nothing() {
        assert_eq!(decide(&[], 7, 1).delete, [] as [String; 0]);
    }
}
