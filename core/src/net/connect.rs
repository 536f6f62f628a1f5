//! From a [`Config`] to an established session: DNS with every address, TCP, TLS, startup, host list.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use crate::config::Config;
use crate::proto::{PasswordRequest, ServerError, Wire};
use crate::{Error, Result};

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

/// Connects. Must run on tokio (with I/O and time). Dropping the future closes what it had opened.
pub async fn connect(_config: Arc<Config>, _password: Option<PasswordProvider>) -> Result<Established> {
    Err(Error::new(crate::error::Kind::Config, "not built yet"))
}

/// Sends a CancelRequest to the same address with the same TLS as `config` asks, and resolves when the server has
/// closed that connection (only then can the cancel no longer hit a later statement).
pub async fn cancel(_config: Arc<Config>, _address: &Address, _key: (i32, i32)) -> Result<()> {
    Err(Error::new(crate::error::Kind::Config, "not built yet"))
}
