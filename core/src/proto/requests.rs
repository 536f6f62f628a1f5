//! Writes requests. A request that cannot be sent leaves the output as it was.

use std::io;

use bytes::{BufMut, BytesMut};
use memchr::memchr;
use postgres_protocol::message::frontend;

use super::{Extended, Param, Target};
use crate::error::Kind;
use crate::{Error, Result};

/// The largest length word that the server reads: PQ_LARGE_MESSAGE_LIMIT, one below its MaxAllocSize (PostgreSQL 14 and newer).
const MAX_LENGTH: usize = 0x3fff_fffe;

/// Query.
pub(super) fn query(out: &mut BytesMut, sql: &str) -> Result<()> {
    bound(sql.len() + 5)?;
    undo_on_error(out, |out| frontend::query(sql, out).map_err(unsendable))
}

/// Parse (unless prepared already), Bind, Describe, Execute, Sync.
pub(super) fn extended(out: &mut BytesMut, query: &Extended<'_>) -> Result<()> {
    undo_on_error(out, |out| {
        if let Some(sql) = query.sql {
            bound(query.name.len() + sql.len() + 8)?;
            frontend::parse(query.name, sql, [], out).map_err(unsendable)?;
        }
        bind(out, query)?;
        frontend::describe(b'P', query.portal, out).map_err(unsendable)?;
        frontend::execute(query.portal, query.max_rows, out).map_err(unsendable)?;
        frontend::sync(out);
        Ok(())
    })
}

/// Close, Sync.
pub(super) fn close(out: &mut BytesMut, target: Target, name: &str) -> Result<()> {
    undo_on_error(out, |out| {
        close_unsynced(out, target, name)?;
        frontend::sync(out);
        Ok(())
    })
}

/// Close alone: something with a Sync follows.
pub(super) fn close_unsynced(out: &mut BytesMut, target: Target, name: &str) -> Result<()> {
    let variant = match target {
        Target::Statement => b'S',
        Target::Portal => b'P',
    };
    bound(name.len() + 6)?;
    frontend::close(variant, name, out).map_err(unsendable)
}

/// Bind, straight into the output: String portal; String statement; Int16 f, f times Int16 parameter format; Int16 n,
/// n times Int32 length and bytes; Int16 r, r times Int16 result format. No format code at all means text for all.
fn bind(out: &mut BytesMut, query: &Extended<'_>) -> Result<()> {
    let count = u16::try_from(query.params.len()).map_err(|_| {
        Error::new(
            Kind::Usage,
            format!(
                "A query takes at most 65535 parameters, but {} were given",
                query.params.len()
            ),
        )
    })?;
    let mut values = 0;
    let mut binary_params = false;
    for param in query.params {
        values += 4 + match param {
            Param::Null => 0,
            Param::Text(bytes) => bytes.len(),
            Param::Binary(bytes) => {
                binary_params = true;
                bytes.len()
            }
        };
    }
    let formats = if binary_params { count } else { 0 };
    let length = 4
        + query.portal.len()
        + 1
        + query.name.len()
        + 1
        + 2
        + 2 * usize::from(formats)
        + 2
        + values
        + 2
        + 2 * query.results.len();
    bound(length)?;

    out.reserve(1 + length);
    out.put_u8(b'B');
    out.put_u32(length as u32);
    put_cstr(out, query.portal)?;
    put_cstr(out, query.name)?;
    out.put_u16(formats);
    if binary_params {
        for param in query.params {
            out.put_i16(matches!(param, Param::Binary(_)).into());
        }
    }
    out.put_u16(count);
    for param in query.params {
        match param {
            Param::Null => out.put_i32(-1),
            Param::Text(bytes) | Param::Binary(bytes) => {
                out.put_u32(bytes.len() as u32);
                out.put_slice(bytes);
            }
        }
    }
    out.put_u16(query.results.len() as u16);
    for &format in query.results {
        out.put_i16(format);
    }
    Ok(())
}

fn put_cstr(out: &mut BytesMut, text: &str) -> Result<()> {
    if memchr(0, text.as_bytes()).is_some() {
        return Err(nul());
    }
    out.put_slice(text.as_bytes());
    out.put_u8(0);
    Ok(())
}

fn bound(length: usize) -> Result<()> {
    if length <= MAX_LENGTH {
        return Ok(());
    }
    let message = format!("A message of {length} bytes is too long: PostgreSQL takes at most {MAX_LENGTH}");
    Err(Error::new(Kind::Usage, message))
}

fn undo_on_error(out: &mut BytesMut, write: impl FnOnce(&mut BytesMut) -> Result<()>) -> Result<()> {
    let before = out.len();
    let result = write(out);
    if result.is_err() {
        out.truncate(before);
    }
    result
}

/// Lengths were checked before, so what is left is a NUL byte in a String.
fn unsendable(_: io::Error) -> Error {
    nul()
}

fn nul() -> Error {
    Error::new(
        Kind::Usage,
        "A query's text or name contains a NUL byte, which PostgreSQL cannot take",
    )
}
