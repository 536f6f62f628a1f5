//! Stopping a run from outside.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;

/// Why a run stops.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CancelReason {
    /// SIGINT, Ctrl-C.
    Interrupt,
    /// SIGTERM.
    Terminate,
    /// The deadline is near.
    Deadline,
    /// In the caller's words.
    Caller(Cow<'static, str>),
}

impl fmt::Display for CancelReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CancelReason::Interrupt => f.write_str("interrupted (SIGINT)"),
            CancelReason::Terminate => f.write_str("asked to end (SIGTERM)"),
            CancelReason::Deadline => f.write_str("out of time: its deadline is near"),
            CancelReason::Caller(why) => write!(f, "cancelled: {why}"),
        }
    }
}

impl From<&str> for CancelReason {
    /// A signal by its name, or the caller's words.
    fn from(why: &str) -> CancelReason {
        match why {
            "SIGINT" => CancelReason::Interrupt,
            "SIGTERM" => CancelReason::Terminate,
            why => CancelReason::Caller(Cow::Owned(why.to_owned())),
        }
    }
}

/// Cancels a run. Clones are one token; the first reason stays.
#[derive(Debug, Clone)]
pub struct CancelToken {
    reason: Arc<watch::Sender<Option<CancelReason>>>,
}

impl CancelToken {
    /// A token that nobody has used.
    pub fn new() -> CancelToken {
        CancelToken {
            reason: Arc::new(watch::Sender::new(None)),
        }
    }

    /// Asks the run to stop. May be called from any thread, also outside tokio; returns at once. The run still aborts
    /// its upload and reaps pg_dump before it ends.
    pub fn cancel(&self, why: CancelReason) {
        self.reason.send_if_modified(|reason| {
            let first = reason.is_none();
            reason.get_or_insert(why);
            first
        });
    }

    /// The reason, once there is one.
    pub fn reason(&self) -> Option<CancelReason> {
        self.reason.borrow().clone()
    }

    /// Resolves when the run is to stop.
    pub async fn cancelled(&self) -> CancelReason {
        let mut reason = self.reason.subscribe();
        let why = reason.wait_for(Option::is_some).await.ok().and_then(|why| why.clone());
        match why {
            Some(why) => why,
            // Never: the sender lives in self.
            None => std::future::pending().await,
        }
    }

    /// The same, or [`CancelReason::Deadline`] at `deadline`.
    pub(super) async fn cancelled_or(&self, deadline: Option<Instant>) -> CancelReason {
        match deadline {
            None => self.cancelled().await,
            Some(deadline) => tokio::time::timeout_at(deadline.into(), self.cancelled())
                .await
                .unwrap_or(CancelReason::Deadline),
        }
    }
}

impl Default for CancelToken {
    fn default() -> CancelToken {
        CancelToken::new()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn every_clone_hears_the_first_reason() {
        let token = CancelToken::new();
        let clone = token.clone();
        let waiting = tokio::spawn(async move { clone.cancelled().await });
        token.cancel(CancelReason::Terminate);
        token.cancel(CancelReason::Interrupt);
        assert_eq!(waiting.await.unwrap(), CancelReason::Terminate);
        assert_eq!(token.cancelled().await, CancelReason::Terminate);
        assert_eq!(token.reason(), Some(CancelReason::Terminate));
    }

    #[tokio::test]
    async fn a_deadline_that_has_passed_counts_at_once() {
        let token = CancelToken::new();
        assert_eq!(token.cancelled_or(Some(Instant::now())).await, CancelReason::Deadline);
    }
}
