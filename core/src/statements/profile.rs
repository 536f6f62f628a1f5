//! How long a text's executions take.

use std::time::Duration;

/// From here on an execution is slow: nobody should wait behind it.
pub(super) const SLOW: Duration = Duration::from_millis(5);
/// Executions before a text counts as known.
const KNOWN: u32 = 20;
/// At this many the past is halved, so that a text can change.
const MANY: u32 = 4096;
/// A generic plan is judged from so many executions with plans of each kind on.
const GENERIC: f32 = 16.0;
const CUSTOM: f32 = 8.0;
/// Half of what a mean remembers goes by at this many.
const REMEMBERED: f32 = 128.0;
/// A generic plan that costs less than this more is not worth a Parse each time.
const WORTH: f32 = 200.0;
/// How much slower a generic plan must be.
const SLOWER: f32 = 1.5;

/// What is known of a text's executions, whichever connection they ran on.
#[derive(Debug, Default)]
pub(super) struct Profile {
    count: u32,
    slow: u32,
    custom: Mean,
    generic: Mean,
    /// Its generic plan proved slower: it is not named again.
    prefers_unnamed: bool,
}

/// A geometric mean of microseconds, so that a single hiccup does not speak for all. Kept as base-2 logarithms.
#[derive(Debug, Default)]
struct Mean {
    count: f32,
    sum: f32,
}

impl Mean {
    fn add(&mut self, took: Duration) {
        self.count += 1.0;
        self.sum += (took.as_nanos() as f32 / 1000.0).max(1.0).log2();
        if self.count >= REMEMBERED {
            self.count /= 2.0;
            self.sum /= 2.0;
        }
    }

    fn micros(&self) -> f32 {
        (self.sum / self.count.max(1.0)).exp2()
    }
}

impl Profile {
    /// An execution took this long; `generic`: its plan was one that the server may have made for all values.
    pub(super) fn observe(&mut self, generic: bool, took: Duration) {
        self.count += 1;
        self.slow += u32::from(took >= SLOW);
        if self.count >= MANY {
            self.count /= 2;
            self.slow /= 2;
        }
        let mean = if generic { &mut self.generic } else { &mut self.custom };
        mean.add(took);
        if generic && self.generic.count >= GENERIC && self.custom.count >= CUSTOM {
            let (generic, custom) = (self.generic.micros(), self.custom.micros());
            self.prefers_unnamed |= generic > custom * SLOWER && generic - custom > WORTH;
        }
    }

    /// Whether at most one of a hundred executions so far was slow.
    pub(super) fn is_fast(&self) -> bool {
        self.count >= KNOWN && self.slow.saturating_mul(100) <= self.count
    }

    /// Whether executions under a name should now and then be compared with one that is planned for its own values.
    pub(super) fn is_worth_comparing(&self) -> bool {
        self.generic.count > 0.0 && self.generic.micros() > WORTH
    }

    pub(super) fn prefers_unnamed(&self) -> bool {
        self.prefers_unnamed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAST: Duration = Duration::from_micros(300);

    #[test]
    fn a_text_is_fast_after_twenty_runs_of_which_none_was_slow() {
        let mut profile = Profile::default();
        for _ in 0..19 {
            profile.observe(false, FAST);
        }
        assert!(!profile.is_fast());
        profile.observe(false, FAST);
        assert!(profile.is_fast());
        profile.observe(false, SLOW);
        assert!(!profile.is_fast());
        for _ in 0..79 {
            profile.observe(true, FAST);
        }
        assert!(profile.is_fast());
    }

    #[test]
    fn a_generic_plan_that_is_slower_ends_the_name() {
        let mut profile = Profile::default();
        for _ in 0..8 {
            profile.observe(false, FAST);
        }
        for _ in 0..15 {
            profile.observe(true, FAST * 10);
        }
        assert!(!profile.prefers_unnamed());
        profile.observe(true, FAST * 10);
        assert!(profile.prefers_unnamed());
    }

    #[test]
    fn one_stall_or_a_small_loss_does_not() {
        let mut profile = Profile::default();
        for run in 0..100 {
            profile.observe(false, FAST / 10);
            profile.observe(true, if run == 3 { FAST * 10_000 } else { FAST / 5 });
        }
        assert!(!profile.prefers_unnamed());
    }
}
