//! The statements that heys-db has prepared on one connection, and which it will.
//!
//! ```text
//!   Seen ── succeeded twice, the connection is the server's own ──► Preparing ── its request is over ──► Named
//!    ▲                                                                  │                                 │
//!    └──── used least recently, distrusted, slower than unnamed ────────┴─────────────────────────────────┘
//! ```
//!
//! A name that is given up is closed with the next request; one whose Parse is in flight not before that is over, since
//! only then it is known to be ours.
//!
//! A name must never change what a text means. So inside an explicit transaction, where an error that only a name can
//! cause would abort it, texts stay unnamed unless the policy allows names there; elsewhere a named statement that fails
//! before BindComplete has run nothing, and is to be repeated unnamed. Behind requests that may do anything, texts stay
//! unnamed in any case: what they do to names, settings and transactions is not known when the next one is sent.

use super::hash::ById;
use super::numbers::{Column, Numbers};
use super::texts::{TextId, Texts};

/// Texts that one connection remembers unless told otherwise.
const MOST: usize = 128;
/// Successes before a text is named.
const SUCCESSES: u32 = 2;
/// The server makes custom plans for so many executions before it considers a generic one (plancache.c).
const CUSTOM_PLANS: u32 = 5;
/// Of executions under a name that take long, each so-many-th is planned for its own values, to compare.
const COMPARED: u32 = 16;

/// Settings that change what a text's constants mean at Parse; the server reports each change of them.
const PARSE_SETTINGS: [&str; 5] = [
    "TimeZone",
    "DateStyle",
    "IntervalStyle",
    "standard_conforming_strings",
    "client_encoding",
];

/// Whether and where statements are prepared by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Policy {
    /// At all.
    pub enabled: bool,
    /// Inside explicit transactions, too: there an error that only a name can cause (a table changed since) aborts.
    pub in_transactions: bool,
    /// Even where a pooler stands between, which must then keep names apart by itself.
    pub behind_pooler: bool,
}

/// How a request goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// Parse without a name.
    Unnamed,
    /// Parse under the name of this number, for this and later requests.
    Prepare(u32),
    /// Bind to the name of this number.
    Bound(u32),
}

/// Where a request runs, as far as is known when it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In a transaction of its own, at once or behind requests that change nothing for it.
    Own,
    /// Inside an explicit transaction, with nothing in flight before it.
    Explicit,
    /// Behind requests that may do anything.
    Unknown,
}

/// A request in flight whose text is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Its text.
    pub text: TextId,
    /// How it went out.
    pub plan: Plan,
    /// The server may have used a plan that was made for all values.
    pub generic: bool,
    pub(crate) params: usize,
    pub(crate) place: Place,
}

/// Whether the process that answers is the one that BackendKeyData named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Own {
    Unknown,
    Asked,
    Yes,
    No,
}

/// One connection's prepared statements. Pure: what to write and what to ask is the session's to do.
#[derive(Debug)]
pub struct Statements {
    policy: Policy,
    own: Own,
    /// Whether texts of float8 are exact; not known before it was asked.
    exact_floats: Option<bool>,
    /// Since that was asked, a statement was sent that may have changed it.
    float_digits_mentioned: bool,
    iso_dates: bool,
    /// Texts that are remembered, named ones included: what the server keeps for us is bounded by this.
    most: usize,
    entries: ById<Entry>,
    /// Counts requests, for the order of use.
    clock: u64,
    last: u32,
    /// Names that were given up while their Parse was in flight.
    leaving: Vec<u32>,
    /// Names that the server still has and nobody uses.
    unwanted: Vec<u32>,
}

#[derive(Debug)]
struct Entry {
    state: State,
    params: usize,
    used: u64,
    /// The named statement's columns, if any of them can come as a number.
    columns: Option<Box<[Column]>>,
}

#[derive(Debug)]
enum State {
    Seen {
        successes: u32,
    },
    /// The Parse is in flight; requests behind it do without the name, which may turn out to be another's.
    Preparing {
        number: u32,
    },
    Named {
        number: u32,
        runs: u32,
    },
}

