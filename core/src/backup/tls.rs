//! TLS for tokio-postgres, and why a server's certificate was refused.

use std::sync::{Arc, Mutex, PoisonError};

use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode};
use postgres_openssl::MakeTlsConnector;

use crate::Result;
use crate::config::{Config, SslMode, tls, trust};
use crate::net::tls_failure::{Service, refusal};

/// For one handshake at a time.
pub(super) struct Tls {
    pub(super) connector: MakeTlsConnector,
    handshake: Arc<Mutex<Handshake>>,
}

#[derive(Default)]
struct Handshake {
    host: String,
    refusal: Option<String>,
}

impl Tls {
    pub(super) fn new(config: &Config) -> Result<Tls> {
        let handshake = Arc::new(Mutex::new(Handshake::default()));
        let mut builder = SslConnector::builder(SslMethod::tls_client()).map_err(trust::openssl)?;
        if config.ssl_mode != SslMode::Disable {
            let source = tls::configure(&mut builder, &config.tls, config.ssl_mode)?;
            let current = Arc::clone(&handshake);
            if config.tls.verifies(config.ssl_mode) {
                builder.set_verify_callback(SslVerifyMode::PEER, move |good, context| {
                    if !good && let Some((chain, leaf)) = context.chain().and_then(|chain| Some((chain, chain.get(0)?)))
                    {
                        change(&current, |handshake| {
                            let host = &handshake.host;
                            let why = refusal(context.error(), leaf, chain, &source, host, Service::Postgres);
                            handshake.refusal = Some(why);
                        });
                    }
                    good
                });
            }
        }
        if config.tls.direct {
            postgres_openssl::set_postgresql_alpn(&mut builder).map_err(trust::openssl)?;
        }
        let mut connector = MakeTlsConnector::new(builder.build());
        let verify_name = config.ssl_mode == SslMode::VerifyFull;
        let server_name = config.tls.server_name.clone();
        let current = Arc::clone(&handshake);
        connector.set_callback(move |ssl, host| {
            change(&current, |handshake| {
                host.clone_into(&mut handshake.host);
                handshake.refusal = None;
            });
            ssl.set_verify_hostname(verify_name && server_name.is_none());
            if let Some(name) = &server_name {
                change(&current, |handshake| name.clone_into(&mut handshake.host));
                ssl.set_use_server_name_indication(false);
                ssl.set_hostname(name)?;
                if verify_name {
                    ssl.param_mut().set_host(name)?;
                }
            }
            Ok(())
        });
        Ok(Tls { connector, handshake })
    }

    /// Why the last handshake refused the server's certificate, if it did, and what to do.
    pub(super) fn refusal(&self) -> Option<String> {
        change(&self.handshake, |handshake| handshake.refusal.take())
    }
}

fn change<T>(handshake: &Mutex<Handshake>, change: impl FnOnce(&mut Handshake) -> T) -> T {
    change(&mut handshake.lock().unwrap_or_else(PoisonError::into_inner))
}
