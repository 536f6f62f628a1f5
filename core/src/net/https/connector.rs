//! DNS, TCP and TLS for hyper.

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use openssl::ssl::{Ssl, SslContext, SslMethod, SslVerifyMode, SslVersion};
use openssl::x509::verify::X509CheckFlags;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_openssl::SslStream;

use crate::config::Host;
use crate::config::trust::{self, Source, openssl};
use crate::error::Kind;
use crate::net::Address;
use crate::net::stream::addresses;
use crate::net::tls_failure::{Service, explain};
use crate::net::{failure, io_error};
use crate::{Error, Result};

/// The TLS settings, loaded when first needed.
#[derive(Clone)]
pub(super) struct Tls {
    extra_roots: Option<Arc<[u8]>>,
    ca_bundle: Option<PathBuf>,
    loaded: Arc<Mutex<Option<(SslContext, Source)>>>,
}

impl Tls {
    pub(super) fn new(extra_roots: Option<Arc<[u8]>>, ca_bundle: Option<PathBuf>) -> Tls {
        Tls {
            extra_roots,
            ca_bundle,
            loaded: Arc::default(),
        }
    }

    fn context(&self) -> Result<(SslContext, Source)> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(loaded) = &*loaded {
            return Ok(loaded.clone());
        }
        let roots = trust::public_roots(self.extra_roots.as_deref(), self.ca_bundle.as_deref())?;
        let mut builder = SslContext::builder(SslMethod::tls_client()).map_err(openssl)?;
        builder
            .set_min_proto_version(Some(SslVersion::TLS1_2))
            .map_err(openssl)?;
        builder.set_verify(SslVerifyMode::PEER);
        builder.set_cert_store(trust::store(&roots)?);
        builder.set_alpn_protos(b"\x08http/1.1").map_err(openssl)?;
        Ok(loaded.insert((builder.build(), roots.source)).clone())
    }

    async fn handshake(&self, tcp: TcpStream, host: &str) -> Result<SslStream<TcpStream>> {
        let (context, source) = self.context()?;
        let mut ssl = Ssl::new(&context).map_err(openssl)?;
        ssl.param_mut().set_hostflags(X509CheckFlags::NO_PARTIAL_WILDCARDS);
        match host.parse() {
            Ok(address) => ssl.param_mut().set_ip(address).map_err(openssl)?,
            Err(_) => {
                ssl.set_hostname(host).map_err(openssl)?;
                ssl.param_mut().set_host(host).map_err(openssl)?;
            }
        }
        let mut stream = SslStream::new(ssl, tcp).map_err(openssl)?;
        match Pin::new(&mut stream).connect().await {
            Ok(()) => Ok(stream),
            Err(error) => Err(match error.into_io_error() {
                Ok(error) => io_error("read", None, error),
                Err(error) => explain(
                    Error::new(Kind::Tls, format!("TLS failed: {error}")).with_source(error),
                    stream.ssl(),
                    &source,
                    host,
                    Service::Https,
                ),
            }),
        }
    }
}

/// hyper's way to a new connection.
#[derive(Clone)]
pub(super) struct Connector {
    tls: Tls,
    timeout: Duration,
}

impl Connector {
    pub(super) fn new(tls: Tls, timeout: Duration) -> Connector {
        Connector { tls, timeout }
    }

    async fn connect(self, uri: http::Uri) -> Result<TokioIo<Stream>> {
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => {
                return Err(Error::new(
                    Kind::Config,
                    "an address must begin with https:// or http://",
                ));
            }
        };
        let host = Host {
            // An IPv6 address is in brackets.
            host: uri.host().unwrap_or("").trim_matches(['[', ']']).to_owned(),
            port: uri.port_u16().unwrap_or(if secure { 443 } else { 80 }),
        };
        let work = async {
            let tcp = tcp(&host, self.timeout).await?;
            Ok(TokioIo::new(match secure {
                true => Stream::Tls(self.tls.handshake(tcp, &host.host).await?),
                false => Stream::Plain(tcp),
            }))
        };
        match tokio::time::timeout(self.timeout, work).await {
            Ok(result) => result,
            Err(_) => Err(timed_out(&host, self.timeout)),
        }
    }
}

fn timed_out(host: &Host, limit: Duration) -> Error {
    let text = format!("connecting to {host} took longer than {} ms", limit.as_millis());
    Error::new(Kind::ConnectTimeout, text).with_name("ETIMEDOUT")
}

/// Every address gets its share of the time.
async fn tcp(host: &Host, limit: Duration) -> Result<TcpStream> {
    let found = addresses(host).await?;
    let share = limit / u32::try_from(found.len().max(1)).unwrap_or(u32::MAX);
    let mut failures = Vec::new();
    for address in found {
        let Address::Tcp { addr, .. } = &address else {
            return Err(Error::new(Kind::Config, "an address of the web has a host name"));
        };
        match tokio::time::timeout(share, TcpStream::connect(addr)).await {
            Ok(Ok(stream)) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Ok(Err(error)) => failures.push((host.to_string(), io_error("connect", Some(&address), error))),
            Err(_) => failures.push((host.to_string(), timed_out(host, share))),
        }
    }
    Err(failure::combine(failures))
}

impl tower_service::Service<http::Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<TokioIo<Stream>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: http::Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}

/// A connection. It says nothing of vectored writes, so there are none: they lack MSG_NOSIGNAL, and a C program with
/// the default SIGPIPE would die of one.
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(SslStream<TcpStream>),
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
