//! CancelRequest on a connection of its own (protocol chapter 55.2.8).

use std::sync::Arc;
use std::time::Duration;

use super::established::Address;
use super::stream::Stream;
use super::tls;
use crate::config::{Config, SslMode};
use crate::error::Kind;
use crate::proto;
use crate::{Error, Result};

/// How long a cancel may take when the configuration sets no limit on connecting.
const LIMIT: Duration = Duration::from_secs(10);

/// Sends a CancelRequest to the same address with the same TLS as `config` asks, and resolves when the server has
/// closed that connection (only then can the cancel no longer hit a later statement). Takes at most the connect
/// timeout, else ten seconds.
pub async fn cancel(config: Arc<Config>, address: &Address, key: (i32, i32)) -> Result<()> {
    let limit = config.connect_timeout.unwrap_or(LIMIT);
    match tokio::time::timeout(limit, run(&config, address, key)).await {
        Ok(done) => done,
        Err(_) => Err(Error::new(
            Kind::ConnectTimeout,
            format!("cancelling at {address} took longer than {} ms", limit.as_millis()),
        )),
    }
}

async fn run(config: &Config, address: &Address, (pid, key): (i32, i32)) -> Result<()> {
    let mut stream = Stream::connect(address, None).await?;
    let request = proto::cancel_request(pid, key);
    let mode = config.ssl_mode;
    let mut tls = match address {
        Address::Tcp { host, .. } if !matches!(mode, SslMode::Disable | SslMode::Allow) => {
            tls::negotiate(&mut stream, &config.tls, mode, mode.requires_tls(), host).await?
        }
        _ => None,
    };
    match &mut tls {
        None => stream.write_all(&request).await?,
        Some(tls) => tls::send(&mut stream, tls, &request).await?,
    }
    // The server says nothing: it closes. A reset is an end too.
    let mut buffer = [0; 512];
    while matches!(stream.read_or_end(&mut buffer).await, Ok(n) if n > 0) {}
    Ok(())
}
