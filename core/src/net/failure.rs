//! Socket, DNS and TLS failures in the words that Node's users know, and what to do about them.

use std::io;

use rustix::io::Errno;

use super::established::Address;
use crate::Error;
use crate::error::{Kind, Place};

/// Node's name of a socket error.
pub fn io_name(error: &io::Error) -> Option<&'static str> {
    let errno = Errno::from_io_error(error);
    const NAMES: &[(Errno, &str)] = &[
        (Errno::CONNREFUSED, "ECONNREFUSED"),
        (Errno::CONNRESET, "ECONNRESET"),
        (Errno::PIPE, "EPIPE"),
        (Errno::TIMEDOUT, "ETIMEDOUT"),
        (Errno::HOSTUNREACH, "EHOSTUNREACH"),
        (Errno::NETUNREACH, "ENETUNREACH"),
        (Errno::ADDRNOTAVAIL, "EADDRNOTAVAIL"),
        (Errno::CONNABORTED, "ECONNABORTED"),
        (Errno::NETDOWN, "ENETDOWN"),
        (Errno::NOENT, "ENOENT"),
        (Errno::ACCESS, "EACCES"),
        (Errno::MFILE, "EMFILE"),
        (Errno::NFILE, "ENFILE"),
        (Errno::NOTSOCK, "ENOTSOCK"),
        (Errno::INVAL, "EINVAL"),
    ];
    let by_errno = errno.and_then(|errno| NAMES.iter().find(|(e, _)| *e == errno));
    by_errno.map(|(_, name)| *name).or(match error.kind() {
        io::ErrorKind::ConnectionRefused => Some("ECONNREFUSED"),
        io::ErrorKind::ConnectionReset => Some("ECONNRESET"),
        io::ErrorKind::BrokenPipe => Some("EPIPE"),
        io::ErrorKind::TimedOut => Some("ETIMEDOUT"),
        _ => None,
    })
}

/// A socket's failure as Node writes it: `read ECONNRESET`, `connect ECONNREFUSED 127.0.0.1:5432`.
pub fn io_error(syscall: &'static str, address: Option<&Address>, error: io::Error) -> Error {
    let name = io_name(&error);
    let what = name.map_or_else(|| error.to_string(), str::to_owned);
    let message = match address {
        Some(address) => format!("{syscall} {what} {address}"),
        None => format!("{syscall} {what}"),
    };
    let mut out = Error::new(Kind::Io, message).with_place(place(syscall, address));
    if let Some(name) = name {
        out = out.with_name(name);
    }
    out.with_source(error)
}

fn place(syscall: &'static str, address: Option<&Address>) -> Place {
    let mut place = Place {
        syscall: Some(syscall),
        ..Place::default()
    };
    match address {
        Some(Address::Tcp { addr, .. }) => {
            place.address = Some(addr.ip().to_string());
            place.port = Some(addr.port());
        }
        Some(Address::Unix(path)) => place.address = Some(path.display().to_string()),
        None => {}
    }
    place
}

/// A name that could not be resolved, as Node writes it: `getaddrinfo ENOTFOUND db.example`.
pub(super) fn dns_error(host: &str, error: io::Error) -> Error {
    // std keeps only getaddrinfo's text, not its EAI number.
    let name = match error.to_string().contains("emporary failure") {
        true => "EAI_AGAIN",
        false => "ENOTFOUND",
    };
    Error::new(Kind::Dns, format!("getaddrinfo {name} {host}"))
        .with_name(name)
        .with_place(Place {
            syscall: Some("getaddrinfo"),
            hostname: Some(host.to_owned()),
            ..Place::default()
        })
        .with_source(error)
}

/// The server closed the connection where an answer was due.
pub(super) fn closed() -> Error {
    Error::new(Kind::Closed, "Connection terminated unexpectedly")
}

/// All failures of one connection attempt in one error. Kind, name and place are those of the last one; a single
/// failure stays as it is.
pub(super) fn combine(mut failures: Vec<(String, Error)>) -> Error {
    let texts: Vec<String> = failures.iter().map(|(at, error)| format!("{at}: {error}")).collect();
    let Some((_, last)) = failures.pop() else {
        return Error::new(Kind::Config, "no host to connect to");
    };
    if failures.is_empty() {
        return last;
    }
    let kind = match last.kind() {
        // Without the server's fields it is none of Kind::Server.
        Kind::Server => Kind::Io,
        kind => kind,
    };
    let mut out = Error::new(kind, format!("no server could be used: {}", texts.join("; ")));
    if let Some(code) = last.code() {
        out = out.with_name(code.to_owned());
    }
    if let Some(place) = last.place() {
        out = out.with_place(place.clone());
    }
    out.with_source(last)
}
