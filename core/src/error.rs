//! One opaque error for the whole library.
//!
//! It says who is at fault and what to do; it never holds a secret.

use std::borrow::Cow;
use std::fmt;
use std::io;

use crate::proto::ServerError;

/// The library's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Who is at fault, and in which step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// The server answered with an ErrorResponse; [`Error::server`] has its fields.
    Server,
    /// The peer broke the protocol.
    Protocol,
    /// A socket failed; [`Error::io`] has the cause.
    Io,
    /// A host name could not be resolved.
    Dns,
    /// TLS could not be negotiated, or the certificate was not accepted.
    Tls,
    /// The server refused, or asked for, an authentication this client cannot do.
    Auth,
    /// A setting is missing or wrong: the caller's to mend.
    Config,
    /// The caller used the library wrongly (released twice, used after end).
    Usage,
    /// The connection is gone.
    Closed,
    /// Waiting for a free connection took too long.
    WaitTimeout,
    /// Connecting took too long.
    ConnectTimeout,
    /// A query took too long.
    QueryTimeout,
    /// The caller cancelled.
    Cancelled,
    /// The object store refused or failed.
    Store,
    /// pg_dump is missing, too old, or failed.
    Dump,
}

/// An error: a private kind, a message that says what to do, and a cause.
pub struct Error {
    inner: Box<Inner>,
}

struct Inner {
    kind: Kind,
    message: Cow<'static, str>,
    /// A name in the style of Node or OpenSSL (`ECONNREFUSED`, `SELF_SIGNED_CERT_IN_CHAIN`) where one exists.
    name: Option<Cow<'static, str>>,
    server: Option<ServerError>,
    place: Option<Place>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// Where a connection failed, in the words of Node's system errors.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// The system call or its nearest Node name: `connect`, `getaddrinfo`, `read`, `write`.
    pub syscall: Option<&'static str>,
    /// The resolved address or the unix socket's path.
    pub address: Option<String>,
    /// TCP port.
    pub port: Option<u16>,
    /// The name that was to be resolved.
    pub hostname: Option<String>,
}

impl Error {
    /// An error of `kind` with a message.
    pub fn new(kind: Kind, message: impl Into<Cow<'static, str>>) -> Error {
        Error {
            inner: Box::new(Inner {
                kind,
                message: message.into(),
                name: None,
                server: None,
                place: None,
                source: None,
            }),
        }
    }

    /// The peer sent something that the protocol does not allow.
    pub fn protocol(message: impl Into<Cow<'static, str>>) -> Error {
        Error::new(Kind::Protocol, message)
    }

    /// The server's own error.
    pub fn from_server(server: ServerError) -> Error {
        let mut error = Error::new(Kind::Server, server.message().to_owned());
        error.inner.server = Some(server);
        error
    }

    /// Adds the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        self.inner.source = Some(source.into());
        self
    }

    /// Adds the name by which Node's users know this error.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<Cow<'static, str>>) -> Error {
        self.inner.name = Some(name.into());
        self
    }

    /// Adds where it happened.
    #[must_use]
    pub fn with_place(mut self, place: Place) -> Error {
        self.inner.place = Some(place);
        self
    }

    /// Who is at fault, and in which step.
    pub fn kind(&self) -> Kind {
        self.inner.kind
    }

    /// The message alone, without the cause.
    pub fn message(&self) -> &str {
        &self.inner.message
    }

    /// The SQLSTATE for a server error, else the error's name (`ECONNREFUSED`), if it has one.
    pub fn code(&self) -> Option<&str> {
        match &self.inner.server {
            Some(server) => Some(server.code()),
            None => self.inner.name.as_deref(),
        }
    }

    /// All fields of the server's error.
    pub fn server(&self) -> Option<&ServerError> {
        self.inner.server.as_ref()
    }

    /// Where it happened, for a socket, DNS or TLS error of connecting.
    pub fn place(&self) -> Option<&Place> {
        self.inner.place.as_ref()
    }

    /// The socket error at the root, if there is one.
    pub fn io(&self) -> Option<&io::Error> {
        let mut source: Option<&(dyn std::error::Error + 'static)> = self.inner.source.as_deref().map(|s| s as _);
        while let Some(error) = source {
            if let Some(io) = error.downcast_ref() {
                return Some(io);
            }
            source = error.source();
        }
        None
    }

    /// Whether the connection is gone for good.
    pub fn is_closed(&self) -> bool {
        matches!(self.inner.kind, Kind::Closed | Kind::Io | Kind::Protocol)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Error");
        out.field("kind", &self.inner.kind)
            .field("message", &self.inner.message);
        if let Some(code) = self.code() {
            out.field("code", &code);
        }
        if let Some(source) = &self.inner.source {
            out.field("source", source);
        }
        out.finish()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.inner.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.inner.source.as_deref().map(|s| s as _)
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Error {
        Error::new(Kind::Io, error.to_string()).with_source(error)
    }
}
