//! From a [`Config`] to an established session: DNS with every address, TCP, TLS, startup, host list.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

pub use super::cancel::cancel;
use super::established::{Address, Established, PasswordProvider};
use super::failure::combine;
use super::stream::{Stream, addresses};
use super::{login, tls};
use crate::config::{self, Config, Host, SslMode, TargetSessionAttrs};
use crate::error::Kind;
use crate::{Error, Result, sqlstate};

/// Connects. Must run on tokio (with I/O and time). Dropping the future closes what it had opened.
///
/// Hosts and their addresses are tried in order. A host that is down, cannot take connections now (57P01-57P03, 53300,
/// 08006) or is not of the wanted kind leads to the next; a refused login ends the attempt, as in libpq. Each address
/// gets its share of what is left of the connect timeout, so that one that never answers leaves time for the others.
pub async fn connect(config: Arc<Config>, password: Option<PasswordProvider>) -> Result<Established> {
    let tcp = config.hosts.iter().any(|host| !host.is_unix());
    if tcp && config.ssl_mode != SslMode::Disable {
        // A missing root certificate is the caller's to mend, and known before any packet.
        config::tls::context(&config.tls, config.ssl_mode)?;
    }
    let attempt = Attempt {
        deadline: config.connect_timeout.map(|limit| Instant::now() + limit),
        config: &config,
        password: password.as_ref(),
        failures: Vec::new(),
        step: Mutex::new("resolving the host name"),
    };
    attempt.run().await
}

/// Logs in over a socket that the caller has connected, and encrypted if it wants that: one end of a stream of bytes
/// that go to a server and come from it. Must run on tokio.
pub async fn attach(
    socket: std::os::unix::net::UnixStream,
    config: Arc<Config>,
    password: Option<PasswordProvider>,
) -> Result<Established> {
    let mut stream = Stream::attached(socket)?;
    let mut notices = Vec::new();
    let login = login::login(&mut stream, &config, None, password.as_ref(), &mut notices);
    let deadline = config.connect_timeout.map(|limit| Instant::now() + limit);
    let Some(wire) = within(deadline, login).await else {
        return Err(Error::new(Kind::ConnectTimeout, "the login timed out"));
    };
    Ok(Established {
        wire: wire?,
        socket: stream.into_socket()?,
        address: Address::Unix("stream".into()),
        notices,
    })
}

/// One call of [`connect`].
struct Attempt<'a> {
    config: &'a Config,
    password: Option<&'a PasswordProvider>,
    deadline: Option<Instant>,
    /// What went wrong so far, and where.
    failures: Vec<(String, Error)>,
    /// What is being waited for.
    step: Mutex<&'static str>,
}

