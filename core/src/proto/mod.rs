//! The PostgreSQL protocol 3.0 as a state machine: no sockets, no clock, no tokio.
//!
//! Bytes go in through [`Wire::spare`]/[`Wire::filled`] and out through [`Wire::output`]/[`Wire::sent`]; what the
//! bytes mean comes out of [`Wire::poll_event`]. DataRows never become events: they go to a [`RowSink`] as they are.

mod events;
mod name;
pub(crate) mod reader;
mod receive;
mod requests;
mod result;
mod server_error;
mod session;
mod startup;
mod tls;
mod tls_error;
mod wire;

pub use events::{Event, Extended, Known, NUMBER, Param, RowSink, SinkState, Target, TransactionStatus};
pub use server_error::ServerError;
pub use startup::{PasswordRequest, Startup};
pub use tls::Tls;
pub use wire::Wire;

/// The 16 bytes of a CancelRequest (protocol chapter 55.7: Int32 16, Int32 80877102, Int32 pid, Int32 key).
pub fn cancel_request(pid: i32, key: i32) -> [u8; 16] {
    let mut out = [0; 16];
    for (slot, word) in out.chunks_exact_mut(4).zip([16, 80_877_102, pid, key]) {
        slot.copy_from_slice(&i32::to_be_bytes(word));
    }
    out
}

/// The 8 bytes of an SSLRequest (Int32 8, Int32 80877103); the server answers one byte, `S` or `N`.
pub fn ssl_request() -> [u8; 8] {
    [0, 0, 0, 8, 4, 210, 22, 47]
}
