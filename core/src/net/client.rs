//! One connection, driven by its caller on tokio.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::cancel;
use super::connect::connect;
use super::established::{Address, Established, PasswordProvider};
use super::result::{Collector, QueryResult};
use super::stream::Stream;
use crate::config::Config;
use crate::error::Kind;
use crate::proto::{Extended, Param, ServerError, TransactionStatus, Wire};
use crate::{Error, Result};

/// After a query's timeout: how long the cancelled statement and the cancel connection may take to end.
const CANCEL_LIMIT: Duration = Duration::from_secs(5);
/// How long the server may take to close after Terminate.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// A connection to PostgreSQL. Requests run one at a time, inside the caller's future.
///
/// A query whose future is dropped goes on at the server: the next call cancels it and waits for its end first, and a
/// pool does so before it hands the connection to anybody else.
pub struct Client {
    stream: Stream,
    wire: Wire,
    config: Arc<Config>,
    address: Address,
    query_timeout: Option<Duration>,
    notices: Vec<ServerError>,
    /// The connection is of no use any more.
    broken: bool,
}

/// Cancels what a [`Client`] runs, from anywhere.
#[derive(Clone)]
pub struct CancelHandle {
    config: Arc<Config>,
    address: Address,
    key: Option<(i32, i32)>,
}

impl Client {
    /// Connects as [`connect`] does. Must run on tokio, as all of its methods.
    pub async fn connect(config: Arc<Config>, password: Option<PasswordProvider>) -> Result<Client> {
        let established = connect(Arc::clone(&config), password).await?;
        Client::new(config, established)
    }

    /// Takes over an established session that `config` led to.
    pub fn new(config: Arc<Config>, established: Established) -> Result<Client> {
        Ok(Client {
            stream: Stream::from_socket(established.socket)?,
            wire: established.wire,
            config,
            address: established.address,
            query_timeout: None,
            notices: established.notices,
            broken: false,
        })
    }

    /// The limit for each query.
    pub fn query_timeout(&self) -> Option<Duration> {
        self.query_timeout
    }

    /// For each query from now on; `None` = no limit. A query that takes longer is cancelled on the server.
    pub fn set_query_timeout(&mut self, limit: Option<Duration>) {
        self.query_timeout = limit;
    }

    /// One statement with parameters, text results. Never names a statement, so it is safe behind transaction poolers.
    pub async fn query(&mut self, sql: &str, params: &[Param<'_>]) -> Result<QueryResult> {
        self.settle().await?;
        self.wire.extended(&Extended {
            name: "",
            sql: Some(sql),
            params,
            results: &[],
            portal: "",
            max_rows: 0,
        })?;
        Ok(self.finish().await?.pop().unwrap_or_default())
    }

    /// One or many statements without parameters: one result each.
    pub async fn simple_query(&mut self, sql: &str) -> Result<Vec<QueryResult>> {
        self.settle().await?;
        self.wire.query(sql)?;
        self.finish().await
    }

    /// For cancelling from another task or thread.
    pub fn cancel_handle(&self) -> CancelHandle {
        CancelHandle {
            config: Arc::clone(&self.config),
            address: self.address.clone(),
            key: self.wire.backend_key(),
        }
    }

    /// Says goodbye and waits, for at most two seconds, until the server has closed.
    pub async fn close(mut self) {
        if self.broken {
            return;
        }
        self.wire.terminate();
        let work = async {
            let mut sink = Collector::default();
            while self.stream.exchange(&mut self.wire).await.is_ok() {
                while matches!(self.wire.poll_event(&mut sink), Ok(Some(_))) {}
            }
        };
        let _ = tokio::time::timeout(CLOSE_LIMIT, work).await;
    }

    /// Where it is connected.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The backend's process id.
    pub fn process_id(&self) -> Option<i32> {
        self.wire.backend_key().map(|(pid, _)| pid)
    }

    /// The latest value of a run-time parameter that the server reported (`server_version`).
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.wire.parameter(name)
    }

    /// Whether the session runs inside TLS.
    pub fn is_tls(&self) -> bool {
        self.wire.is_tls()
    }

    /// The transaction status after the last request.
    pub fn transaction_status(&self) -> TransactionStatus {
        self.wire.transaction_status()
    }

    /// Whether it can be used no more: broken, or closed by the server.
    pub fn is_closed(&self) -> bool {
        self.broken
    }

    /// Whether a request is still running whose future was dropped.
    pub fn is_busy(&self) -> bool {
        self.wire.in_flight() > 0
    }

