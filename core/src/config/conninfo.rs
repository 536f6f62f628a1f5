//! The two spellings of a connection string → pairs of key and value (libpq, chapter 34.1.1).

use crate::error::Kind;
use crate::{Error, Result};

/// Key and value in the order of the text. A URL's parts get the keys `user`, `password`, `host`, `port`, `dbname`.
pub(super) fn pairs(text: &str) -> Result<Vec<(String, String)>> {
    for scheme in ["postgres://", "postgresql://"] {
        if let Some(rest) = text.strip_prefix(scheme) {
            return url(rest);
        }
    }
    if let Some((scheme, _)) = text.split_once("://")
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+')
    {
        return Err(Error::new(
            Kind::Config,
            format!("a connection URL begins with postgres:// or postgresql://, not {scheme}://"),
        ));
    }
    key_values(text)
}

/// `key = value`, the value plain or in single quotes, `\` escapes in both.
fn key_values(text: &str) -> Result<Vec<(String, String)>> {
    let mut out = Vec::new();
    let mut chars = text.chars().peekable();
    loop {
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        if chars.peek().is_none() {
            return Ok(out);
        }
        let mut key = String::new();
        while let Some(c) = chars.next_if(|c| *c != '=' && !c.is_whitespace()) {
            key.push(c);
        }
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        if chars.next() != Some('=') {
            // The word may be a part of a password with blanks in it: do not print it.
            return Err(Error::new(
                Kind::Config,
                format!("missing \"=\" after word {} of the connection string", out.len() + 1),
            ));
        }
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        out.push((key, one_value(&mut chars)?));
    }
}

fn one_value(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<String> {
    let mut value = String::new();
    let quoted = chars.next_if_eq(&'\'').is_some();
    loop {
        match chars.next_if(|c| quoted || !c.is_whitespace()) {
            Some('\\') => value.extend(chars.next()),
            Some('\'') if quoted => return Ok(value),
            Some(c) => value.push(c),
            None if quoted => {
                return Err(Error::new(
                    Kind::Config,
                    "a quoted value in the connection string has no closing quote",
                ));
            }
            None => return Ok(value),
        }
    }
}

/// `[user[:password]@][host[:port],…][/dbname][?key=value&…]`, each part percent-decoded.
fn url(rest: &str) -> Result<Vec<(String, String)>> {
    let mut out = Vec::new();
    let whole = rest;
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
    let (login, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
    if !authority.contains('@') && whole.contains('@') {
        // Most likely a password with a slash or question mark in it: nothing of it may reach a message.
        return Err(Error::new(
            Kind::Config,
            "the connection URL has an @ behind its first / or ?: write these as %40, %2F, %3F where they belong to a \
             password or name",
        ));
    }
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let mut part = |key: &str, text: &str| -> Result<()> {
        if !text.is_empty() {
            out.push((key.to_owned(), decode(key, text)?));
        }
        Ok(())
    };
    part("user", user)?;
    part("password", password)?;
    // An encoded comma or colon inside one host has no meaning, so decoding the whole list is safe.
    part("host", hosts)?;
    part("dbname", database)?;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').ok_or_else(|| {
            Error::new(
                Kind::Config,
                "missing \"=\" after a parameter of the connection URL".to_owned(),
            )
        })?;
        let key = decode("parameter", key)?;
        let value = decode(&key, value)?;
        // JDBC's spelling, which libpq takes too.
        out.push(match (key.as_str(), value.as_str()) {
            ("ssl", "true") => ("sslmode".to_owned(), "require".to_owned()),
            _ => (key, value),
        });
    }
    Ok(out)
}

fn decode(what: &str, text: &str) -> Result<String> {
    let error = || {
        Error::new(
            Kind::Config,
            format!("the connection URL's {what} is not percent-encoded UTF-8"),
        )
    };
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|b| (b as char).to_digit(16));
        let (Some(high), Some(low)) = (digit(), digit()) else {
            return Err(error());
        };
        match (high * 16 + low) as u8 {
            0 => return Err(error()),
            b => out.push(b),
        }
    }
    String::from_utf8(out).map_err(|_| error())
}
