//! The statements that a backend has prepared: what may be named there, and what becomes of names.

use std::collections::{BTreeMap, BTreeSet};

/// What this schedule allows on a backend, as the backend sees it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Rules {
    /// Names of heys-db's own may come at all.
    pub(crate) named: bool,
    /// Not before the client has asked who answers.
    pub(crate) asks: bool,
    /// In explicit transactions, too.
    pub(crate) in_transactions: bool,
}

/// What others do to a backend's statements.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Change {
    /// A table: the statements prepared before give other columns now.
    Table,
    /// DISCARD ALL, which the client does not see.
    Discard,
    /// TimeZone, which the client is told of.
    TimeZone,
    /// The next names of heys-db's own are taken by another.
    Squat,
    /// The next text that is parsed is found wrong.
    Fault,
}

#[derive(Default)]
pub(super) struct Prepared {
    rules: Rules,
    /// The client knows who answers.
    pub(super) asked: bool,
    statements: BTreeMap<String, Statement>,
    /// Numbers of own names that a Parse has brought, and which were not another's.
    parsed: BTreeSet<u32>,
    /// How often the session itself has changed what constants mean.
    settings: u32,
    /// Somebody has changed something here.
    disturbed: bool,
    faults: u32,
}

struct Statement {
    text: String,
    /// Its columns have changed since.
    stale: bool,
    settings: u32,
    /// Another's, under a name that looks like one of ours.
    foreign: bool,
}

/// The number of a name of heys-db's own.
pub(crate) fn number(name: &str) -> Option<u32> {
    name.strip_prefix("__heys_")?.parse().ok()
}

impl Prepared {
    pub(super) fn new(rules: Rules) -> Prepared {
        Prepared {
            rules,
            ..Prepared::default()
        }
    }

    /// Parse; else the SQLSTATE.
    pub(super) fn parse(&mut self, name: &str, text: &str, status: u8) -> Result<(), &'static str> {
        self.check_rules(name, status);
        if !name.is_empty() && self.statements.contains_key(name) {
            return Err("42P05");
        }
        self.parsed.extend(number(name));
        if is_stopped(text, status) {
            return Err("25P02");
        }
        if self.faults > 0 && text.starts_with("select") {
            self.faults -= 1;
            return Err("42P01");
        }
        let statement = Statement {
            text: text.to_owned(),
            stale: false,
            settings: self.settings,
            foreign: false,
        };
        self.statements.insert(name.to_owned(), statement);
        Ok(())
    }

    /// The text that a Bind names; else the SQLSTATE.
    pub(super) fn bind(&self, name: &str, status: u8) -> Result<&str, &'static str> {
        self.check_rules(name, status);
        let statement = self.statements.get(name).ok_or("26000")?;
        assert!(!statement.foreign, "{name} is another's and was bound");
        if is_stopped(&statement.text, status) {
            return Err("25P02");
        }
        if number(name).is_some() {
            assert_eq!(
                statement.settings, self.settings,
                "{name} was bound after its session had changed what it means"
            );
            if statement.stale {
                return Err("0A000");
            }
        }
        Ok(&statement.text)
    }

    /// Close; whether a name was given up that nobody has disturbed.
    pub(super) fn close(&mut self, name: &str) -> bool {
        let own = number(name);
        let known = own.is_none_or(|number| self.parsed.contains(&number));
        assert!(known, "{name} is closed, which was never prepared");
        let closed = self.statements.remove(name);
        assert!(
            closed.as_ref().is_none_or(|closed| !closed.foreign),
            "{name} is another's"
        );
        closed.is_some() && own.is_some() && !self.disturbed
    }

    /// DISCARD ALL and DEALLOCATE ALL.
    pub(super) fn clear(&mut self) {
        self.disturbed = true;
        self.statements.clear();
    }

    /// The session itself changes a table.
    pub(super) fn alter(&mut self) {
        self.disturbed = true;
        self.statements
            .values_mut()
            .for_each(|statement| statement.stale = true);
    }

    /// The session itself changes what constants mean.
    pub(super) fn set(&mut self) {
        self.disturbed = true;
        self.settings += 1;
    }

    pub(super) fn change(&mut self, change: Change) {
        self.disturbed = true;
        match change {
            Change::Table => self.alter(),
            Change::Discard => self.clear(),
            Change::TimeZone => {}
            Change::Fault => self.faults += 1,
            Change::Squat => {
                let next = self.parsed.last().map_or(1, |last| last + 1);
                for number in next..next + 3 {
                    let statement = Statement {
                        text: "select squat t0 $1 $2".to_owned(),
                        stale: false,
                        settings: 0,
                        foreign: true,
                    };
                    self.statements.insert(format!("__heys_{number}"), statement);
                }
            }
        }
    }

    /// Numbers of the own names that are kept here, in order.
    pub(super) fn own(&self) -> Vec<u32> {
        let own = self.statements.iter().filter(|(_, statement)| !statement.foreign);
        let mut numbers: Vec<_> = own.filter_map(|(name, _)| number(name)).collect();
        numbers.sort_unstable();
        numbers
    }

    fn check_rules(&self, name: &str, status: u8) {
        if number(name).is_none() {
            return;
        }
        assert!(self.rules.named, "{name} on a connection where nothing is named");
        assert!(self.asked || !self.rules.asks, "{name} before it was asked who answers");
        assert!(
            status == b'I' || self.rules.in_transactions,
            "{name} inside a transaction"
        );
    }
}

/// Whether a failed transaction does not let this through.
pub(super) fn is_stopped(text: &str, status: u8) -> bool {
    status == b'E' && !matches!(text.split(' ').next(), Some("rollback" | "commit"))
}
