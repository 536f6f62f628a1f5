//! A Telegram Bot API that records messages and answers as it is told.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::{Method, Request, Response};
use s3s::Body;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::certificates::{Authority, ServerCertificate, write_private};
use crate::error::Result;
use crate::folder::Folder;
use crate::http::{Answer as HttpAnswer, BoxError, Handler, Server};
use crate::wire::Script;

/// A text has at most 4096 characters (Bot API, sendMessage).
const MAX_TEXT: usize = 4096;
const MAX_BODY_BYTES: usize = 1 << 20;

/// How to start it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct TelegramOptions {
    /// Answer https with a certificate of an own CA.
    pub tls: bool,
    /// Which certificate.
    pub certificate: ServerCertificate,
}

/// Where it is.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TelegramInfo {
    /// `http://127.0.0.1:port`, or https; methods are at `/bot<token>/<method>`.
    pub api_base: String,
    /// Its port.
    pub port: u16,
    /// The only token that is accepted.
    pub token: String,
    /// A chat to write to; any other is taken too.
    pub chat_id: String,
    /// With TLS, the CA's file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_path: Option<std::path::PathBuf>,
}

/// A message that somebody tried to send.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Message {
    /// As it was given, number or word.
    pub chat_id: String,
    /// The text.
    pub text: String,
    /// All parameters.
    pub parameters: Value,
    /// Milliseconds since 1970.
    pub received: u64,
    /// The answer's status; none if there was no answer.
    pub status: Option<u16>,
    /// Whether it was answered with success, so that a reader of the chat would see it.
    pub delivered: bool,
}

/// What the next message gets instead of success.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum TelegramAnswer {
    /// 429 with `parameters.retry_after`.
    TooManyRequests {
        /// Seconds.
        retry_after: u64,
    },
    /// Another error.
    Error {
        /// HTTP status, and `error_code`.
        status: u16,
        /// For people.
        #[serde(default)]
        description: String,
    },
    /// Nothing for a while, then success; without a time until [`Telegram::clear`].
    Stall {
        /// Milliseconds.
        #[serde(default)]
        for_millis: Option<u64>,
    },
    /// The connection is reset; the message is not delivered.
    Reset,
    /// As ever; to let one pass between others.
    Success,
}

#[derive(Debug, Default)]
struct State {
    messages: Vec<Message>,
    /// The next first; the number is how often still, 0 for ever.
    answers: VecDeque<(TelegramAnswer, u32)>,
    /// Counts clearings, so that late answers find no wrong message.
    epoch: u64,
}

#[derive(Debug)]
struct Recorder {
    token: String,
    state: Mutex<State>,
    changed: watch::Sender<u64>,
}

/// A running recorder. It lives on the runtime that started it; dropping it stops it.
#[derive(Debug)]
pub struct Telegram {
    info: TelegramInfo,
    recorder: Arc<Recorder>,
    _server: Server,
    _folder: Option<Folder>,
}

impl Telegram {
    /// Starts it.
    pub async fn start(options: TelegramOptions) -> Result<Telegram> {
        let token = "123456:sandbox-telegram-token".to_owned();
        let (mut identity, mut folder, mut ca_path) = (None, None, None);
        if options.tls {
            let authority = Authority::shared()?;
            let files = folder.insert(Folder::new(false)?);
            let path = files.path().join("ca.crt");
            write_private(&path, authority.pem()?.as_bytes())?;
            ca_path = Some(path);
            identity = Some(authority.server(options.certificate)?);
        }
        let changed = watch::Sender::new(0);
        let recorder = Arc::new(Recorder {
            token: token.clone(),
            state: Mutex::default(),
            changed,
        });
        let server = Server::start(identity.as_ref(), recorder.clone().handler()).await?;
        let scheme = if options.tls { "https" } else { "http" };
        let info = TelegramInfo {
            api_base: format!("{scheme}://127.0.0.1:{}", server.port()),
            port: server.port(),
            token,
            chat_id: "-1001234567890".into(),
            ca_path,
        };
        Ok(Telegram {
            info,
            recorder,
            _server: server,
            _folder: folder,
        })
    }

    /// Where it is.
    pub fn info(&self) -> &TelegramInfo {
        &self.info
    }

    /// What somebody tried to send, also what was answered with an error.
    pub fn messages(&self) -> Vec<Message> {
        self.recorder.state().messages.clone()
    }

    /// Answers the next `times` messages so, after the answers set before; 0 means for ever.
    pub fn answer(&self, answer: TelegramAnswer, times: u32) {
        self.recorder.state().answers.push_back((answer, times));
    }

    /// Forgets messages and answers; what is stalled goes on.
    pub fn clear(&self) {
        let mut state = self.recorder.state();
        state.messages.clear();
        state.answers.clear();
        state.epoch += 1;
        drop(state);
        self.recorder.announce();
    }

    /// Resolves when so many messages have come since the last clearing.
    pub async fn wait_for_messages(&self, count: usize) {
        let mut changed = self.recorder.changed.subscribe();
        while self.recorder.state().messages.len() < count && changed.changed().await.is_ok() {}
    }
}

impl Recorder {
    fn handler(self: Arc<Self>) -> Handler {
        Arc::new(move |request, script| {
            let recorder = self.clone();
            Box::pin(async move { recorder.handle(request, script).await })
        })
    }

