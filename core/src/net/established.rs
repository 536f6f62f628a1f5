//! What connecting ends with, and what it asks on the way.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use crate::Result;
use crate::proto::{PasswordRequest, ServerError, Wire};

/// Asked only when the server wants a password. `Ok(None)` = there is none.
pub type PasswordProvider =
    Arc<dyn Fn(PasswordRequest) -> Pin<Box<dyn Future<Output = Result<Option<String>>> + Send>> + Send + Sync>;

/// Where a session runs, so that a cancel can reach the very same server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// TCP, with the host name that was resolved (for TLS verification).
    Tcp {
        /// The resolved address.
        addr: SocketAddr,
        /// The name it came from.
        host: String,
    },
    /// A unix socket's path.
    Unix(std::path::PathBuf),
}

/// An established session with its socket, past its first ReadyForQuery.
pub struct Established {
    /// Non-blocking; TCP_NODELAY and keepalive are set.
    pub socket: Socket,
    /// Protocol and TLS state; may hold unread bytes.
    pub wire: Wire,
    /// Where it is connected.
    pub address: Address,
    /// Notices that came during startup.
    pub notices: Vec<ServerError>,
}

/// A connected, non-blocking socket.
#[derive(Debug)]
pub enum Socket {
    /// TCP.
    Tcp(std::net::TcpStream),
    /// Unix domain.
    Unix(std::os::unix::net::UnixStream),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp { addr, .. } => addr.fmt(f),
            Address::Unix(path) => path.display().fmt(f),
        }
    }
}
