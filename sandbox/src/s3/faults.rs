//! Scripted faults: which request, how often, and what goes wrong.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::request::Target;

/// A fault waits for its requests until it has happened `times` times.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fault {
    /// `UploadPart`, …, or `*` for every operation.
    pub operation: String,
    /// Only this key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Only this part of an upload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part_number: Option<u32>,
    /// So many matching requests pass before the first fault.
    #[serde(default)]
    pub skip: u32,
    /// Missing means once; 0 means for ever.
    #[serde(default = "once")]
    pub times: u32,
    /// What goes wrong.
    pub action: Action,
}

fn once() -> u32 {
    1
}

/// What goes wrong with a request. In JSON `"lostReply"`, `{"reset": {}}`, `{"error": {"status": 503, "code": "SlowDown"}}`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Action {
    /// The connection is reset, by default as soon as the request's head is read. Nothing is executed unless it is
    /// reset in the response.
    Reset {
        /// After at least so many bytes of the request's body, or at its end; nothing is executed.
        #[serde(default)]
        after_request_bytes: Option<usize>,
        /// After exactly so many bytes of the response, head included, on the wire; the request is executed.
        #[serde(default)]
        after_response_bytes: Option<usize>,
    },
    /// Nothing happens for a while, or until the faults are cleared; then it goes on as if nothing had been.
    Stall {
        /// After at least so many bytes of the request's body.
        #[serde(default)]
        after_request_bytes: Option<usize>,
        /// After exactly so many bytes of the response on the wire.
        #[serde(default)]
        after_response_bytes: Option<usize>,
        /// Missing means until the faults are cleared.
        #[serde(default)]
        for_millis: Option<u64>,
    },
    /// The body is read, nothing is executed, and this error is the answer.
    Error {
        /// HTTP status.
        status: u16,
        /// S3's code: `SlowDown`, `AccessDenied`, `InternalError`, …
        code: String,
        /// For people.
        #[serde(default)]
        message: String,
        /// A Retry-After header.
        #[serde(default)]
        retry_after_seconds: Option<u64>,
    },
    /// Status 200 with an error in the XML body, as CompleteMultipartUpload may answer; nothing is executed.
    ErrorBody {
        /// S3's code.
        code: String,
        /// For people.
        #[serde(default)]
        message: String,
    },
    /// The request is executed, then the connection is reset without an answer.
    LostReply,
}

impl Fault {
    /// A fault of the next such operation.
    pub fn once(operation: &str, action: Action) -> Fault {
        Fault {
            operation: operation.into(),
            key: None,
            part_number: None,
            skip: 0,
            times: 1,
            action,
        }
    }

    /// A fault of every such operation until it is cleared.
    pub fn forever(operation: &str, action: Action) -> Fault {
        Fault {
            times: 0,
            ..Fault::once(operation, action)
        }
    }

    fn matches(&self, target: &Target) -> bool {
        (self.operation == "*" || self.operation == target.operation)
            && self.key.as_ref().is_none_or(|key| *key == target.key)
            && (self.part_number.is_none() || self.part_number == target.part_number)
    }
}

/// A fault and what it has done so far.
#[derive(Debug, Clone, Serialize)]
pub struct FaultState {
    /// The fault as it was set.
    #[serde(flatten)]
    pub fault: Fault,
    /// Matching requests, those that passed too.
    pub seen: u32,
    /// How often it happened.
    pub happened: u32,
}

/// The faults in force, oldest first.
#[derive(Debug)]
pub(super) struct Faults {
    active: Mutex<Vec<FaultState>>,
    /// Counts clearings; a stalled request waits for the next.
    cleared: watch::Sender<u64>,
}

impl Faults {
    pub(super) fn new() -> Faults {
        Faults {
            active: Mutex::default(),
            cleared: watch::Sender::new(0),
        }
    }

    pub(super) fn add(&self, fault: Fault) {
        self.active().push(FaultState {
            fault,
            seen: 0,
            happened: 0,
        });
    }

    pub(super) fn clear(&self) {
        self.active().clear();
        self.cleared.send_modify(|count| *count += 1);
    }

    pub(super) fn list(&self) -> Vec<FaultState> {
        self.active().clone()
    }

    /// What happens to this request: the first fault that matches and is due.
    pub(super) fn next(&self, target: &Target) -> Option<Action> {
        let mut chosen = None;
        for state in self.active().iter_mut().filter(|state| state.fault.matches(target)) {
            let fault = &state.fault;
            if fault.times != 0 && state.happened >= fault.times {
                continue;
            }
            state.seen += 1;
            if state.seen > fault.skip && chosen.is_none() {
                chosen = Some(fault.action.clone());
                state.happened += 1;
            }
        }
        chosen
    }

    /// Resolves at the next clearing after this call, or after a time.
    pub(super) fn stalled(&self, time: Option<Duration>) -> impl Future<Output = ()> + Send + use<> {
        let mut cleared = self.cleared.subscribe();
        async move {
            let released = cleared.changed();
            match time {
                Some(time) => drop(tokio::time::timeout(time, released).await),
                None => drop(released.await),
            }
        }
    }

    fn active(&self) -> MutexGuard<'_, Vec<FaultState>> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn part(number: u32) -> Target {
        Target {
            operation: "UploadPart".into(),
            part_number: Some(number),
            ..Target::default()
        }
    }

    #[test]
    fn a_fault_skips_then_happens_as_often_as_asked() {
        let faults = Faults::new();
        let fault = r#"{"operation": "UploadPart", "skip": 1, "times": 2, "action": "lostReply"}"#;
        faults.add(serde_json::from_str(fault).unwrap());
        let happened: Vec<bool> = (1..=5).map(|number| faults.next(&part(number)).is_some()).collect();
        assert_eq!(happened, [false, true, true, false, false]);
        assert_eq!(faults.list()[0].happened, 2);
    }

    #[test]
    fn a_fault_waits_for_its_part_and_may_stay_for_ever() {
        let faults = Faults::new();
        faults.add(Fault {
            part_number: Some(2),
            ..Fault::forever("*", Action::LostReply)
        });
        assert!(faults.next(&part(1)).is_none());
        assert!(faults.next(&part(2)).is_some());
        assert!(faults.next(&part(2)).is_some());
        faults.clear();
        assert!(faults.next(&part(2)).is_none());
    }
}
