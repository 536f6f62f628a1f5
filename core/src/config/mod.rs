//! URL, key-value conninfo, environment and options → [`Config`].
//!
//! The environment is read through a function, at first use, never at load: Node workers have their own copy. Files
//! (certificates) are only named here; they are read when a connection is made: see [`trust`].

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

mod conninfo;
mod environment;
mod pool_settings;
mod settings;
pub mod tls;
pub mod trust;

pub use pool_settings::{PoolSettings, PrepareStatements};
pub use trust::{Places, Trust};

/// The largest SCRAM iteration count that is accepted unless told otherwise. PostgreSQL's default is 4096.
pub const SCRAM_MAX_ITERATIONS: u32 = 1_000_000;

/// One host of a host list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// A DNS name, an address, or (beginning with `/`) the folder of a unix socket.
    pub host: String,
    /// TCP port, or the number in the unix socket's name.
    pub port: u16,
}

/// libpq's sslmode, and node-postgres's `no-verify`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SslMode {
    /// Plain text only.
    Disable,
    /// Plain text, TLS if the server insists.
    Allow,
    /// TLS if the server has it; not verified.
    Prefer,
    /// TLS; never verified.
    NoVerify,
    /// TLS; verified only if a root certificate file is named (libpq's rule).
    Require,
    /// TLS, the certificate verified against the trusted roots.
    VerifyCa,
    /// TLS, the certificate and its host name verified.
    #[default]
    VerifyFull,
}

/// Which servers of a host list will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TargetSessionAttrs {
    /// Any.
    #[default]
    Any,
    /// One that accepts writes.
    ReadWrite,
    /// One that does not.
    ReadOnly,
    /// A primary.
    Primary,
    /// A standby.
    Standby,
    /// A standby if there is one, else any.
    PreferStandby,
}

/// TLS material, each in PEM or as a file's name; the files are read when a connection is made.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct TlsOptions {
    /// Trusted roots; `None` = [`TlsOptions::ca_file`], else the trust order of the caller's kind.
    pub ca: Option<Vec<u8>>,
    /// An explicitly named file of roots (PG_SSLROOTCERT): it must be there. `system` means the system's store.
    pub ca_file: Option<PathBuf>,
    /// Where roots come from when none are named.
    pub trust: Trust,
    /// Client certificate chain.
    pub cert: Option<Vec<u8>>,
    /// The same in a file.
    pub cert_file: Option<PathBuf>,
    /// Client key.
    pub key: Option<Vec<u8>>,
    /// The same in a file.
    pub key_file: Option<PathBuf>,
    /// The key's passphrase.
    pub passphrase: Option<String>,
    /// Server name for SNI and verification instead of the host's.
    pub server_name: Option<String>,
    /// Start TLS at once, without SSLRequest (PostgreSQL 17+, sslnegotiation=direct).
    pub direct: bool,
}

/// Everything needed to connect. Its Debug never shows a password, key or passphrase.
#[derive(Clone, PartialEq, Eq)]
pub struct Config {
    /// Tried in order; never empty.
    pub hosts: Vec<Host>,
    /// Database name.
    pub database: String,
    /// User name.
    pub user: String,
    /// The password, if it is known beforehand.
    pub password: Option<String>,
    /// When to use TLS and what to verify.
    pub ssl_mode: SslMode,
    /// Certificates.
    pub tls: TlsOptions,
    /// Which server of the list.
    pub target_session_attrs: TargetSessionAttrs,
    /// Further startup parameters (`application_name`, `options`, …).
    pub params: Vec<(String, String)>,
    /// Use SCRAM-SHA-256-PLUS where offered.
    pub channel_binding: bool,
    /// See [`crate::proto::Startup::scram_max_iterations`].
    pub scram_max_iterations: u32,
    /// For one whole connection attempt, all hosts and addresses together; `None` = no limit.
    pub connect_timeout: Option<Duration>,
    /// TCP keepalive, and the idle time before the first probe; `None` = off.
    pub keepalive: Option<Duration>,
}

