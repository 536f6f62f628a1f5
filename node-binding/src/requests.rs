//! `query` and `extended`: arguments of JavaScript → the wire machine, through memory that is used again.

use std::mem;
use std::rc::Rc;

use heys_core::proto::{Extended, Known, Param};
use heys_core::statements::Numbers;

use crate::env::Environment;
use crate::raw::{Js, Type, Value};
use crate::session::{BINARY, FLOAT8, SHARED, SIMPLE, Scratch, Session, Span, TIMESTAMPTZ};

/// Buffers longer than this are not kept for the next query.
const TEXT_KEPT: usize = 256 * 1024;

/// Why a request cannot be sent: the text of a TypeError.
pub(crate) type Refused = String;

/// `query(session, text, flags)`.
pub(crate) fn query(js: Js, environment: &Environment, [session, text, flags]: [Value; 3]) -> Result<(), Refused> {
    let session = find(js, environment, session)?;
    let flags = js.get_int(flags).unwrap_or(0);
    with_scratch(environment, |scratch| {
        let text = append(js, text, &mut scratch.text)?;
        session.query(text, flags).map_err(|error| error.to_string())
    })
}

/// `extended(session, name, text, values, flags, portal, maxRows)`.
pub(crate) fn extended(
    js: Js,
    environment: &Environment,
    [session, name, text, values, flags, portal, max_rows]: [Value; 7],
) -> Result<(), Refused> {
    let session = find(js, environment, session)?;
    let flags = js.get_int(flags).unwrap_or(0);
    let max_rows = js.get_int(max_rows).unwrap_or(0).max(0);
    with_scratch(environment, |scratch| {
        // One buffer: name, portal, text, then the values' texts.
        let buffer = &mut scratch.text;
        append(js, name, buffer)?;
        let name_end = buffer.len();
        append(js, portal, buffer)?;
        let portal_end = buffer.len();
        let has_text = js.type_of(text) != Type::Missing;
        if has_text {
            append(js, text, buffer)?;
        }
        let text_end = buffer.len();
        read_values(js, values, scratch)?;

        let params = params(&mut scratch.params, &mut scratch.spans, &scratch.text, text_end);
        let buffer = scratch.text.as_slice();
        let part = |range: std::ops::Range<usize>| {
            std::str::from_utf8(buffer.get(range).unwrap_or_default()).map_err(|_| "a text is not UTF-8".to_owned())
        };
        let request = Extended {
            name: part(0..name_end)?,
            sql: if has_text {
                Some(part(portal_end..text_end)?)
            } else {
                None
            },
            params: &params,
            results: if flags & BINARY != 0 { &[1] } else { &[] },
            portal: part(name_end..portal_end)?,
            max_rows,
        };
        let result = session.request(flags, |wire| wire.extended(&request));
        scratch.params = reuse(params);
        result.map_err(|error| error.to_string())
    })
}

/// `text(id, text)`: the number means this text from now on.
pub(crate) fn text(js: Js, environment: &Environment, [id, text]: [Value; 2]) -> Result<(), Refused> {
    let id = js.get_int(id).unwrap_or(0);
    with_scratch(environment, |scratch| {
        let text = append(js, text, &mut scratch.text)?;
        environment.texts.borrow_mut().insert(id as u32, text);
        Ok(())
    })
}

/// `known(session, text, values, flags)`: as `query` or `extended`, with a text's number.
pub(crate) fn known(
    js: Js,
    environment: &Environment,
    [session, text, values, flags]: [Value; 4],
) -> Result<(), Refused> {
    let session = find(js, environment, session)?;
    let text = js.get_int(text).unwrap_or(0) as u32;
    let flags = js.get_int(flags).unwrap_or(0);
    with_scratch(environment, |scratch| {
        read_values(js, values, scratch)?;
        let params = params(&mut scratch.params, &mut scratch.spans, &scratch.text, 0);
        let request = Known {
            text,
            simple: flags & SIMPLE != 0,
            params: &params,
            binary: flags & BINARY != 0,
            numbers: Numbers {
                float8: flags & FLOAT8 != 0,
                timestamptz: flags & TIMESTAMPTZ != 0,
            },
            autocommit: flags & SHARED != 0,
        };
        let texts = environment.texts.borrow();
        let result = session.request(flags, |wire| wire.known(&request, &texts, environment.now()));
        scratch.params = reuse(params);
        result.map_err(|error| error.to_string())
    })
}

fn find(js: Js, environment: &Environment, session: Value) -> Result<Rc<Session>, Refused> {
    let id = js.get_int(session).unwrap_or(-1);
    let found = environment.sessions.borrow().get(id).cloned();
    found.ok_or_else(|| "the connection is closed".to_owned())
}

/// Lends the environment's scratch memory; a call from inside (a getter among the values) gets its own.
fn with_scratch<T>(environment: &Environment, work: impl FnOnce(&mut Scratch) -> T) -> T {
    let mut scratch = environment.scratch.take();
    let result = work(&mut scratch);
    scratch.spans.clear();
    scratch.text.clear();
    if scratch.text.capacity() > TEXT_KEPT {
        scratch.text = Vec::new();
    }
    environment.scratch.replace(scratch);
    result
}

/// Appends a string and returns what was appended.
fn append(js: Js, value: Value, buffer: &mut Vec<u8>) -> Result<&str, Refused> {
    let start = buffer.len();
    if !js.append_utf8(value, buffer) {
        return Err("a text must be a string".to_owned());
    }
    std::str::from_utf8(buffer.get(start..).unwrap_or_default()).map_err(|_| "a text is not UTF-8".to_owned())
}

/// Reads the values: texts behind each other into the scratch buffer, views where they lie.
fn read_values(js: Js, values: Value, scratch: &mut Scratch) -> Result<(), Refused> {
    for index in 0..js.length(values) {
        let value = js.element(values, index);
        let span = if js.append_utf8(value, &mut scratch.text) {
            Span::Text(scratch.text.len())
        } else if let Some(bytes) = js.bytes(value) {
            // Used before this call returns; no JavaScript runs until then but for accessors in the array itself,
            // which the border rules out.
            Span::Binary(bytes)
        } else if js.type_of(value) == Type::Missing {
            Span::Null
        } else {
            return Err(format!(
                "value ${} must be a string, a Buffer, a typed array or null",
                index + 1
            ));
        };
        scratch.spans.push(span);
    }
    Ok(())
}

/// The values that were read: their texts begin at `start`.
fn params<'a>(
    memory: &mut Vec<Param<'static>>,
    spans: &mut Vec<Span>,
    texts: &'a [u8],
    mut start: usize,
) -> Vec<Param<'a>> {
    let mut params = reuse(mem::take(memory));
    params.extend(spans.drain(..).map(|span| match span {
        Span::Null => Param::Null,
        Span::Binary(bytes) => Param::Binary(bytes),
        Span::Text(end) => {
            let text = texts.get(start..end).unwrap_or_default();
            start = end;
            Param::Text(text)
        }
    }));
    params
}

/// An empty vector with the memory of this one (collecting in place keeps the allocation).
fn reuse<'a>(mut params: Vec<Param<'_>>) -> Vec<Param<'a>> {
    params.clear();
    params.into_iter().map(|_| Param::Null).collect()
}
