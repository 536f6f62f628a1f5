//! URL, key-value conninfo, environment and options → [`Config`].
//!
//! The environment is read through a function, at first use, never at load: Node workers have their own copy.

use std::time::Duration;

/// One host of a host list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// A DNS name, an address, or (beginning with `/`) the folder of a unix socket.
    pub host: String,
    /// TCP port, or the number in the unix socket's name.
    pub port: u16,
}

/// libpq's sslmode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SslMode {
    /// Plain text only.
    Disable,
    /// Plain text, TLS if the server insists.
    Allow,
    /// TLS if the server has it; not verified.
    Prefer,
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

/// TLS material, each in PEM or as a file's content.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct TlsOptions {
    /// Trusted roots; `None` = the trust order of the caller's kind.
    pub ca: Option<Vec<u8>>,
    /// Client certificate chain.
    pub cert: Option<Vec<u8>>,
    /// Client key.
    pub key: Option<Vec<u8>>,
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
