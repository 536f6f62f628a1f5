//! Deliberate faults in the machine's actions or in the driver, to prove that the simulation would see them.

use std::time::Duration;

use heys_core::pool::{Action, Pool, PoolOptions, Release};

use crate::book::{Ask, Book, Place};

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
    /// One query more than allowed goes to a connection.
    OneTooMany,
    /// Queries go behind one that does not lead.
    FollowAny,
    /// Queries go behind one that has run for too long.
    FollowOld,
    /// Queries go to a connection that is somebody's own.
    ShareOwn,
    /// A connect() goes to a connection where queries are in flight, and nobody waits for it.
    ConnectJoins,
    /// Of two connections the one with more in flight is shared.
    FollowMost,
    /// That a connection is dirty or of no more use is forgotten when others are in flight.
    ForgetHow,
    // In the driver.
    /// A connection inside a transaction, or with a running query, goes back as if it were clean.
    ReuseDirty,
    /// A cancelled connection is used again after ReadyForQuery, before the cancel connection has ended.
    ReuseBeforeCancelEnds,
    /// A query with others of its checkout behind it is cancelled.
    CancelPipelined,
    /// A one-shot is cancelled that is not at the head.
    CancelFollower,
    /// A query is sent to a connection for which a cancel is under way.
    SendDuringCancel,
    /// A one-shot that was hit by the cancel of another fails.
    NeverAskAgain,
    /// The connection of a one-shot is released when its caller's time is up.
    ReleaseAtTimeout,
    /// The loss of a connection that several share is not told.
    ForgetLost,
    /// The end of a closed connection is not told.
    ForgetClosed,
    /// Answers are given to the queries in another order than they were sent.
    MixAnswers,
    // Of names.
    /// Statements are named where the policy is off.
    NameWhenOff,
    /// Statements are named in transactions where they should not be.
    NameInTransaction,
    /// Statements are named behind a pooler.
    IgnorePooler,
    /// A query says that nothing before it leaves a transaction open, which is not known.
    ClaimAutocommit,
    /// A query that others of its checkout follow goes out under a name.
    NamePipelined,
    /// A query that failed after it began is repeated.
    RepeatAlthoughItRan,
    /// A query is repeated whose caller's time was up.
    RepeatTimedOut,
    /// A query is repeated again and again.
    RepeatForever,
    /// A query is repeated behind one that does not lead.
    RepeatBehindAny,
    /// A query that fails because of its name fails.
    NeverRepeat,
    /// Names that are given up are not closed.
    ForgetToClose,
}

impl Sabotage {
    pub(crate) const ALL: [Sabotage; 36] = [
        Sabotage::ForgetFail,
        Sabotage::ForgetDeliver,
        Sabotage::RepeatDeliver,
        Sabotage::DeliverBusy,
        Sabotage::ForgetConnect,
        Sabotage::ConnectTwice,
        Sabotage::ForgetClose,
        Sabotage::ForgetReset,
        Sabotage::OneTooMany,
        Sabotage::FollowAny,
        Sabotage::FollowOld,
        Sabotage::ShareOwn,
        Sabotage::ConnectJoins,
        Sabotage::FollowMost,
        Sabotage::ForgetHow,
        Sabotage::ReuseDirty,
        Sabotage::ReuseBeforeCancelEnds,
        Sabotage::CancelPipelined,
        Sabotage::CancelFollower,
        Sabotage::SendDuringCancel,
        Sabotage::NeverAskAgain,
        Sabotage::ReleaseAtTimeout,
        Sabotage::ForgetLost,
        Sabotage::ForgetClosed,
        Sabotage::MixAnswers,
        Sabotage::NameWhenOff,
        Sabotage::NameInTransaction,
        Sabotage::IgnorePooler,
        Sabotage::ClaimAutocommit,
        Sabotage::NamePipelined,
        Sabotage::RepeatAlthoughItRan,
        Sabotage::RepeatTimedOut,
        Sabotage::RepeatForever,
        Sabotage::RepeatBehindAny,
        Sabotage::NeverRepeat,
        Sabotage::ForgetToClose,
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

    /// The limits of the schedule: without those that would see a wrong time before the one that should.
    pub(crate) fn reduce(&self, options: PoolOptions) -> PoolOptions {
        match self.sabotage {
            Sabotage::FollowOld => PoolOptions {
                idle_timeout: None,
                acquire_timeout: None,
                max_lifetime: None,
                ..options
            },
            _ => options,
        }
    }

    /// The limits that the machine is given.
    pub(crate) fn limits(&self, options: &PoolOptions) -> PoolOptions {
        let one_too_many = u32::from(self.is(Sabotage::OneTooMany));
        PoolOptions {
            max_in_flight: options.max_in_flight + one_too_many,
            ..options.clone()
        }
    }

    /// What the machine hears when somebody asks.
    pub(crate) fn told(&self, ask: Ask) -> Ask {
        match (self.sabotage, ask) {
            (Sabotage::FollowAny, Ask::Query { .. }) | (Sabotage::ShareOwn, _) => Ask::Query { leads: true },
            (Sabotage::ConnectJoins, Ask::Connection) => Ask::Query { leads: false },
            _ => ask,
        }
    }

    /// The time that the machine hears when a query is asked.
    pub(crate) fn when(&self, now: Duration) -> Duration {
        match self.sabotage {
            Sabotage::FollowOld => now.saturating_sub(Duration::from_millis(20)),
            _ => now,
        }
    }

    /// What the machine hears at a release, `others` being in flight.
    pub(crate) fn heard(&self, how: Release, others: bool) -> Release {
        match self.sabotage {
            Sabotage::ForgetHow if others => Release::Reuse,
            _ => how,
        }
    }

    pub(crate) fn next_action(&mut self, pool: &mut Pool, book: &Book, now: u64) -> Option<Action> {
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
            return self.next_action(pool, book, now);
        }
        match action {
            Action::Deliver { waiter, conn, fresh } => {
                let in_flight = book.in_flight(conn);
                if in_flight > 0
                    && self.is(Sabotage::FollowMost)
                    && let Some((conn, _)) = book.joinable(now).find(|&(_, more)| more > in_flight)
                {
                    return Some(Action::Deliver { waiter, conn, fresh });
                }
                let busy = book.in_place(Place::Held).map(|(&conn, _)| conn).next();
                if self.strikes(Sabotage::RepeatDeliver) {
                    self.repeat = Some(action);
                } else if let Some(conn) = busy
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