impl Config {
    /// One host, verified TLS against given roots only, no password, no timeout.
    pub fn new(host: &str, port: u16, database: &str, user: &str) -> Config {
        Config {
            hosts: vec![Host {
                host: host.to_owned(),
                port,
            }],
            database: database.to_owned(),
            user: user.to_owned(),
            password: None,
            ssl_mode: SslMode::default(),
            tls: TlsOptions::default(),
            target_session_attrs: TargetSessionAttrs::default(),
            params: Vec::new(),
            channel_binding: false,
            scram_max_iterations: SCRAM_MAX_ITERATIONS,
            connect_timeout: None,
            keepalive: None,
        }
    }
}

impl SslMode {
    /// Every name with its meaning, as libpq and (`no-verify`) node-postgres spell them.
    pub(crate) const NAMES: [(&str, SslMode); 7] = [
        ("disable", SslMode::Disable),
        ("allow", SslMode::Allow),
        ("prefer", SslMode::Prefer),
        ("no-verify", SslMode::NoVerify),
        ("require", SslMode::Require),
        ("verify-ca", SslMode::VerifyCa),
        ("verify-full", SslMode::VerifyFull),
    ];

    /// The mode of that name.
    pub fn parse(name: &str) -> Option<SslMode> {
        Self::NAMES.iter().find(|(n, _)| *n == name).map(|(_, mode)| *mode)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::NAMES
            .iter()
            .find(|(_, mode)| *mode == self)
            .map_or("verify-full", |(name, _)| name)
    }

    /// Whether a connection without TLS is refused.
    pub fn requires_tls(self) -> bool {
        !matches!(self, SslMode::Disable | SslMode::Allow | SslMode::Prefer)
    }
}

impl TargetSessionAttrs {
    /// Every name with its meaning, as libpq spells them.
    pub(crate) const NAMES: [(&str, TargetSessionAttrs); 6] = [
        ("any", TargetSessionAttrs::Any),
        ("read-write", TargetSessionAttrs::ReadWrite),
        ("read-only", TargetSessionAttrs::ReadOnly),
        ("primary", TargetSessionAttrs::Primary),
        ("standby", TargetSessionAttrs::Standby),
        ("prefer-standby", TargetSessionAttrs::PreferStandby),
    ];

    /// The value of that name.
    pub fn parse(name: &str) -> Option<TargetSessionAttrs> {
        Self::NAMES.iter().find(|(n, _)| *n == name).map(|(_, value)| *value)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::NAMES
            .iter()
            .find(|(_, value)| *value == self)
            .map_or("any", |(name, _)| name)
    }
}

impl Host {
    /// Whether this is the folder of a unix socket.
    pub fn is_unix(&self) -> bool {
        self.host.starts_with('/')
    }
}

impl fmt::Display for Host {
    /// `db.example:6432`, `[::1]:5432`, `/run/postgresql/.s.PGSQL.5432`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_unix() {
            write!(f, "{}/.s.PGSQL.{}", self.host, self.port)
        } else if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Shows that a secret is there, never which.
struct Secret(bool);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0 { "set" } else { "none" })
    }
}

impl fmt::Debug for TlsOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsOptions")
            .field("ca", &Secret(self.ca.is_some()))
            .field("ca_file", &self.ca_file)
            .field("trust", &self.trust)
            .field("cert", &Secret(self.cert.is_some()))
            .field("cert_file", &self.cert_file)
            .field("key", &Secret(self.key.is_some()))
            .field("key_file", &self.key_file)
            .field("passphrase", &Secret(self.passphrase.is_some()))
            .field("server_name", &self.server_name)
            .field("direct", &self.direct)
            .finish()
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("hosts", &self.hosts)
            .field("database", &self.database)
            .field("user", &self.user)
            .field("password", &Secret(self.password.is_some()))
            .field("ssl_mode", &self.ssl_mode)
            .field("tls", &self.tls)
            .field("target_session_attrs", &self.target_session_attrs)
            .field("params", &self.params)
            .field("channel_binding", &self.channel_binding)
            .field("scram_max_iterations", &self.scram_max_iterations)
            .field("connect_timeout", &self.connect_timeout)
            .field("keepalive", &self.keepalive)
            .finish()
    }
}
