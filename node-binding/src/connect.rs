//! Connection attempts and cancels: they run on tokio, and their results come back through the environment's queue.

use std::collections::HashMap;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use heys_core::config::Config;
use heys_core::error::Kind;
use heys_core::net::{self, Established, PasswordProvider};
use heys_core::{Error, Result};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use crate::env::{Environment, Hook, Wake};
use crate::errors;
use crate::queue::{Answer, Message, Queue};
use crate::raw::Value;
use crate::runtime::runtime;
use crate::session::Session;
use crate::{backup, pool};

/// Attempts whose end has not been told yet, by JavaScript's number.
#[derive(Default)]
pub(crate) struct Attempts(HashMap<i32, Attempt>);

struct Attempt {
    config: Arc<Config>,
    task: AbortHandle,
    /// Set while the server waits for a password.
    reply: Option<oneshot::Sender<Result<Option<String>>>>,
    aborted: bool,
}

impl Attempts {
    /// The environment ends: nobody wants the results.
    pub(crate) fn abort_all(&mut self) {
        for (_, attempt) in self.0.drain() {
            attempt.task.abort();
        }
    }
}

// ---- calls from JavaScript

/// Starts connecting, or logging in over a `socket` whose other end JavaScript serves; `onConnect` or `onConnectError`
/// comes.
pub(crate) fn start(environment: &Environment, request: i32, config: Result<Config>, socket: Option<UnixStream>) {
    environment.operation_began();
    let queue = Arc::clone(&environment.queue);
    let started = config.and_then(|config| Ok((config, runtime()?)));
    let (config, runtime) = match started {
        Ok(started) => started,
        Err(error) => {
            return queue.send(Message::Connected {
                request,
                result: Err(error),
            });
        }
    };
    let config = Arc::new(config);
    let answer = Answer::new(
        Arc::clone(&queue),
        Message::Connected {
            request,
            result: Err(Error::new(Kind::Cancelled, "the connection attempt was given up")),
        },
    );
    let password = config.password.is_none().then(|| ask_password(queue, request));
    let for_task = Arc::clone(&config);
    let task = runtime.spawn(async move {
        let established = match socket {
            Some(socket) => net::attach(socket, for_task, password).await,
            None => net::connect(for_task, password).await,
        };
        let result = established.map(Box::new);
        answer.send(Message::Connected { request, result });
    });
    environment.attempts.borrow_mut().0.insert(
        request,
        Attempt {
            config,
            task: task.abort_handle(),
            reply: None,
            aborted: false,
        },
    );
}

/// A provider that asks JavaScript.
fn ask_password(queue: Arc<Queue>, request: i32) -> PasswordProvider {
    Arc::new(move |_| {
        let queue = Arc::clone(&queue);
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            queue.send(Message::Password { request, reply });
            match answer.await {
                Ok(password) => password,
                Err(_) => Err(Error::new(
                    Kind::Cancelled,
                    "nobody answers the question for a password",
                )),
            }
        })
    })
}

/// The answer to `onPassword`.
pub(crate) fn password(environment: &Environment, request: i32, password: Result<Option<String>>) {
    let reply = environment
        .attempts
        .borrow_mut()
        .0
        .get_mut(&request)
        .and_then(|attempt| attempt.reply.take());
    if let Some(reply) = reply {
        // An attempt that timed out meanwhile no longer listens.
        let _ = reply.send(password);
    }
}

/// Gives an attempt up; `onConnectError` still comes.
pub(crate) fn abort(environment: &Environment, request: i32) {
    if let Some(attempt) = environment.attempts.borrow_mut().0.get_mut(&request) {
        attempt.aborted = true;
        attempt.reply = None;
        // The dropped task sends its `Answer`.
        attempt.task.abort();
    }
}

/// Cancels what the session runs; `onCancelled` comes when the server has closed the cancel connection.
pub(crate) fn cancel(environment: &Environment, request: i32, session: Option<&Session>) {
    environment.operation_began();
    let queue = Arc::clone(&environment.queue);
    let fail = |error: Error| {
        environment.queue.send(Message::Cancelled {
            request,
            error: Some(error),
        });
    };
    let target = session.map(|session| {
        // What is to be cancelled must be there before the cancel is.
        session.flush();
        session.cancel_target()
    });
    let Some((config, address, key)) = target else {
        return fail(Error::new(
            Kind::Closed,
            "the connection is closed: there is nothing to cancel",
        ));
    };
    let Some(key) = key else {
        return fail(Error::new(
            Kind::Usage,
            "the server gave no cancel key: a statement on this connection cannot be cancelled",
        ));
    };
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return fail(error.into()),
    };
    let answer = Answer::new(
        queue,
        Message::Cancelled {
            request,
            error: Some(Error::new(Kind::Cancelled, "the cancel was given up")),
        },
    );
    runtime.spawn(async move {
        let error = net::cancel(config, &address, key).await.err();
        answer.send(Message::Cancelled { request, error });
    });
}

