//! Startup message, authentication and the first ReadyForQuery; the question which kind of server it is.

use super::established::PasswordProvider;
use super::stream::Stream;
use crate::config::{Config, TargetSessionAttrs};
use crate::error::Kind;
use crate::proto::{Event, PasswordRequest, RowSink, ServerError, SinkState, Startup, Tls, Wire};
use crate::{Error, Result};

/// Notices kept from a startup; a server that sends more is not listened to.
const NOTICES: usize = 100;

/// Logs in; the session is ready for its first query. Notices are appended to `notices`.
pub(super) async fn login(
    stream: &mut Stream,
    config: &Config,
    tls: Option<Tls>,
    password: Option<&PasswordProvider>,
    notices: &mut Vec<ServerError>,
) -> Result<Wire> {
    let mut wire = Wire::new(&startup(config), tls)?;
    loop {
        match next_event(stream, &mut wire, &mut FirstValue::default()).await? {
            Event::Ready(_) => return Ok(wire),
            Event::PasswordRequested(request) => {
                let answer = match (&config.password, password) {
                    (Some(password), _) => Some(password.clone()),
                    (None, Some(provider)) => provider(request).await?,
                    (None, None) => None,
                };
                wire.password(answer.ok_or_else(|| no_password(request))?.as_bytes())?;
            }
            Event::Error(error) => return Err(Error::from_server(error)),
            Event::Notice(notice) if notices.len() < NOTICES => notices.push(notice),
            _ => {}
        }
    }
}

/// Whether this server is of the wanted kind; if not, what it is.
pub(super) async fn suits(
    stream: &mut Stream,
    wire: &mut Wire,
    wanted: TargetSessionAttrs,
) -> Result<Result<(), &'static str>> {
    use TargetSessionAttrs::{Any, PreferStandby, Primary, ReadOnly, ReadWrite, Standby};
    // PostgreSQL 14 and newer report both; others, and some poolers, have to be asked.
    let standby = wire.parameter("in_hot_standby").map(|value| value == "on");
    let read_only = wire
        .parameter("default_transaction_read_only")
        .map(|value| value == "on");
    Ok(match wanted {
        Any => Ok(()),
        ReadWrite | ReadOnly => {
            let read_only = match (standby, read_only) {
                (Some(standby), Some(read_only)) => standby || read_only,
                _ => ask(stream, wire, "SHOW transaction_read_only").await? == "on",
            };
            match (wanted, read_only) {
                (ReadWrite, true) => Err("the session is read-only"),
                (ReadOnly, false) => Err("the session is not read-only"),
                _ => Ok(()),
            }
        }
        Primary | Standby | PreferStandby => {
            let standby = match standby {
                Some(standby) => standby,
                None => ask(stream, wire, "SELECT pg_catalog.pg_is_in_recovery()").await? == "t",
            };
            match (wanted, standby) {
                (Primary, true) => Err("the server is in hot standby mode"),
                (Standby | PreferStandby, false) => Err("the server is not in hot standby mode"),
                _ => Ok(()),
            }
        }
    })
}

/// Says goodbye to a server that is not wanted; nobody waits for it.
pub(super) async fn leave(stream: &mut Stream, wire: &mut Wire) {
    wire.terminate();
    while !wire.output().is_empty() {
        match stream.write(wire.output()).await {
            Ok(n) => wire.sent(n),
            Err(_) => return,
        }
    }
}

/// Sends what is to be sent and waits for the next event.
pub(super) async fn next_event(stream: &mut Stream, wire: &mut Wire, sink: &mut FirstValue) -> Result<Event> {
    loop {
        if let Some(event) = wire.poll_event(sink)? {
            return Ok(event);
        }
        while !wire.output().is_empty() {
            let n = stream.write(wire.output()).await?;
            wire.sent(n);
        }
        let n = stream.read(wire.spare()).await?;
        wire.filled(n)?;
    }
}

fn startup(config: &Config) -> Startup {
    let mut params = vec![("user".to_owned(), config.user.clone())];
    if !config.database.is_empty() {
        params.push(("database".to_owned(), config.database.clone()));
    }
    let has = |name: &str| config.params.iter().any(|(key, _)| key == name);
    if !has("client_encoding") {
        params.push(("client_encoding".to_owned(), "UTF8".to_owned()));
    }
    let own = ["user", "database"];
    params.extend(
        config
            .params
            .iter()
            .filter(|(key, _)| !own.contains(&key.as_str()))
            .cloned(),
    );
    Startup {
        params,
        channel_binding: config.channel_binding,
        scram_max_iterations: config.scram_max_iterations,
    }
}

fn no_password(request: PasswordRequest) -> Error {
    let how = match request {
        PasswordRequest::Cleartext => "in clear text",
        PasswordRequest::Md5 => "by MD5",
        PasswordRequest::Scram => "by SCRAM-SHA-256",
    };
    Error::new(
        Kind::Auth,
        format!("the server asks for a password ({how}) and there is none: set PG_PASSWORD or password"),
    )
}

async fn ask(stream: &mut Stream, wire: &mut Wire, sql: &str) -> Result<String> {
    wire.query(sql)?;
    let mut sink = FirstValue::default();
    let mut failed = None;
    loop {
        match next_event(stream, wire, &mut sink).await? {
            Event::Ready(_) => break,
            Event::Error(error) => failed = Some(Error::from_server(error)),
            _ => {}
        }
    }
    match failed {
        Some(error) => Err(error),
        None => Ok(sink.text),
    }
}

/// Keeps the first row's first value as text.
#[derive(Default)]
pub(super) struct FirstValue {
    text: String,
}

impl RowSink for FirstValue {
    fn row(&mut self, body: &[u8]) -> SinkState {
        // Int16 n, then Int32 length and bytes of each value.
        let length = body.get(2..6).and_then(|b| b.try_into().ok()).map(i32::from_be_bytes);
        if self.text.is_empty()
            && let Some(Ok(length)) = length.map(usize::try_from)
            && let Some(value) = body.get(6..).and_then(|rest| rest.get(..length))
        {
            self.text = String::from_utf8_lossy(value).into_owned();
        }
        SinkState::Open
    }
}