    async fn handle(&self, request: Request<Incoming>, script: Script) -> HttpAnswer {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path().strip_prefix("/bot").unwrap_or_default().to_owned();
        let Some((token, method)) = path.split_once('/') else {
            return failure(404, "Not Found", None);
        };
        let body = Limited::new(body, MAX_BODY_BYTES).collect().await?.to_bytes();
        if token != self.token {
            return failure(401, "Unauthorized", None);
        }
        if method != "sendMessage" || parts.method != Method::POST {
            return failure(404, "Not Found", None);
        }
        let kind = parts
            .headers
            .get(CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok())
            .unwrap_or_default();
        let Some(parameters) = parameters(kind, &body) else {
            return failure(400, "Bad Request: the body cannot be read", None);
        };
        let word = |name: &str| match parameters.get(name) {
            Some(Value::String(word)) => word.clone(),
            Some(Value::Number(number)) => number.to_string(),
            _ => String::new(),
        };
        let (chat_id, text) = (word("chat_id"), word("text"));
        let refusal = if chat_id.is_empty() {
            Some("Bad Request: chat_id is empty")
        } else if text.is_empty() {
            Some("Bad Request: message text is empty")
        } else if text.chars().count() > MAX_TEXT {
            Some("Bad Request: message is too long")
        } else {
            None
        };
        let (number, epoch, answer) = self.received(chat_id, text.clone(), parameters);
        if let Some(description) = refusal {
            self.answered(number, epoch, Some(400));
            return failure(400, description, None);
        }
        match answer {
            TelegramAnswer::Success => {}
            TelegramAnswer::TooManyRequests { retry_after } => {
                self.answered(number, epoch, Some(429));
                let description = format!("Too Many Requests: retry after {retry_after}");
                return failure(429, &description, Some(json!({ "retry_after": retry_after })));
            }
            TelegramAnswer::Error { status, description } => {
                self.answered(number, epoch, Some(status));
                return failure(status, &description, None);
            }
            TelegramAnswer::Stall { for_millis } => self.stall(epoch, for_millis.map(Duration::from_millis)).await,
            TelegramAnswer::Reset => {
                script.reset();
                self.answered(number, epoch, None);
                return Err("scripted reset".into());
            }
        }
        self.answered(number, epoch, Some(200));
        let date = now().as_secs();
        let result = json!({ "message_id": number + 1, "date": date, "text": text });
        reply(200, &json!({ "ok": true, "result": result }))
    }

    /// Records a message and takes its answer from the script.
    fn received(&self, chat_id: String, text: String, parameters: Value) -> (usize, u64, TelegramAnswer) {
        let received = u64::try_from(now().as_millis()).unwrap_or(u64::MAX);
        let mut state = self.state();
        let mut answer = TelegramAnswer::Success;
        if let Some((next, times)) = state.answers.front_mut() {
            answer = next.clone();
            if *times == 1 {
                state.answers.pop_front();
            } else {
                *times = times.saturating_sub(1);
            }
        }
        state.messages.push(Message {
            chat_id,
            text,
            parameters,
            received,
            status: None,
            delivered: false,
        });
        let place = (state.messages.len() - 1, state.epoch);
        drop(state);
        self.announce();
        (place.0, place.1, answer)
    }

    fn answered(&self, number: usize, epoch: u64, status: Option<u16>) {
        let mut state = self.state();
        if state.epoch == epoch
            && let Some(message) = state.messages.get_mut(number)
        {
            message.status = status;
            message.delivered = status == Some(200);
        }
        drop(state);
        self.announce();
    }

    async fn stall(&self, epoch: u64, time: Option<Duration>) {
        let mut changed = self.changed.subscribe();
        let cleared = async { while self.state().epoch == epoch && changed.changed().await.is_ok() {} };
        match time {
            Some(time) => drop(tokio::time::timeout(time, cleared).await),
            None => cleared.await,
        }
    }

    fn announce(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// JSON or a form, the two that the Bot API takes for texts.
fn parameters(kind: &str, body: &[u8]) -> Option<Value> {
    if kind.starts_with("application/json") {
        return serde_json::from_slice(body).ok().filter(Value::is_object);
    }
    if !kind.starts_with("application/x-www-form-urlencoded") {
        return None;
    }
    let text = std::str::from_utf8(body).ok()?.replace('+', " ");
    let pairs = text.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let decode = crate::s3::percent_decode;
    Some(
        pairs
            .map(|(name, value)| (decode(name), Value::String(decode(value))))
            .collect::<serde_json::Map<_, _>>()
            .into(),
    )
}

fn failure(status: u16, description: &str, parameters: Option<Value>) -> HttpAnswer {
    let mut body = json!({ "ok": false, "error_code": status, "description": description });
    if let (Some(parameters), Some(body)) = (parameters, body.as_object_mut()) {
        body.insert("parameters".into(), parameters);
    }
    reply(status, &body)
}

fn reply(status: u16, body: &Value) -> HttpAnswer {
    let response = Response::builder()
        .status(status)
        .header(CONTENT_TYPE, "application/json");
    response.body(Body::from(body.to_string())).map_err(BoxError::from)
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