impl Statements {
    /// Nothing is known yet.
    pub fn new(policy: Policy) -> Statements {
        Statements::of_at_most(policy, MOST)
    }

    /// As [`Statements::new`], for so many texts (at least one) instead of 128.
    pub fn of_at_most(policy: Policy, most: usize) -> Statements {
        Statements {
            policy,
            own: Own::Unknown,
            exact_floats: None,
            float_digits_mentioned: false,
            iso_dates: false,
            most,
            entries: ById::default(),
            clock: 0,
            last: 0,
            leaving: Vec::new(),
            unwanted: Vec::new(),
        }
    }

    /// How a request with this text goes out now.
    pub fn plan(&mut self, id: TextId, params: usize, place: Place, texts: &Texts) -> Run {
        let mut run = Run {
            text: id,
            plan: Plan::Unnamed,
            generic: false,
            params,
            place,
        };
        let Some(text) = texts.get(id) else { return run };
        let refused = !self.policy.enabled
            || !text.traits.nameable
            || (self.own == Own::No && !self.policy.behind_pooler)
            || !self.may_name(place);
        if refused {
            return run;
        }
        if text.profile.prefers_unnamed() {
            self.forget(id);
            return run;
        }
        self.clock += 1;
        let is_own = self.own == Own::Yes || self.policy.behind_pooler;
        let Some(entry) = self.entries.get_mut(&id) else {
            return run;
        };
        entry.used = self.clock;
        if entry.params != params {
            return run;
        }
        match &mut entry.state {
            State::Seen { successes } if *successes >= SUCCESSES && is_own => {
                self.last = self.last.wrapping_add(1);
                let number = self.last;
                entry.state = State::Preparing { number };
                run.plan = Plan::Prepare(number);
            }
            State::Seen { .. } | State::Preparing { .. } => {}
            State::Named { number, runs } => {
                *runs = runs.wrapping_add(1);
                if !(*runs % COMPARED == 0 && text.profile.is_worth_comparing()) {
                    run.plan = Plan::Bound(*number);
                    run.generic = *runs > CUSTOM_PLANS;
                }
            }
        }
        run
    }

    fn may_name(&self, place: Place) -> bool {
        match place {
            Place::Own => true,
            Place::Explicit => self.policy.in_transactions,
            Place::Unknown => false,
        }
    }

    /// Whether the server should be asked for its process id and settings along with this run: it would have been
    /// named, or is. Asked only outside transactions, where a pooler gives each request the server that it likes.
    pub fn asks(&self, run: &Run) -> bool {
        if !self.policy.enabled || self.policy.behind_pooler || run.place != Place::Own {
            return false;
        }
        match self.own {
            Own::Unknown => self
                .entries
                .get(&run.text)
                .is_some_and(|entry| matches!(entry.state, State::Seen { successes } if successes >= SUCCESSES)),
            Own::Yes => self.exact_floats.is_none() && matches!(run.plan, Plan::Prepare(_)),
            Own::Asked | Own::No => false,
        }
    }

    /// The result format codes of a run (none: text for all): columns are taken in binary format where the caller takes
    /// their types as numbers, and this connection's settings make those the same as their texts.
    pub(crate) fn formats(&self, run: &Run, taken: Numbers, out: &mut Vec<i16>) {
        out.clear();
        let Plan::Bound(_) = run.plan else { return };
        let Some(columns) = self.entries.get(&run.text).and_then(|entry| entry.columns.as_deref()) else {
            return;
        };
        let numbers = Numbers {
            float8: taken.float8 && self.exact_floats == Some(true),
            timestamptz: taken.timestamptz && self.iso_dates,
        };
        if columns.iter().any(|column| column.is_among(numbers)) {
            out.extend(columns.iter().map(|column| i16::from(column.is_among(numbers))));
        }
    }

