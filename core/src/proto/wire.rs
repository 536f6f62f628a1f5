//! A session and the TLS it may run in, seen from the socket.

use super::{Event, Extended, RowSink, Startup, Tls, TransactionStatus};
use crate::Result;

/// One connection's whole protocol state. Send it between threads freely; it holds no socket.
pub struct Wire {}

impl Wire {
    /// A session whose startup message is ready in [`Wire::output`]. `tls` has finished its handshake.
    pub fn new(_startup: &Startup, _tls: Option<Tls>) -> Result<Wire> {
        todo!()
    }

    // ---- bytes

    /// Where the driver reads into from the socket: never empty, at least 16 KiB when the buffer is.
    pub fn spare(&mut self) -> &mut [u8] {
        todo!()
    }

    /// `n` bytes were read into [`Wire::spare`].
    pub fn filled(&mut self, _n: usize) -> Result<()> {
        todo!()
    }

    /// Bytes for the socket; empty when there is nothing to send.
    pub fn output(&mut self) -> &[u8] {
        todo!()
    }

    /// `n` bytes of [`Wire::output`] were written.
    pub fn sent(&mut self, _n: usize) {
        todo!()
    }

    /// The next event, or `None` when more bytes are needed. Rows go to `sink` on the way. An `Err` ends the session.
    pub fn poll_event<S: RowSink + ?Sized>(&mut self, _sink: &mut S) -> Result<Option<Event>> {
        todo!()
    }

    // ---- requests: each appends to the output and expects one Ready

    /// The answer to [`Event::PasswordRequested`].
    pub fn password(&mut self, _password: &[u8]) -> Result<()> {
        todo!()
    }

    /// Query: one or many statements. An error means the text cannot be sent (a NUL byte, too long); nothing was queued.
    pub fn query(&mut self, _sql: &str) -> Result<()> {
        todo!()
    }

    /// Parse, Bind, Describe, Execute, Sync. An error means nothing was queued (NUL in the text, over 65,535
    /// parameters, too long).
    pub fn extended(&mut self, _query: &Extended<'_>) -> Result<()> {
        todo!()
    }

    /// Close of a prepared statement or portal, and Sync.
    pub fn close(&mut self, _target: super::Target, _name: &str) -> Result<()> {
        todo!()
    }

    /// Terminate. Nothing may be requested after it.
    pub fn terminate(&mut self) {
        todo!()
    }

    // ---- state

    /// Requests that have not seen their Ready.
    pub fn in_flight(&self) -> usize {
        todo!()
    }

    /// The status of the last Ready.
    pub fn transaction_status(&self) -> TransactionStatus {
        todo!()
    }

    /// BackendKeyData: process id and secret key; `None` before it came (a pooler may send none).
    pub fn backend_key(&self) -> Option<(i32, i32)> {
        todo!()
    }

    /// The latest value of a run-time parameter that the server reported.
    pub fn parameter(&self, _name: &str) -> Option<&str> {
        todo!()
    }

    /// Whether the session runs inside TLS.
    pub fn is_tls(&self) -> bool {
        todo!()
    }
}