impl Attempt<'_> {
    async fn run(mut self) -> Result<Established> {
        let wanted = self.config.target_session_attrs;
        let mut rounds = vec![wanted];
        if wanted == TargetSessionAttrs::PreferStandby {
            rounds.push(TargetSessionAttrs::Any);
        }
        for (round, wanted) in rounds.iter().enumerate() {
            let later = rounds.len() - round - 1;
            for (i, host) in self.config.hosts.iter().enumerate() {
                let hosts_left = self.config.hosts.len() - i - 1 + later * self.config.hosts.len();
                if let Some(established) = self.host(host, *wanted, hosts_left).await? {
                    return Ok(established);
                }
            }
        }
        Err(combine(self.failures))
    }

    /// Tries every address of one host; `None`: go on with the next.
    async fn host(
        &mut self,
        host: &Host,
        wanted: TargetSessionAttrs,
        hosts_left: usize,
    ) -> Result<Option<Established>> {
        self.step("resolving the host name");
        let found = match within(self.share(hosts_left + 1), addresses(host)).await {
            Some(Ok(found)) => found,
            Some(Err(error)) => return self.failed(host.to_string(), error).map(|()| None),
            None => return self.timed_out(host.to_string()).map(|()| None),
        };
        let count = found.len();
        for (i, address) in found.into_iter().enumerate() {
            let at = match host.host.parse::<std::net::IpAddr>().is_ok() || host.is_unix() {
                true => host.to_string(),
                false => format!("{host} ({address})"),
            };
            match within(self.share(count - i + hosts_left), self.address(&address, wanted)).await {
                Some(Ok(established)) => return Ok(Some(established)),
                Some(Err(error)) => self.failed(at, error)?,
                None => self.timed_out(at)?,
            }
        }
        Ok(None)
    }

    /// One address, with the fall-backs of `allow` and `prefer`.
    async fn address(&self, address: &Address, wanted: TargetSessionAttrs) -> Result<Established> {
        use SslMode::{Allow, Disable, Prefer};
        let mode = match address {
            Address::Tcp { .. } => self.config.ssl_mode,
            // libpq: no TLS on unix sockets, whatever sslmode says.
            Address::Unix(_) => Disable,
        };
        let encrypt = !matches!(mode, Disable | Allow);
        match (mode, self.session(address, wanted, encrypt).await) {
            // 28000: pg_hba.conf has no line for this kind of connection.
            (Allow, Err(first)) if first.code() == Some(sqlstate::INVALID_AUTHORIZATION) => {
                match self.session(address, wanted, true).await {
                    Err(second) if second.server().is_none() => Err(first),
                    other => other,
                }
            }
            (Prefer, Err(first))
                if first.kind() == Kind::Tls || first.code() == Some(sqlstate::INVALID_AUTHORIZATION) =>
            {
                match self.session(address, wanted, false).await {
                    Err(second) if second.server().is_none() => Err(first),
                    other => other,
                }
            }
            (_, result) => result,
        }
    }

    async fn session(&self, address: &Address, wanted: TargetSessionAttrs, encrypt: bool) -> Result<Established> {
        let config = self.config;
        self.step("the TCP connection");
        let mut stream = Stream::connect(address, config.keepalive).await?;
        let tls = match address {
            Address::Tcp { host, .. } if encrypt => {
                self.step("TLS");
                // `allow` comes here after a refusal without TLS.
                let required = config.ssl_mode.requires_tls() || config.ssl_mode == SslMode::Allow;
                tls::negotiate(&mut stream, &config.tls, config.ssl_mode, required, host).await?
            }
            _ => None,
        };
        self.step("the login");
        let mut notices = Vec::new();
        let mut wire = login::login(&mut stream, config, tls, self.password, &mut notices).await?;
        self.step("the answer which kind of server it is");
        if let Err(why) = login::suits(&mut stream, &mut wire, wanted).await? {
            login::leave(&mut stream, &mut wire).await;
            return Err(Error::new(
                Kind::Io,
                format!("{why}, but target_session_attrs is {}", wanted.name()),
            )
            .with_name("ERR_TARGET_SESSION_ATTRS"));
        }
        Ok(Established {
            socket: stream.into_socket()?,
            wire,
            address: address.clone(),
            notices,
        })
    }

    /// Keeps a failure, or gives up where another host would not help.
    fn failed(&mut self, at: String, error: Error) -> Result<()> {
        let elsewhere = match error.kind() {
            Kind::Config | Kind::Auth | Kind::Usage | Kind::Cancelled => false,
            Kind::Server => error.code().is_some_and(sqlstate::is_elsewhere),
            _ => true,
        };
        match elsewhere {
            true => {
                self.failures.push((at, error));
                Ok(())
            }
            false => Err(error),
        }
    }

    fn timed_out(&mut self, at: String) -> Result<()> {
        let limit = self.config.connect_timeout.unwrap_or_default().as_millis();
        let step = *self.step.lock().unwrap_or_else(PoisonError::into_inner);
        let error = Error::new(
            Kind::ConnectTimeout,
            format!("connecting to {at} timed out while waiting for {step} (connect timeout {limit} ms)"),
        );
        self.failed(at, error)
    }

    fn step(&self, step: &'static str) {
        *self.step.lock().unwrap_or_else(PoisonError::into_inner) = step;
    }

    /// When one of `left` candidates must be done.
    fn share(&self, left: usize) -> Option<Instant> {
        let now = Instant::now();
        let rest = self.deadline?.saturating_duration_since(now);
        Some(now + rest / u32::try_from(left.max(1)).unwrap_or(u32::MAX))
    }
}

/// `None`: not done in time.
async fn within<F: Future>(deadline: Option<Instant>, future: F) -> Option<F::Output> {
    match deadline {
        None => Some(future.await),
        Some(deadline) => tokio::time::timeout_at(deadline, future).await.ok(),
    }
}
