//! TCP and unix sockets on tokio, and the addresses of a host.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use super::connect::{Address, Socket};
use super::failure::{closed, dns_error, io_error};
use crate::Result;
use crate::config::Host;

/// A connected socket. Dropped, it closes.
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Every address of `host`, in the resolver's order.
pub(super) async fn addresses(host: &Host) -> Result<Vec<Address>> {
    if host.is_unix() {
        return Ok(vec![Address::Unix(host.to_string().into())]);
    }
    let tcp = |addr| Address::Tcp {
        addr,
        host: host.host.clone(),
    };
    if let Ok(ip) = host.host.parse::<IpAddr>() {
        return Ok(vec![tcp(SocketAddr::new(ip, host.port))]);
    }
    let mut found: Vec<Address> = Vec::new();
    let resolved = tokio::net::lookup_host((host.host.as_str(), host.port)).await;
    for addr in resolved.map_err(|error| dns_error(&host.host, error))? {
        if !found.contains(&tcp(addr)) {
            found.push(tcp(addr));
        }
    }
    if found.is_empty() {
        return Err(dns_error(&host.host, io::Error::other("no address")));
    }
    Ok(found)
}

impl Stream {
    /// TCP_NODELAY is set, and keepalive with this idle time before the first probe.
    pub(super) async fn connect(address: &Address, keepalive: Option<Duration>) -> Result<Stream> {
        let failed = |error| io_error("connect", Some(address), error);
        match address {
            Address::Tcp { addr, .. } => {
                let stream = TcpStream::connect(addr).await.map_err(failed)?;
                stream.set_nodelay(true).map_err(failed)?;
                if let Some(idle) = keepalive {
                    let keepalive = TcpKeepalive::new().with_time(idle.max(Duration::from_secs(1)));
                    SockRef::from(&stream).set_tcp_keepalive(&keepalive).map_err(failed)?;
                }
                Ok(Stream::Tcp(stream))
            }
            Address::Unix(path) => Ok(Stream::Unix(UnixStream::connect(path).await.map_err(failed)?)),
        }
    }

    /// Reads at least one byte; the end of the stream is an error.
    pub(super) async fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        match self.read_or_end(buffer).await? {
            0 => Err(closed()),
            n => Ok(n),
        }
    }

    /// Reads; 0 = the peer has closed.
    pub(super) async fn read_or_end(&mut self, buffer: &mut [u8]) -> Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.read(buffer).await,
            Stream::Unix(stream) => stream.read(buffer).await,
        }
        .map_err(|error| io_error("read", None, error))
    }

    /// Writes some of `bytes`. Never a vectored write: only plain ones carry MSG_NOSIGNAL, and a C program with the
    /// default SIGPIPE would die of the others.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.write(bytes).await,
            Stream::Unix(stream) => stream.write(bytes).await,
        }
        .map_err(|error| io_error("write", None, error))
    }

    /// Writes all of `bytes`.
    pub(super) async fn write_all(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let n = self.write(bytes).await?;
            bytes = bytes.get(n..).unwrap_or_default();
        }
        Ok(())
    }

    /// Off tokio, still non-blocking.
    pub(super) fn into_socket(self) -> Result<Socket> {
        Ok(match self {
            Stream::Tcp(stream) => Socket::Tcp(stream.into_std()?),
            Stream::Unix(stream) => Socket::Unix(stream.into_std()?),
        })
    }

    /// Onto this tokio.
    pub(super) fn from_socket(socket: Socket) -> Result<Stream> {
        Ok(match socket {
            Socket::Tcp(stream) => Stream::Tcp(TcpStream::from_std(stream)?),
            Socket::Unix(stream) => Stream::Unix(UnixStream::from_std(stream)?),
        })
    }
}
