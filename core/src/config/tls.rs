//! The TLS settings of one connection. They are loaded at first need and kept; a failed handshake makes the next connection
//! load them anew ([`forget`]), so that a rotated file needs no restart.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use openssl::pkey::PKey;
use openssl::ssl::{Ssl, SslContext, SslContextBuilder, SslMethod, SslVerifyMode, SslVersion};
use openssl::x509::verify::X509CheckFlags;

use super::trust::{Source, certificates, openssl, read, roots, store};
use super::{SslMode, TlsOptions};
use crate::error::Kind;
use crate::{Error, Result};

/// Contexts kept at most; a process uses one or two.
const KEPT: usize = 8;

/// Loaded TLS material: make one [`Ssl`] of it for each connection.
#[derive(Clone)]
pub struct Context {
    context: SslContext,
    mode: SslMode,
    verify: bool,
    server_name: Option<String>,
    direct: bool,
    source: Source,
}

type Key = (TlsOptions, SslMode);

static LOADED: Mutex<Vec<(Key, Context)>> = Mutex::new(Vec::new());

/// The context for `tls` under `mode`, loaded at first need and kept.
pub fn context(tls: &TlsOptions, mode: SslMode) -> Result<Context> {
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, context)) = loaded.iter().find(|((t, m), _)| *m == mode && t == tls) {
        return Ok(context.clone());
    }
    let context = Context::load(tls, mode)?;
    if loaded.len() >= KEPT {
        loaded.remove(0);
    }
    loaded.push(((tls.clone(), mode), context.clone()));
    Ok(context)
}

/// The next [`context`] for `tls` reads its files again.
pub fn forget(tls: &TlsOptions) {
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    loaded.retain(|((t, _), _)| t != tls);
}

impl Context {
    fn load(tls: &TlsOptions, mode: SslMode) -> Result<Context> {
        let mut builder = SslContext::builder(SslMethod::tls_client()).map_err(openssl)?;
        let source = configure(&mut builder, tls, mode)?;
        Ok(Context {
            context: builder.build(),
            mode,
            verify: tls.verifies(mode),
            server_name: tls.server_name.clone(),
            direct: tls.direct,
            source,
        })
    }

    /// Where its roots are from.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// The OpenSSL context itself, for the cold path's connector.
    pub fn ssl_context(&self) -> &SslContext {
        &self.context
    }

    /// A client session for `host` (a name or an address).
    pub fn ssl(&self, host: &str) -> Result<Ssl> {
        let name = self.server_name.as_deref().unwrap_or(host);
        let name = name.trim_end_matches('.');
        let address: Option<IpAddr> = name.parse().ok();
        let mut ssl = Ssl::new(&self.context).map_err(openssl)?;
        // RFC 6066, section 3: no addresses in the server name.
        if address.is_none() && !name.is_empty() {
            ssl.set_hostname(name).map_err(openssl)?;
        }
        if self.direct {
            ssl.set_alpn_protos(b"\x0apostgresql").map_err(openssl)?;
        }
        if self.verify && self.mode == SslMode::VerifyFull {
            let param = ssl.param_mut();
            param.set_hostflags(X509CheckFlags::NO_PARTIAL_WILDCARDS);
            match address {
                Some(address) => param.set_ip(address),
                None => param.set_host(name),
            }
            .map_err(openssl)?;
        }
        Ok(ssl)
    }
}

/// Versions, roots, verification and client certificate for `tls` under `mode`, everything but the server's name; returns
/// where the roots are from.
pub(crate) fn configure(builder: &mut SslContextBuilder, tls: &TlsOptions, mode: SslMode) -> Result<Source> {
    builder
        .set_min_proto_version(Some(SslVersion::TLS1_2))
        .map_err(openssl)?;
    let mut source = Source::None;
    if tls.verifies(mode) {
        let roots = roots(tls)?;
        builder.set_cert_store(store(&roots)?);
        builder.set_verify(SslVerifyMode::PEER);
        source = roots.source;
    } else {
        builder.set_verify(SslVerifyMode::NONE);
    }
    client_certificate(builder, tls)?;
    Ok(source)
}

fn client_certificate(builder: &mut SslContextBuilder, tls: &TlsOptions) -> Result<()> {
    let cert = match (&tls.cert, &tls.cert_file) {
        (Some(pem), _) => Some(pem.clone()),
        (None, Some(file)) => Some(read(file, "the client certificate", "sslcert")?),
        (None, None) => None,
    };
    let key = match (&tls.key, &tls.key_file) {
        (Some(pem), _) => Some(pem.clone()),
        (None, Some(file)) => Some(read(file, "the client key", "sslkey")?),
        (None, None) => None,
    };
    let (cert, key) = match (cert, key) {
        (None, None) => return Ok(()),
        (Some(cert), Some(key)) => (cert, key),
        (Some(_), None) => {
            return Err(Error::new(
                Kind::Config,
                "a client certificate needs its key: give sslkey too",
            ));
        }
        (None, Some(_)) => {
            return Err(Error::new(
                Kind::Config,
                "a client key needs its certificate: give sslcert too",
            ));
        }
    };
    let mut chain = certificates(&cert, "the client certificate")?.into_iter();
    if let Some(leaf) = chain.next() {
        builder.set_certificate(&leaf).map_err(openssl)?;
    }
    for intermediate in chain {
        builder.add_extra_chain_cert(intermediate).map_err(openssl)?;
    }
    // With no passphrase the callback answers an empty one: OpenSSL must never prompt on a terminal.
    let passphrase = tls.passphrase.as_deref().unwrap_or("").as_bytes();
    let key = PKey::private_key_from_pem_passphrase(&key, passphrase).map_err(|error| {
        Error::new(
            Kind::Config,
            "the client key cannot be read: it is not a PEM key, or its passphrase is missing or wrong",
        )
        .with_source(error)
    })?;
    builder.set_private_key(&key).map_err(openssl)?;
    builder.check_private_key().map_err(|error| {
        Error::new(Kind::Config, "the client key does not belong to the client certificate").with_source(error)
    })
}
