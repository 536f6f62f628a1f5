//! Settings under libpq's keys → [`Config`], with what is wrong said in the caller's words.

use std::path::PathBuf;
use std::time::Duration;

use super::{Config, Host, Places, SslMode, TargetSessionAttrs, TlsOptions, Trust};
use crate::error::Kind;
use crate::{Error, Result};

/// Reads one environment variable; `None` = not set.
pub(super) type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What was said so far, each setting with the last word.
#[derive(Default)]
pub(super) struct Settings {
    host: Option<String>,
    port: Option<(String, String)>,
    database: Option<String>,
    user: Option<String>,
    password: Option<String>,
    ssl_mode: Option<SslMode>,
    tls: TlsOptions,
    target_session_attrs: TargetSessionAttrs,
    params: Vec<(String, String)>,
    channel_binding: Option<bool>,
    /// Outer `None`: nothing was said.
    connect_timeout: Option<Option<Duration>>,
    keepalives: Option<bool>,
    keepalives_idle: Option<Duration>,
}

/// What holds when nothing was said.
pub(super) struct Defaults {
    pub(super) port: u16,
    /// `None` = the user's name.
    pub(super) database: Option<String>,
    pub(super) user: Option<String>,
    pub(super) connect_timeout: Option<Duration>,
    pub(super) keepalive: Option<Duration>,
}

/// "`name`=`value` …: allowed is …"
pub(super) fn bad(name: &str, value: &str, allowed: &str) -> Error {
    let shown: String = value.chars().take(80).collect();
    Error::new(
        Kind::Config,
        format!("{name}={shown:?} is not valid: it must be {allowed}"),
    )
}

impl Settings {
    /// A host was named at a nearer place: a port from the environment was not meant for it.
    pub(super) fn forget_port(&mut self) {
        self.port = None;
    }

    /// Takes one setting. `name` is how the caller knows `key` (`PG_PORT`).
    pub(super) fn set(&mut self, key: &str, value: &str, name: &str) -> Result<()> {
        let text = || value.to_owned();
        let file = || Some(PathBuf::from(value)).filter(|_| !value.is_empty());
        match key {
            "host" => self.host = Some(text()),
            "port" => self.port = Some((name.to_owned(), text())),
            "dbname" | "database" => self.database = Some(text()),
            "user" => self.user = Some(text()),
            "password" => self.password = Some(text()),
            "sslmode" => {
                self.ssl_mode = Some(
                    SslMode::parse(value)
                        .ok_or_else(|| bad(name, value, &one_of(&SslMode::NAMES.map(|(name, _)| name))))?,
                );
            }
            "sslrootcert" => self.tls.ca_file = file(),
            "sslcert" => self.tls.cert_file = file(),
            "sslkey" => self.tls.key_file = file(),
            "sslpassword" => self.tls.passphrase = Some(text()),
            "sslnegotiation" => self.tls.direct = choice(name, value, &["postgres", "direct"])? == 1,
            "channel_binding" => {
                self.channel_binding = Some(choice(name, value, &["disable", "prefer"])? == 1);
            }
            "target_session_attrs" => {
                self.target_session_attrs = TargetSessionAttrs::parse(value)
                    .ok_or_else(|| bad(name, value, &one_of(&TargetSessionAttrs::NAMES.map(|(name, _)| name))))?;
            }
            "application_name" | "options" | "client_encoding" | "replication" => self.param(key, value),
            "fallback_application_name" => {
                if !self.params.iter().any(|(name, _)| name == "application_name") {
                    self.param("application_name", value);
                }
            }
            // libpq: seconds, 0 or negative = no limit.
            "connect_timeout" => {
                let seconds: i32 = parse(name, value, "a number of seconds")?;
                self.connect_timeout = Some(u64::try_from(seconds).ok().filter(|n| *n > 0).map(Duration::from_secs));
            }
            "keepalives" => self.keepalives = Some(choice(name, value, &["0", "1"])? == 1),
            "keepalives_idle" => {
                let seconds: u32 = parse(name, value, "a number of seconds")?;
                self.keepalives_idle = (seconds > 0).then(|| Duration::from_secs(seconds.into()));
            }
            // Accepted where the value asks for nothing.
            "gssencmode" => drop(choice(name, value, &["disable", "prefer"])?),
            "load_balance_hosts" => drop(choice(name, value, &["disable"])?),
            _ => {
                return Err(Error::new(
                    Kind::Config,
                    format!(
                        "unknown connection setting \"{}\": known are host, port, dbname, user, password, sslmode, \
                         sslrootcert, sslcert, sslkey, sslpassword, sslnegotiation, channel_binding, \
                         target_session_attrs, application_name, options, client_encoding, connect_timeout, \
                         keepalives, keepalives_idle",
                        key.chars().take(80).collect::<String>()
                    ),
                ));
            }
        }
        Ok(())
    }