    /// Notices since the last call, the first hundred of each request.
    pub fn take_notices(&mut self) -> Vec<ServerError> {
        std::mem::take(&mut self.notices)
    }

    /// Whether the idle connection looks alive: no end of file, no error, no unread bytes. Does not wait.
    pub fn is_healthy(&self) -> bool {
        !self.broken && !self.is_busy() && self.stream.is_quiet()
    }

    /// Makes it as good as new for the next user: ends a request that was given up, rolls an open transaction back.
    pub async fn reset(&mut self) -> Result<()> {
        self.settle().await?;
        if self.wire.transaction_status() != TransactionStatus::Idle {
            self.simple_query("ROLLBACK").await?;
        }
        match self.wire.transaction_status() {
            TransactionStatus::Idle => Ok(()),
            _ => Err(Error::new(Kind::Closed, "the transaction did not end with ROLLBACK")),
        }
    }

    /// Cancels a request whose future was dropped and waits for its end.
    async fn settle(&mut self) -> Result<()> {
        if self.broken {
            return Err(Error::new(
                Kind::Closed,
                "Client has encountered a connection error and is not queryable",
            ));
        }
        match self.is_busy() {
            true => self.end_request(&mut Collector::default()).await,
            false => Ok(()),
        }
    }

    /// Waits for the end of the only request in flight.
    async fn finish(&mut self) -> Result<Vec<QueryResult>> {
        let mut collector = Collector::default();
        let done = match self.query_timeout {
            None => self.drive(&mut collector).await,
            Some(limit) => match tokio::time::timeout(limit, self.drive(&mut collector)).await {
                Ok(done) => done,
                Err(_) => {
                    self.end_request(&mut collector).await?;
                    self.notices.append(&mut collector.notices);
                    // It may have ended by itself in the last moment: then its result is the truth.
                    return collector.finish().map_err(|error| match error.code() {
                        Some(crate::sqlstate::QUERY_CANCELED) => query_timeout(limit).with_source(error),
                        _ => error,
                    });
                }
            },
        };
        self.notices.append(&mut collector.notices);
        done?;
        collector.finish()
    }

    /// Cancels on the server; resolves when the statement has ended and the cancel connection too, so that the cancel
    /// cannot hit a later statement. If that takes too long the connection is given up.
    async fn end_request(&mut self, collector: &mut Collector) -> Result<()> {
        let handle = self.cancel_handle();
        let work = async {
            let (cancelled, driven) = tokio::join!(handle.cancel(), self.drive(collector));
            driven.and(cancelled)
        };
        let done = match tokio::time::timeout(CANCEL_LIMIT, work).await {
            Ok(done) => done,
            Err(_) => Err(Error::new(
                Kind::QueryTimeout,
                format!(
                    "a query took too long and did not end within {} s of being cancelled",
                    CANCEL_LIMIT.as_secs()
                ),
            )),
        };
        if done.is_err() {
            self.broken = true;
        }
        done
    }

    /// Reads and writes until no request is in flight. May be dropped and called again.
    async fn drive(&mut self, collector: &mut Collector) -> Result<()> {
        let failed = loop {
            match self.wire.poll_event(collector) {
                Ok(Some(event)) => match collector.event(event) {
                    Ok(true) if self.wire.in_flight() == 0 => return Ok(()),
                    Ok(_) => {}
                    Err(error) => break error,
                },
                Ok(None) if self.wire.in_flight() == 0 => return Ok(()),
                Ok(None) => {
                    if let Err(error) = self.stream.exchange(&mut self.wire).await {
                        break error;
                    }
                }
                Err(error) => break error,
            }
        };
        self.broken = true;
        // A server that closes mostly said why before.
        Err(collector.take_error().unwrap_or(failed))
    }
}

impl CancelHandle {
    /// Asks the server to cancel the running statement, and resolves when the server has closed that request's
    /// connection. A statement that has ended in the meantime is not an error; one that began may be hit.
    pub async fn cancel(&self) -> Result<()> {
        let key = self.key.ok_or_else(|| {
            Error::new(
                Kind::Usage,
                "this server gave no key to cancel with (a pooler may not support it)",
            )
        })?;
        cancel(Arc::clone(&self.config), &self.address, key).await
    }
}

fn query_timeout(limit: Duration) -> Error {
    let millis = limit.as_millis();
    Error::new(
        Kind::QueryTimeout,
        format!("the query took longer than {millis} ms and was cancelled on the server"),
    )
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("address", &self.address)
            .field("process_id", &self.process_id())
            .field("broken", &self.broken)
            .finish_non_exhaustive()
    }
}
