//! SSLRequest and the TLS handshake (protocol chapter 55.2.10; direct TLS since PostgreSQL 17).

use bytes::BytesMut;

use super::failure::closed;
use super::stream::Stream;
use super::tls_failure::{Service, explain};
use crate::config::tls::{self, Context};
use crate::config::{SslMode, TlsOptions};
use crate::error::Kind;
use crate::proto::{self, Tls};
use crate::{Error, Result};

/// Asks for TLS and does the handshake. `Ok(None)`: the server has none and it is not `required`.
pub(super) async fn negotiate(
    stream: &mut Stream,
    options: &TlsOptions,
    mode: SslMode,
    required: bool,
    host: &str,
) -> Result<Option<Tls>> {
    let context = tls::context(options, mode)?;
    if !options.direct && !request(stream, required).await? {
        return Ok(None);
    }
    let tls = handshake(stream, &context, options, host).await;
    if tls.is_err() {
        // The file may have been replaced since it was loaded: the next connection reads it again.
        tls::forget(options);
    }
    tls.map(Some)
}

/// SSLRequest; whether the server answered `S`.
async fn request(stream: &mut Stream, required: bool) -> Result<bool> {
    stream.write_all(&proto::ssl_request()).await?;
    let mut answer = [0; 64];
    let n = stream.read(&mut answer).await?;
    match answer.first() {
        // Anything behind the S came in plain text and may come from a third party: CVE-2021-23222.
        Some(b'S') if n == 1 => Ok(true),
        Some(b'S') => Err(Error::protocol(
            "the server sent unencrypted data after agreeing to TLS: somebody may be in between",
        )),
        Some(b'N') if required => Err(Error::new(Kind::Tls, "The server does not support SSL connections")),
        Some(b'N') if n == 1 => Ok(false),
        Some(b'N') => Err(Error::protocol("the server sent data before it was asked to")),
        // libpq 17 does not show this error's text either: nothing vouches for it.
        Some(b'E') => Err(Error::new(
            Kind::Tls,
            "the server answered an error to the request for TLS; it may be too old, or no PostgreSQL server",
        )),
        _ => Err(Error::protocol(
            "the answer to the request for TLS is not PostgreSQL's; is this the right port?",
        )),
    }
}

async fn handshake(stream: &mut Stream, context: &Context, options: &TlsOptions, host: &str) -> Result<Tls> {
    let mut tls = Tls::new(context.ssl(host)?)?;
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let step = tls.handshake();
        // Also after a failure: the alert tells the server why.
        let sent = flush(stream, &mut tls).await;
        match step {
            Ok(true) => {
                sent?;
                break;
            }
            Ok(false) => {
                sent?;
                let n = stream.read_or_end(&mut buffer).await?;
                if n == 0 {
                    return Err(
                        Error::new(Kind::Tls, "the server closed the connection during the TLS handshake")
                            .with_name("ECONNRESET")
                            .with_source(closed()),
                    );
                }
                tls.feed(buffer.get(..n).unwrap_or_default());
            }
            Err(error) => {
                let host = options.server_name.as_deref().unwrap_or(host);
                return Err(explain(error, tls.ssl(), context.source(), host, Service::Postgres));
            }
        }
    }
    if options.direct && tls.ssl().selected_alpn_protocol() != Some(b"postgresql") {
        return Err(Error::new(
            Kind::Tls,
            "the server took direct TLS but not the protocol \"postgresql\" (ALPN): direct needs PostgreSQL 17 or newer",
        ));
    }
    Ok(tls)
}

/// Encrypts and writes all of `plain`, for a connection without a session.
pub(super) async fn send(stream: &mut Stream, tls: &mut Tls, plain: &[u8]) -> Result<()> {
    let mut plain = BytesMut::from(plain);
    while !plain.is_empty() {
        tls.write(&mut plain)?;
        flush(stream, tls).await?;
    }
    Ok(())
}

async fn flush(stream: &mut Stream, tls: &mut Tls) -> Result<()> {
    while !tls.output().is_empty() {
        let n = stream.write(tls.output()).await?;
        tls.sent(n);
    }
    Ok(())
}