    /// Names to close with the next request.
    pub fn unwanted(&self) -> &[u32] {
        &self.unwanted
    }

    /// Everything that [`Statements::unwanted`] names was closed.
    pub fn closed_unwanted(&mut self) {
        self.unwanted.clear();
    }

    /// The question was written.
    pub fn asked(&mut self) {
        self.float_digits_mentioned = false;
        if self.own == Own::Unknown {
            self.own = Own::Asked;
        }
    }

    /// A run could not be written.
    pub fn unsent(&mut self, run: &Run) {
        if let Plan::Prepare(_) = run.plan {
            self.entries.remove(&run.text);
        }
    }

    /// The answer: whether it was the process id of BackendKeyData (a pooler makes up its own), whether texts of float8
    /// are exact, and DateStyle.
    pub fn answered(&mut self, is_own: bool, exact_floats: bool, date_style: &[u8]) {
        self.own = if is_own { Own::Yes } else { Own::No };
        self.exact_floats = Some(exact_floats && !self.float_digits_mentioned);
        self.date_style(date_style);
    }

    /// The question failed. A cancel that was meant for what ran before says nothing of who answers: it is asked again.
    pub fn refused(&mut self, code: &str) {
        self.own = if code == "57014" { Own::Unknown } else { Own::No };
    }

    /// A run is over.
    pub fn finished(&mut self, run: &Run, failed: bool) {
        if let Plan::Prepare(number) = run.plan {
            self.prepared(run.text, number);
        }
        let counts = self.policy.enabled && self.may_name(run.place);
        if failed || run.plan != Plan::Unnamed || !counts {
            return;
        }
        if let Some(entry) = self.entries.get_mut(&run.text) {
            if let State::Seen { successes } = &mut entry.state {
                *successes = if entry.params == run.params { *successes + 1 } else { 1 };
                entry.params = run.params;
            }
            return;
        }
        self.make_room();
        let entry = Entry {
            state: State::Seen { successes: 1 },
            params: run.params,
            used: self.clock,
            columns: None,
        };
        self.entries.insert(run.text, entry);
    }

    /// An error came, `bound`: after BindComplete. True: the name is to blame, or could be, and nothing has run; repeat
    /// the request unnamed once its ReadyForQuery has come.
    pub fn failed(&mut self, run: &Run, bound: bool, code: &str, severity: &str) -> bool {
        match run.plan {
            Plan::Unnamed => false,
            // What was not parsed has no name; what was is as good as it would be without one.
            Plan::Prepare(number) => {
                let exists = code == "42P05";
                if exists {
                    // Somebody else gives names here, too.
                    self.own = Own::No;
                    self.policy.behind_pooler = false;
                }
                if !bound {
                    self.forget_number(run.text, number);
                    self.leaving.retain(|&leaving| leaving != number);
                    self.unwanted.extend((!exists).then_some(number));
                }
                exists && run.place == Place::Own
            }
            Plan::Bound(_) if bound || severity != "ERROR" || is_outside(code) => false,
            Plan::Bound(number) => {
                if self.forget_number(run.text, number) && code != "26000" {
                    self.unwanted.push(number);
                }
                run.place == Place::Own
            }
        }
    }

    /// The result of a run was described.
    pub(crate) fn described(&mut self, run: &Run, columns: Vec<Column>) {
        if let Plan::Prepare(number) = run.plan
            && let Some(entry) = self.entries.get_mut(&run.text)
            && entry.state.number() == Some(number)
        {
            let gains = columns.iter().any(|column| *column != Column::Text);
            entry.columns = gains.then(|| columns.into());
        }
    }

    /// Whether it matters that a statement may change extra_float_digits.
    pub(crate) fn believes_in_exact_floats(&self) -> bool {
        matches!(self.own, Own::Asked | Own::Yes) && self.exact_floats != Some(false)
    }

    /// A statement was sent that may change extra_float_digits.
    pub(crate) fn float_digits_mentioned(&mut self) {
        self.float_digits_mentioned = true;
        self.exact_floats = Some(false);
    }

