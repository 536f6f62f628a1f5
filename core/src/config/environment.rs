//! The environment's names, fall-backs and defaults.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::settings::{Defaults, Lookup, Settings, bad};
use super::{Config, PoolSettings};
use crate::Result;

/// Each setting with the variables that may hold it, the first that is set and not empty wins.
const NAMES: &[(&str, &[&str])] = &[
    ("host", &["PG_HOST", "PGHOST"]),
    ("port", &["PG_PORT", "PGPORT"]),
    ("dbname", &["PG_DATABASE", "PGDATABASE"]),
    ("user", &["PG_USER", "PGUSER"]),
    ("password", &["PG_PASSWORD", "PGPASSWORD"]),
    ("sslmode", &["PG_SSLMODE", "PGSSLMODE"]),
    ("sslrootcert", &["PG_SSLROOTCERT", "PGSSLROOTCERT"]),
    ("sslcert", &["PG_SSLCERT", "PGSSLCERT"]),
    ("sslkey", &["PG_SSLKEY", "PGSSLKEY"]),
    ("sslnegotiation", &["PGSSLNEGOTIATION"]),
    ("channel_binding", &["PGCHANNELBINDING"]),
    (
        "target_session_attrs",
        &["PG_TARGET_SESSION_ATTRS", "PGTARGETSESSIONATTRS"],
    ),
    ("application_name", &["PGAPPNAME"]),
    ("options", &["PGOPTIONS"]),
    ("connect_timeout", &["PGCONNECT_TIMEOUT"]),
];

impl Config {
    /// The connection of getPool, runBackup and the command line: PG_HOST (else PGHOST, else localhost), PG_PORT (6432),
    /// PG_DATABASE (heys_production), PG_USER (heys_admin), PG_PASSWORD, PG_SSLMODE (verify-full), PG_SSLROOTCERT and
    /// libpq's PGAPPNAME, PGOPTIONS, PGTARGETSESSIONATTRS, PGSSLCERT, PGSSLKEY, PGSSLNEGOTIATION, PGCHANNELBINDING,
    /// PGCONNECT_TIMEOUT. An empty variable counts as not set. Connecting takes at most PGCONNECT_TIMEOUT seconds, else
    /// POOL_CONNECT_TIMEOUT milliseconds; keepalive is on. Opens no file.
    pub fn from_environment(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Config> {
        let connect_timeout = PoolSettings::from_environment(lookup)?.connect_timeout;
        environment(lookup)?.finish(
            Defaults {
                port: 6432,
                database: Some("heys_production".to_owned()),
                user: Some("heys_admin".to_owned()),
                connect_timeout,
                keepalive: Some(Duration::from_secs(10)),
            },
            lookup,
        )
    }

    /// A libpq conninfo (`host=a,b port=1,2 dbname=x`) or URL (`postgres://user@a:1,b:2/x?sslmode=require`). What it
    /// leaves out comes from the environment's variables as in [`Config::from_environment`], else from libpq's
    /// defaults (localhost, 5432, the user's own name, keepalive on), except that sslmode is verify-full. An unknown
    /// key is an error that names it.
    pub fn parse(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<Config> {
        let mut settings = environment(lookup)?;
        let pairs = super::conninfo::pairs(text)?;
        if pairs.iter().any(|(key, _)| key == "host") {
            settings.forget_port();
        }
        for (key, value) in &pairs {
            settings.set(key, value, key)?;
        }
        let user = ["USER", "LOGNAME"].iter().find_map(|name| value(lookup, name));
        settings.finish(
            Defaults {
                port: 5432,
                database: None,
                user,
                connect_timeout: None,
                keepalive: Some(Duration::from_secs(7200)),
            },
            lookup,
        )
    }
}

fn environment(lookup: Lookup<'_>) -> Result<Settings> {
    let mut settings = Settings::default();
    for (key, names) in NAMES {
        if let Some((name, value)) = names.iter().find_map(|name| Some((name, value(lookup, name)?))) {
            settings.set(key, &value, name)?;
        }
    }
    Ok(settings)
}

fn value(lookup: Lookup<'_>, name: &str) -> Option<String> {
    lookup(name).filter(|value| !value.is_empty())
}

/// A whole number within `allowed`.
pub(super) fn number(lookup: Lookup<'_>, name: &str, allowed: RangeInclusive<u64>) -> Result<Option<u64>> {
    let Some(text) = value(lookup, name) else {
        return Ok(None);
    };
    match text.trim().parse::<u64>() {
        Ok(n) if allowed.contains(&n) => Ok(Some(n)),
        _ => Err(bad(
            name,
            &text,
            &format!("a whole number from {} to {}", allowed.start(), allowed.end()),
        )),
    }
}

/// Milliseconds up to a day; 0 = no limit.
pub(super) fn millis(lookup: Lookup<'_>, name: &str, default: Option<Duration>) -> Result<Option<Duration>> {
    Ok(match number(lookup, name, 0..=86_400_000)? {
        None => default,
        Some(0) => None,
        Some(n) => Some(Duration::from_millis(n)),
    })
}

/// true/false, on/off, yes/no, 1/0.
pub(super) fn switch(lookup: Lookup<'_>, name: &str) -> Result<Option<bool>> {
    let Some(text) = value(lookup, name) else {
        return Ok(None);
    };
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "on" | "yes" | "1" => Ok(Some(true)),
        "false" | "off" | "no" | "0" => Ok(Some(false)),
        _ => Err(bad(name, &text, "true or false")),
    }
}
