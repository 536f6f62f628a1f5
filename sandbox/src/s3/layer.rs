//! In front of s3s: records each request, applies its fault, refuses forbidden headers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use hyper::http::HeaderValue;
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{Body, HttpError, S3Error, S3Result, s3_error};
use serde::Serialize;
use tokio::sync::watch;

use super::body::RequestBody;
use super::checks::parse_md5;
use super::faults::{Action, Faults};
use super::request::{Target, check};
use super::rules::SharedRules;
use super::service::Service;
use super::store::Store;
use crate::http::{Answer, BoxError, Handler};
use crate::wire::Script;

/// A DeleteObjects body names at most 1,000 keys of 1 KB.
const MAX_DELETE_BYTES: usize = 4 << 20;

#[derive(Debug)]
pub(super) struct Layer {
    pub(super) store: Arc<Store>,
    pub(super) rules: SharedRules,
    pub(super) faults: Faults,
    pub(super) log: Log,
    inner: S3Service,
}

impl Layer {
    pub(super) fn new(store: Arc<Store>, rules: SharedRules) -> Layer {
        let mut builder = S3ServiceBuilder::new(Service {
            store: store.clone(),
            rules: rules.clone(),
        });
        builder.set_auth(rules.clone());
        Layer {
            store,
            rules,
            faults: Faults::new(),
            log: Log::new(),
            inner: builder.build(),
        }
    }

    pub(super) fn handler(self: Arc<Self>) -> Handler {
        Arc::new(move |request, script| {
            let layer = self.clone();
            Box::pin(async move { layer.handle(request, script).await })
        })
    }

    async fn handle(&self, request: Request<Incoming>, script: Script) -> Answer {
        // What a fault of the connection's last response did not use up.
        script.release();
        let (parts, body) = request.into_parts();
        let target = Target::of(&parts);
        let fault = self.faults.next(&target);
        let number = self.log.received(&parts, &target, fault.as_ref());
        let answer = self
            .answer(parts, RequestBody::new(body), &target, fault, &script)
            .await;
        self.log.answered(number, answer.as_ref().map(Response::status).ok());
        answer
    }

    async fn answer(
        &self,
        parts: Parts,
        mut body: RequestBody,
        target: &Target,
        fault: Option<Action>,
        script: &Script,
    ) -> Answer {
        let millis = |time: Option<u64>| time.map(Duration::from_millis);
        match fault {
            None => self.execute(parts, body, target).await,
            Some(Action::Reset {
                after_response_bytes: Some(bytes),
                ..
            }) => {
                let response = self.execute(parts, body, target).await?;
                script.reset_after(bytes);
                Ok(response)
            }
            Some(Action::Reset {
                after_request_bytes, ..
            }) => {
                body.fill(after_request_bytes.unwrap_or(0)).await?;
                script.reset();
                Err("scripted reset".into())
            }
            Some(Action::Stall {
                after_response_bytes: Some(bytes),
                for_millis,
                ..
            }) => {
                let over = self.faults.stalled(millis(for_millis));
                let response = self.execute(parts, body, target).await?;
                script.hold_after(bytes);
                let script = script.clone();
                tokio::spawn(async move {
                    over.await;
                    script.release();
                });
                Ok(response)
            }
            Some(Action::Stall {
                after_request_bytes,
                for_millis,
                ..
            }) => {
                let over = self.faults.stalled(millis(for_millis));
                body.fill(after_request_bytes.unwrap_or(0)).await?;
                over.await;
                self.execute(parts, body, target).await
            }
            Some(Action::Error {
                status,
                code,
                message,
                retry_after_seconds,
            }) => {
                body.drain().await?;
                let mut response = xml_error(&parts.method, StatusCode::from_u16(status)?, &code, &message)?;
                if let Some(seconds) = retry_after_seconds {
                    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
                }
                Ok(response)
            }
            Some(Action::ErrorBody { code, message }) => {
                body.drain().await?;
                xml_error(&parts.method, StatusCode::OK, &code, &message)
            }
            Some(Action::LostReply) => {
                self.execute(parts, body, target).await?;
                script.reset();
                Err("scripted loss of the reply".into())
            }
        }
    }