    /// Somebody else has spoken on this connection: what that has changed is not known.
    pub(crate) fn spoken_past(&mut self) {
        self.distrust();
        self.exact_floats = None;
        self.iso_dates = false;
        if self.own == Own::Yes {
            self.own = Own::Unknown;
        }
    }

    /// A command was completed: DISCARD and DEALLOCATE take names away, and after DDL of this session a text can mean
    /// another table (a temporary one hides others) without its plan being made again.
    pub fn completed(&mut self, tag: &[u8]) {
        if matches!(tag, b"RESET" | b"DISCARD ALL") {
            self.exact_floats = None;
        }
        if self.entries.is_empty() {
            return;
        }
        let word = tag.split(|&byte| byte == b' ').next().unwrap_or_default();
        match word {
            b"DISCARD" | b"DEALLOCATE" if tag.ends_with(b" ALL") => {
                let unwanted = std::mem::take(&mut self.unwanted);
                self.distrust();
                // The rest is gone already.
                self.unwanted = unwanted;
            }
            b"DEALLOCATE" | b"DISCARD" | b"CREATE" | b"ALTER" | b"DROP" | b"DO" | b"CALL" => self.distrust(),
            _ => {}
        }
    }

    /// A run-time parameter was reported.
    pub fn parameter_changed(&mut self, name: &str, value: &str) {
        if PARSE_SETTINGS.contains(&name) {
            self.distrust();
        }
        if name == "DateStyle" {
            self.date_style(value.as_bytes());
        }
    }

    fn date_style(&mut self, value: &[u8]) {
        self.iso_dates = value.starts_with(b"ISO");
    }

    /// The Parse of a name has succeeded, or failed and was taken care of.
    fn prepared(&mut self, id: TextId, number: u32) {
        if let Some(at) = self.leaving.iter().position(|&leaving| leaving == number) {
            self.unwanted.push(self.leaving.swap_remove(at));
        } else if let Some(Entry { state, .. }) = self.entries.get_mut(&id)
            && state.number() == Some(number)
        {
            *state = State::Named { number, runs: 1 };
        }
    }

    /// Every name is given up.
    fn distrust(&mut self) {
        for (_, entry) in self.entries.drain() {
            match entry.state {
                State::Seen { .. } => {}
                State::Preparing { number } => self.leaving.push(number),
                State::Named { number, .. } => self.unwanted.push(number),
            }
        }
        // The same requests give the same bytes.
        self.unwanted.sort_unstable();
    }

    /// Gives up a text and its name.
    fn forget(&mut self, id: TextId) {
        match self.entries.remove(&id).map(|entry| entry.state) {
            Some(State::Preparing { number }) => self.leaving.push(number),
            Some(State::Named { number, .. }) => self.unwanted.push(number),
            Some(State::Seen { .. }) | None => {}
        }
    }

    /// Forgets a text if it has, or is to have, this name; whether it did.
    fn forget_number(&mut self, id: TextId, number: u32) -> bool {
        let has = |entry: &Entry| entry.state.number() == Some(number);
        self.entries.get(&id).is_some_and(has) && self.entries.remove(&id).is_some()
    }

    fn make_room(&mut self) {
        if self.entries.len() < self.most {
            return;
        }
        let least = self.entries.iter().min_by_key(|&(&id, entry)| (entry.used, id));
        if let Some(id) = least.map(|(&id, _)| id) {
            self.forget(id);
        }
    }
}

impl State {
    fn number(&self) -> Option<u32> {
        match *self {
            State::Seen { .. } => None,
            State::Preparing { number } | State::Named { number, .. } => Some(number),
        }
    }
}

/// Errors that come from outside the statement: repeating it would be another attempt, which is the caller's to make.
fn is_outside(code: &str) -> bool {
    matches!(
        code.get(..2),
        Some("25" | "40" | "53" | "54" | "55" | "57" | "58" | "XX")
    )
}

#[cfg(test)]
mod tests;
