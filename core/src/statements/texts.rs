//! The texts of an environment.

use std::sync::Arc;
use std::time::Duration;

use super::Run;
use super::hash::ById;
use super::numbers::mentions_float_digits;
use super::profile::{Profile, SLOW};
use super::traits::Traits;

/// A text's number in its [`Texts`], given by whoever inserts it and not used again for another.
pub type TextId = u32;

/// Texts that were seen more than once. Whoever inserts bounds how many there are, and clears.
#[derive(Debug, Default)]
pub struct Texts {
    texts: ById<Text>,
}

#[derive(Debug)]
pub(super) struct Text {
    pub(super) sql: Arc<str>,
    pub(super) traits: Traits,
    pub(super) profile: Profile,
    mentions_float_digits: bool,
}

impl Texts {
    /// Learns a text.
    pub fn insert(&mut self, id: TextId, sql: &str) {
        let text = Text {
            sql: sql.into(),
            traits: Traits::of(sql),
            profile: Profile::default(),
            mentions_float_digits: mentions_float_digits(sql.as_bytes()),
        };
        self.texts.insert(id, text);
    }

    /// Forgets all texts. What connections have prepared stays theirs until they push it out.
    pub fn clear(&mut self) {
        self.texts.clear();
    }

    /// The text itself.
    pub fn sql(&self, id: TextId) -> Option<&Arc<str>> {
        Some(&self.texts.get(&id)?.sql)
    }

    /// Whether others may be sent behind this text: [`Traits::leads`], and of its executions so far at most one in a
    /// hundred took 5 ms or longer.
    pub fn leads(&self, id: TextId) -> bool {
        self.texts
            .get(&id)
            .is_some_and(|text| text.traits.leads && text.profile.is_fast())
    }

    /// Whether it may change extra_float_digits.
    pub(crate) fn mentions_float_digits(&self, id: TextId) -> bool {
        self.texts.get(&id).is_some_and(|text| text.mentions_float_digits)
    }

    /// Notes how long an execution took, its wait behind others not counted. One that failed counts only when it was slow.
    pub(crate) fn observe(&mut self, run: &Run, failed: bool, took: Duration) {
        if let Some(text) = self.texts.get_mut(&run.text)
            && (!failed || took >= SLOW)
        {
            text.profile.observe(run.generic, took);
        }
    }

    pub(super) fn get(&self, id: TextId) -> Option<&Text> {
        self.texts.get(&id)
    }
}
