//! Deliberate faults in the machine's actions or in the driver, to prove that the simulation would see them.

use heys_core::pool::{Action, ConnId, Pool};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sabotage {
    None,
    // In the machine.
    /// A waiter's failure is not told.
    ForgetFail,
    /// A connection is taken for a waiter who never hears of it.
    ForgetDeliver,
    /// A waiter is answered twice.
    RepeatDeliver,
    /// A checked-out connection is handed to a waiter.
    DeliverBusy,
    /// A new connection is neither made nor given up.
    ForgetConnect,
    /// One connection more than asked for.
    ConnectTwice,
    /// A connection that should close is forgotten.
    ForgetClose,
    /// A dirty connection is not cleaned.
    ForgetReset,
    // In the driver.
    /// A connection inside a transaction, or with a running query, goes back as if it were clean.
    ReuseDirty,
    /// A cancelled connection is used again after ReadyForQuery, before the cancel connection has ended.
    ReuseBeforeCancelEnds,
    /// A query with others behind it is cancelled.
    CancelPipelined,
    /// The end of a closed connection is not told.
    ForgetClosed,
    /// Answers are given to the queries in another order than they were sent.
    MixAnswers,
}

impl Sabotage {
    pub(crate) const ALL: [Sabotage; 13] = [
        Sabotage::ForgetFail,
        Sabotage::ForgetDeliver,
        Sabotage::RepeatDeliver,
        Sabotage::DeliverBusy,
        Sabotage::ForgetConnect,
        Sabotage::ConnectTwice,
        Sabotage::ForgetClose,
        Sabotage::ForgetReset,
        Sabotage::ReuseDirty,
        Sabotage::ReuseBeforeCancelEnds,
        Sabotage::CancelPipelined,
        Sabotage::ForgetClosed,
        Sabotage::MixAnswers,
    ];
}

/// Stands between the machine and its driver.
pub(crate) struct Saboteur {
    sabotage: Sabotage,
    /// Chances to let pass first.
    patience: u64,
    repeat: Option<Action>,
}

impl Saboteur {
    pub(crate) fn new(sabotage: Sabotage, patience: u64) -> Saboteur {
        Saboteur {
            sabotage,
            patience,
            repeat: None,
        }
    }

    pub(crate) fn is(&self, sabotage: Sabotage) -> bool {
        self.sabotage == sabotage
    }

    /// Once, after some patience.
    fn strikes(&mut self, sabotage: Sabotage) -> bool {
        if self.sabotage != sabotage {
            return false;
        }
        if self.patience > 0 {
            self.patience -= 1;
            return false;
        }
        self.sabotage = Sabotage::None;
        true
    }

    pub(crate) fn forgets_closed(&mut self) -> bool {
        self.strikes(Sabotage::ForgetClosed)
    }

    pub(crate) fn next_action(&mut self, pool: &mut Pool, busy: impl Fn() -> Option<ConnId>) -> Option<Action> {
        if let Some(repeat) = self.repeat.take() {
            return Some(repeat);
        }
        let action = pool.poll_action()?;
        let forgets = match action {
            Action::Fail { .. } => self.strikes(Sabotage::ForgetFail),
            Action::Deliver { .. } => self.strikes(Sabotage::ForgetDeliver),
            Action::Connect(_) => self.strikes(Sabotage::ForgetConnect),
            Action::Close { .. } => self.strikes(Sabotage::ForgetClose),
            Action::Reset(_) => self.strikes(Sabotage::ForgetReset),
            _ => false,
        };
        if forgets {
            return self.next_action(pool, busy);
        }
        match action {
            Action::Deliver { waiter, fresh, .. } => {
                if self.strikes(Sabotage::RepeatDeliver) {
                    self.repeat = Some(action);
                } else if let Some(conn) = busy()
                    && self.strikes(Sabotage::DeliverBusy)
                {
                    return Some(Action::Deliver { waiter, conn, fresh });
                }
            }
            Action::Connect(conn) if self.strikes(Sabotage::ConnectTwice) => {
                self.repeat = Some(Action::Connect(conn + 1_000));
            }
            _ => {}
        }
        Some(action)
    }
}
