//! A session and the TLS it may run in, seen from the socket.

use std::time::Duration;

use super::session::{Session, closed};
use super::tls::Plain;
use super::{Event, Extended, Known, RowSink, Startup, Target, Tls, TransactionStatus};
use crate::statements::{Policy, Statements, Texts};
use crate::{Error, Result};

/// One connection's whole protocol state. Send it between threads freely; it holds no socket.
pub struct Wire {
    session: Session,
    tls: Option<Tls>,
    /// The peer ended the TLS session; what came before is still to be read.
    tls_closed: bool,
    /// What went wrong where no error could be returned; the next poll returns it.
    failure: Option<Error>,
}

impl Wire {
    /// A session whose startup message is ready in [`Wire::output`]. `tls` has finished its handshake.
    pub fn new(startup: &Startup, tls: Option<Tls>) -> Result<Wire> {
        let mut wire = Wire {
            session: Session::new(startup)?,
            tls,
            tls_closed: false,
            failure: None,
        };
        wire.decrypt();
        Ok(wire)
    }

    // ---- bytes

    /// Where the driver reads into from the socket: never empty, at least 16 KiB when the buffer is. Poll until `None`
    /// between reads, or what was read keeps piling up.
    pub fn spare(&mut self) -> &mut [u8] {
        match &mut self.tls {
            Some(tls) => tls.spare(),
            None => self.session.received.spare(),
        }
    }

    /// `n` bytes were read into [`Wire::spare`]. If they cannot be decrypted, [`Wire::poll_event`] says so after all that
    /// came before them.
    pub fn filled(&mut self, n: usize) -> Result<()> {
        match &mut self.tls {
            Some(tls) => {
                tls.filled(n);
                self.decrypt();
            }
            None => self.session.received.filled(n),
        }
        Ok(())
    }

    /// Bytes for the socket; empty when there is nothing to send.
    pub fn output(&mut self) -> &[u8] {
        let Some(tls) = &mut self.tls else {
            return &self.session.out;
        };
        if self.failure.is_none()
            && !self.session.out.is_empty()
            && let Err(error) = self.session.drain_output(|out| tls.write(out))
        {
            self.failure = Some(error);
        }
        tls.output()
    }

    /// `n` bytes of [`Wire::output`] were written.
    pub fn sent(&mut self, n: usize) {
        match &mut self.tls {
            Some(tls) => tls.sent(n),
            None => self.session.sent(n),
        }
    }

    /// The next event, or `None` when more bytes are needed. Rows go to `sink` on the way. An `Err` ends the session.
    pub fn poll_event<S: RowSink + ?Sized>(&mut self, sink: &mut S) -> Result<Option<Event>> {
        let end_point = self.tls.as_ref().and_then(Tls::end_point);
        match self.session.poll(end_point, sink)? {
            Some(event) => Ok(Some(event)),
            None => match self.failure.take() {
                Some(error) => {
                    self.tls_closed = true;
                    Err(error)
                }
                None if self.tls_closed => Err(closed()),
                None => Ok(None),
            },
        }
    }

    // ---- requests: each appends to the output and expects one Ready

    /// The answer to [`Event::PasswordRequested`].
    pub fn password(&mut self, password: &[u8]) -> Result<()> {
        self.session.password(password)
    }

    /// Query: one or many statements. An error means the text cannot be sent (a NUL byte, too long); nothing was queued.
    pub fn query(&mut self, sql: &str) -> Result<()> {
        self.session.query(sql)
    }

    /// Parse, Bind, Describe, Execute, Sync. An error means nothing was queued (NUL in the text, over 65,535
    /// parameters, too long).
    pub fn extended(&mut self, query: &Extended<'_>) -> Result<()> {
        self.session.extended(query)
    }

    /// Lets requests of [`Wire::known`] go out under names of our own. Before the first of them.
    pub fn prepare_by_itself(&mut self, policy: Policy) {
        self.session.statements = Statements::new(policy);
    }

    /// As [`Wire::prepare_by_itself`], remembering so many texts (at least one), named ones included, instead of 128.
    pub fn prepare_at_most(&mut self, policy: Policy, most: usize) {
        self.session.statements = Statements::of_at_most(policy, most);
    }

    /// As [`Wire::extended`] or [`Wire::query`], with a text that is known to `texts`: it goes out under a name when that
    /// changes nothing but its speed. [`Event::Repeat`] asks for it to be sent again without one. Its time is noted by
    /// [`Wire::finished`]. `now`: the time since any fixed point.
    pub fn known(&mut self, query: &Known<'_>, texts: &Texts, now: Duration) -> Result<()> {
        self.session.known(query, texts, now)
    }

    /// To be called after each [`Event::Ready`], with the time of the wake-up.
    pub fn finished(&mut self, now: Duration, texts: &mut Texts) {
        self.session.finished(now, texts);
    }

    /// Close of a prepared statement or portal, and Sync.
    pub fn close(&mut self, target: Target, name: &str) -> Result<()> {
        self.session.close(target, name)
    }

    /// Terminate. Nothing may be requested after it.
    pub fn terminate(&mut self) {
        self.session.terminate();
    }

    // ---- raw: another protocol machine speaks, from one Ready to another

    /// Hands the connection over: from here on [`Wire::take_raw`] and [`Wire::write_raw`] stand for events and requests. An
    /// error means that something is in flight, or the session has ended.
    pub fn begin_raw(&self) -> Result<()> {
        self.session.begin_raw()
    }

    /// What came from the server and was not taken yet, decrypted. Empty: more bytes are needed. An `Err` ends the
    /// session.
    pub fn take_raw(&mut self) -> Result<&[u8]> {
        if self.session.received.unread().is_empty() {
            match self.failure.take() {
                Some(error) => {
                    self.tls_closed = true;
                    return Err(error);
                }
                None if self.tls_closed => return Err(closed()),
                None => {}
            }
        }
        Ok(self.session.received.take())
    }

    /// Appends to the output.
    pub fn write_raw(&mut self, bytes: &[u8]) -> Result<()> {
        self.session.write_raw(bytes)
    }

    /// Takes the connection back after a Ready of `status`. `unread`: what came after it.
    pub fn end_raw(&mut self, unread: &[u8], status: TransactionStatus) {
        self.session.end_raw(unread, status);
    }

    // ---- state

    /// Requests that have not seen their Ready.
    pub fn in_flight(&self) -> usize {
        self.session.in_flight()
    }

    /// The status of the last Ready.
    pub fn transaction_status(&self) -> TransactionStatus {
        self.session.status()
    }

    /// BackendKeyData: process id and secret key; `None` before it came (a pooler may send none).
    pub fn backend_key(&self) -> Option<(i32, i32)> {
        self.session.key()
    }

    /// The latest value of a run-time parameter that the server reported.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.session.parameter(name)
    }

    /// Whether the session runs inside TLS.
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Whether bytes came that no event has used: part of a message, or of a TLS record.
    pub fn has_unread(&self) -> bool {
        self.tls_closed || !self.session.received.unread().is_empty() || self.tls.as_ref().is_some_and(Tls::has_unread)
    }

    /// Moves all that can be decrypted to the session.
    fn decrypt(&mut self) {
        let Some(tls) = &mut self.tls else { return };
        while !self.tls_closed && self.failure.is_none() {
            match tls.read(self.session.received.spare()) {
                Ok(Plain::Bytes(n)) => self.session.received.filled(n),
                Ok(Plain::Blocked) => break,
                Ok(Plain::Closed) => self.tls_closed = true,
                Err(error) => self.failure = Some(error),
            }
        }
    }
}