    fn param(&mut self, key: &str, value: &str) {
        self.params.retain(|(name, _)| name != key);
        if !value.is_empty() {
            self.params.push((key.to_owned(), value.to_owned()));
        }
    }

    /// The rest by `defaults`; trust is that of getPool, runBackup and C.
    pub(super) fn finish(self, defaults: Defaults, lookup: Lookup<'_>) -> Result<Config> {
        let user = self.user.or(defaults.user).ok_or_else(|| {
            Error::new(
                Kind::Config,
                "no user name: give user=… or set PG_USER (or PGUSER)".to_owned(),
            )
        })?;
        let database = self.database.or(defaults.database).unwrap_or_else(|| user.clone());
        let hosts = self.host.as_deref().unwrap_or("localhost");
        let (port_name, ports) = self.port.as_ref().map_or(("port", ""), |(name, text)| (name, text));
        let ssl_mode = self.ssl_mode.unwrap_or_default();
        let mut tls = self.tls;
        tls.trust = Trust::Files(Places::of_process(lookup));
        if tls.ca_file.as_deref().is_some_and(|file| file.as_os_str() == "system") && ssl_mode != SslMode::VerifyFull {
            return Err(bad(
                "sslmode",
                ssl_mode.name(),
                "verify-full with sslrootcert=system, because anybody can get a certificate from a public CA",
            ));
        }
        Ok(Config {
            hosts: host_list(hosts, port_name, ports, defaults.port)?,
            database,
            user,
            password: self.password,
            ssl_mode,
            tls,
            target_session_attrs: self.target_session_attrs,
            params: self.params,
            channel_binding: self.channel_binding.unwrap_or(true),
            scram_max_iterations: super::SCRAM_MAX_ITERATIONS,
            connect_timeout: self.connect_timeout.unwrap_or(defaults.connect_timeout),
            keepalive: match self.keepalives {
                Some(false) => None,
                _ => self.keepalives_idle.or(defaults.keepalive),
            },
        })
    }
}

/// `a,b` with ports `1,2` or one for all, or `a:1,b:2`; IPv6 as `[::1]:1`, or bare without a port.
fn host_list(hosts: &str, port_name: &str, ports: &str, default: u16) -> Result<Vec<Host>> {
    let port = |text: &str| -> Result<u16> {
        match text.trim() {
            "" => Ok(default),
            text => match text.parse::<u16>() {
                Ok(port) if port > 0 => Ok(port),
                _ => Err(bad(port_name, text, "a port from 1 to 65535")),
            },
        }
    };
    let hosts: Vec<&str> = hosts.split(',').map(str::trim).collect();
    let ports: Vec<u16> = ports.split(',').map(port).collect::<Result<_>>()?;
    if ports.len() != 1 && ports.len() != hosts.len() {
        return Err(Error::new(
            Kind::Config,
            format!(
                "{} hosts but {} ports ({port_name}): give one port for all or one for each",
                hosts.len(),
                ports.len()
            ),
        ));
    }
    let mut out = Vec::with_capacity(hosts.len());
    for (i, text) in hosts.iter().enumerate() {
        let (host, own_port) = split_port(text)?;
        let listed = *ports.get(i).or(ports.first()).unwrap_or(&default);
        out.push(Host {
            host: if host.is_empty() { "localhost" } else { host }.to_owned(),
            port: own_port.map_or(Ok(listed), port)?,
        });
    }
    Ok(out)
}

fn split_port(text: &str) -> Result<(&str, Option<&str>)> {
    if text.starts_with('/') {
        return Ok(match text.rsplit_once(':') {
            Some((folder, port)) if port.bytes().all(|b| b.is_ascii_digit()) => (folder, Some(port)),
            _ => (text, None),
        });
    }
    if let Some(rest) = text.strip_prefix('[') {
        return match rest.split_once(']') {
            Some((host, "")) => Ok((host, None)),
            Some((host, port)) if port.starts_with(':') => Ok((host, port.get(1..))),
            _ => Err(bad("host", text, "[address] or [address]:port")),
        };
    }
    match text.split_once(':') {
        Some((host, port)) if !port.contains(':') => Ok((host, Some(port))),
        _ => Ok((text, None)),
    }
}

fn one_of(names: &[&str]) -> String {
    format!("one of {}", names.join(", "))
}

/// The index of `value` in `allowed`.
fn choice(name: &str, value: &str, allowed: &[&str]) -> Result<usize> {
    allowed
        .iter()
        .position(|a| *a == value)
        .ok_or_else(|| bad(name, value, &one_of(allowed)))
}

fn parse<T: std::str::FromStr>(name: &str, value: &str, what: &str) -> Result<T> {
    value.trim().parse().map_err(|_| bad(name, value, what))
}