/// When a cancel is sent for a session that is gone: one that reaches the server before the statement does hits nothing,
/// and a statement that sends nothing does not notice that its client is gone.
const ABANDONED: [Duration; 3] = [Duration::ZERO, Duration::from_millis(250), Duration::from_secs(2)];

/// Cancels what the session runs, with nobody to tell how that went. The session is closed right after.
pub(crate) fn abandon(session: &Session) {
    let (config, address, key) = session.cancel_target();
    if let (Some(key), Ok(runtime)) = (key, runtime()) {
        runtime.spawn(async move {
            for pause in ABANDONED {
                tokio::time::sleep(pause).await;
                // The key is one server process's: once that has ended, this hits nobody.
                let _ = net::cancel(Arc::clone(&config), &address, key).await;
            }
        });
    }
}

// ---- what comes back

/// Tells JavaScript. Nothing may be borrowed.
pub(crate) fn on_message(wake: &Wake<'_>, message: Message) {
    let environment = wake.environment;
    let js = wake.js;
    match message {
        Message::Password { request, reply } => {
            let known = match environment.attempts.borrow_mut().0.get_mut(&request) {
                Some(attempt) if !attempt.aborted => {
                    attempt.reply = Some(reply);
                    true
                }
                _ => false,
            };
            if known {
                wake.call(Hook::Password, &[js.int(request)]);
            }
        }
        Message::Connected { request, result } => {
            environment.operation_ended();
            let attempt = environment.attempts.borrow_mut().0.remove(&request);
            let result = match attempt {
                // Refused before there was an attempt.
                None => result.map(|_| None),
                Some(attempt) if attempt.aborted => {
                    drop(result);
                    Err(Error::new(Kind::Cancelled, "the connection attempt was given up"))
                }
                Some(attempt) => result.map(|established| Some((attempt.config, established))),
            };
            match result {
                Ok(Some((config, established))) => connected(wake, request, config, *established),
                Ok(None) => {}
                Err(error) => connect_error(wake, request, &error),
            }
        }
        Message::Cancelled { request, error } => {
            environment.operation_ended();
            let error = error.map_or_else(|| js.undefined(), |error| errors::raw_error(js, &error));
            wake.call(Hook::Cancelled, &[js.int(request), error]);
        }
        Message::Ready { session, events } => with_session(wake, session, |session| session.ready_once(wake, events)),
        Message::Overdue { session } => with_session(wake, session, |session| session.shut(None)),
        Message::Unwatched { session } => with_session(wake, session, |session| session.unwatched(wake)),
        Message::Permit { pool, conn } => pool::on_permit(wake, pool, conn),
        Message::BackupProgress { request, event } => backup::on_progress(wake, request, &event),
        Message::BackupDone { request, result } => backup::on_done(wake, request, result),
    }
}

fn with_session(wake: &Wake<'_>, session: i32, work: impl FnOnce(&Session)) {
    let session = wake.environment.sessions.borrow().get(session).cloned();
    if let Some(session) = session {
        work(&session);
    }
}

fn connect_error(wake: &Wake<'_>, request: i32, error: &Error) {
    let error = errors::raw_error(wake.js, error);
    wake.call(Hook::ConnectError, &[wake.js.int(request), error]);
}

fn connected(wake: &Wake<'_>, request: i32, config: Arc<Config>, mut established: Established) {
    let js = wake.js;
    let notices: Vec<Value> = std::mem::take(&mut established.notices)
        .iter()
        .map(|notice| errors::server_error(js, notice))
        .collect();
    let address = established.address.to_string();
    let (pid, key) = established.wire.backend_key().unwrap_or((0, 0));
    let tls = established.wire.is_tls();
    let parameters: Vec<Value> = PARAMETERS
        .iter()
        .filter_map(|name| Some(js.array(&[js.string(name), js.string(established.wire.parameter(name)?)])))
        .collect();
    let session = match Session::open(wake.environment, config, established) {
        Ok(session) => session,
        Err(error) => return connect_error(wake, request, &error),
    };
    wake.call(
        Hook::Connect,
        &[
            js.int(request),
            js.int(session.id),
            js.int(pid),
            js.int(key),
            js.array(&parameters),
            js.array(&notices),
            js.bool(tls),
            js.string(&address),
        ],
    );
    session.deliver_first(wake);
}

/// The parameters that servers report by themselves (protocol chapter 55.2.7, PostgreSQL 10 to 18) and poolers add.
const PARAMETERS: [&str; 16] = [
    "application_name",
    "client_encoding",
    "DateStyle",
    "default_transaction_read_only",
    "in_hot_standby",
    "integer_datetimes",
    "IntervalStyle",
    "is_superuser",
    "scram_iterations",
    "search_path",
    "server_encoding",
    "server_version",
    "session_authorization",
    "standard_conforming_strings",
    "TimeZone",
    "crdb_version",
];