    async fn execute(&self, parts: Parts, body: RequestBody, target: &Target) -> Answer {
        let rules = self.rules.get();
        let allowed = check(&parts, target, &rules.region, rules.require_content_md5).and_then(|()| {
            if rules.refused_buckets.contains(&target.bucket) {
                return Err(s3_error!(AccessDenied, "Access Denied"));
            }
            Ok(())
        });
        if let Err(error) = allowed {
            return refuse(error, body).await;
        }
        let body = if target.operation == "DeleteObjects" {
            let bytes = body.collect_all(MAX_DELETE_BYTES).await?;
            if let Err(error) = check_md5(&parts, &bytes) {
                return Ok(error.to_http_response()?);
            }
            Body::from(bytes)
        } else {
            Body::http_body_unsync(body)
        };
        let response = self.inner.call(Request::from_parts(parts, body)).await;
        response.map_err(|error: HttpError| format!("{error:?}").into())
    }
}

/// The error as an answer, after the body, so that a client that writes first can read it.
async fn refuse(error: S3Error, body: RequestBody) -> Answer {
    body.drain().await?;
    Ok(error.to_http_response()?)
}

fn check_md5(parts: &Parts, bytes: &[u8]) -> S3Result<()> {
    let Some(header) = parts.headers.get("content-md5") else {
        return Ok(());
    };
    let expected = parse_md5(header.to_str().unwrap_or_default())?;
    let digest = openssl::hash::hash(openssl::hash::MessageDigest::md5(), bytes).map_err(super::store::internal)?;
    if *digest != expected {
        Err(s3_error!(BadDigest))
    } else {
        Ok(())
    }
}

fn xml_error(method: &Method, status: StatusCode, code: &str, message: &str) -> Answer {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    );
    let body = if method == Method::HEAD {
        Body::empty()
    } else {
        Body::from(body)
    };
    let response = Response::builder()
        .status(status)
        .header(CONTENT_TYPE, "application/xml")
        .body(body);
    response.map_err(BoxError::from)
}

/// A request as it came.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Recorded {
    /// What it asked for.
    #[serde(flatten)]
    pub target: Target,
    /// All headers but the signature, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// Whether a fault was applied.
    pub faulty: bool,
    /// Whether its answer was made, or its connection cut.
    pub answered: bool,
    /// The answer's status; none if there was no answer.
    pub status: Option<u16>,
}

/// The requests since the last clearing.
#[derive(Debug)]
pub(super) struct Log {
    /// The first's number, and the entries.
    entries: Mutex<(usize, Vec<Recorded>)>,
    changed: watch::Sender<()>,
}

impl Log {
    fn new() -> Log {
        Log {
            entries: Mutex::default(),
            changed: watch::Sender::new(()),
        }
    }

    fn received(&self, parts: &Parts, target: &Target, fault: Option<&Action>) -> usize {
        let headers = parts
            .headers
            .iter()
            .filter(|(name, _)| *name != AUTHORIZATION)
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect();
        let (faulty, answered) = (fault.is_some(), false);
        let recorded = Recorded {
            target: target.clone(),
            headers,
            faulty,
            answered,
            status: None,
        };
        let mut entries = self.entries();
        entries.1.push(recorded);
        let number = entries.0 + entries.1.len() - 1;
        drop(entries);
        self.changed.send_replace(());
        number
    }

    fn answered(&self, number: usize, status: Option<StatusCode>) {
        let mut entries = self.entries();
        let position = number.checked_sub(entries.0);
        if let Some(entry) = position.and_then(|position| entries.1.get_mut(position)) {
            entry.answered = true;
            entry.status = status.map(|status| status.as_u16());
        }
        drop(entries);
        self.changed.send_replace(());
    }

    pub(super) fn list(&self) -> Vec<Recorded> {
        self.entries().1.clone()
    }

    pub(super) fn clear(&self) {
        let mut entries = self.entries();
        entries.0 += entries.1.len();
        entries.1.clear();
    }

    pub(super) async fn wait(&self, operation: &str, count: usize, answered: bool) {
        let enough = || {
            let matches = |entry: &&Recorded| {
                (operation == "*" || entry.target.operation == operation) && (entry.answered || !answered)
            };
            self.entries().1.iter().filter(matches).count() >= count
        };
        let mut changed = self.changed.subscribe();
        while !enough() && changed.changed().await.is_ok() {}
    }

    fn entries(&self) -> MutexGuard<'_, (usize, Vec<Recorded>)> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
