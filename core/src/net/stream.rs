//! TCP and unix sockets on tokio, and the addresses of a host.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{TcpStream, UnixStream};

use super::established::{Address, Socket};
use super::failure::{closed, dns_error, io_error};
use crate::config::Host;
use crate::proto::Wire;
use crate::{Error, Result};

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

    /// A socket that is connected already.
    pub(super) fn attached(socket: std::os::unix::net::UnixStream) -> Result<Stream> {
        let attached = socket.set_nonblocking(true).and_then(|()| UnixStream::from_std(socket));
        Ok(Stream::Unix(
            attached.map_err(|error| io_error("connect", None, error))?,
        ))
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

    /// Writes what `wire` has for the server and reads what has come for it; resolves when something was read. Reads
    /// while it writes, so that two sides that both have much to say never wait for each other. May be dropped and
    /// called again.
    pub(super) async fn exchange(&mut self, wire: &mut Wire) -> Result<()> {
        let mut write_failed: Option<Error> = None;
        loop {
            while write_failed.is_none() && !wire.output().is_empty() {
                match self.try_write(wire.output()) {
                    Ok(n) => wire.sent(n),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    // What the server said before it closed is still to be read.
                    Err(error) => write_failed = Some(io_error("write", None, error)),
                }
            }
            let writes = write_failed.is_none() && !wire.output().is_empty();
            self.ready(writes)
                .await
                .map_err(|error| io_error("read", None, error))?;
            match self.try_read(wire.spare()) {
                Ok(0) => return Err(write_failed.unwrap_or_else(closed)),
                Ok(n) => return wire.filled(n),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(write_failed.unwrap_or_else(|| io_error("read", None, error))),
            }
        }
    }

    async fn ready(&self, writes: bool) -> io::Result<()> {
        let interest = match writes {
            true => Interest::READABLE | Interest::WRITABLE,
            false => Interest::READABLE,
        };
        match self {
            Stream::Tcp(stream) => stream.ready(interest).await,
            Stream::Unix(stream) => stream.ready(interest).await,
        }
        .map(drop)
    }

    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.try_read(buffer),
            Stream::Unix(stream) => stream.try_read(buffer),
        }
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.try_write(bytes),
            Stream::Unix(stream) => stream.try_write(bytes),
        }
    }

    /// Whether the socket shows neither end of file nor an error nor unread bytes.
    pub(super) fn is_quiet(&self) -> bool {
        let mut byte = [0];
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        let seen = match self {
            Stream::Tcp(stream) => recv(stream, &mut byte, flags),
            Stream::Unix(stream) => recv(stream, &mut byte, flags),
        };
        matches!(seen, Err(error) if error == Errno::AGAIN || error == Errno::INTR)
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
