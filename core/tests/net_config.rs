//! The environment and connection strings → Config.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use heys_core::config::{Config, PoolSettings, SslMode, TargetSessionAttrs};
use heys_core::error::Kind;

fn environment(pairs: &[(&str, &str)]) -> impl Fn(&str) -> Option<String> + use<> {
    let map: HashMap<String, String> = pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
    move |name| map.get(name).cloned()
}

fn from_environment(pairs: &[(&str, &str)]) -> Config {
    Config::from_environment(&environment(pairs)).unwrap()
}

fn hosts(config: &Config) -> Vec<String> {
    config.hosts.iter().map(ToString::to_string).collect()
}

fn parse(text: &str) -> Config {
    Config::parse(text, &environment(&[("USER", "me")])).unwrap()
}

fn parse_error(text: &str) -> String {
    let error = Config::parse(text, &environment(&[("USER", "me")])).unwrap_err();
    assert_eq!(error.kind(), Kind::Config);
    error.to_string()
}

#[test]
fn an_empty_environment_gives_the_heys_defaults() {
    let config = from_environment(&[]);
    assert_eq!(hosts(&config), ["localhost:6432"]);
    assert_eq!(
        (config.database.as_str(), config.user.as_str()),
        ("heys_production", "heys_admin")
    );
    assert_eq!(config.password, None);
    assert_eq!(config.ssl_mode, SslMode::VerifyFull);
    assert_eq!(config.connect_timeout, Some(Duration::from_secs(5)));
    assert!(config.keepalive.is_some());
    let pool = PoolSettings::from_environment(&environment(&[])).unwrap();
    assert_eq!(pool, PoolSettings::default());
    assert_eq!((pool.max, pool.log_level.as_str()), (3, "info"));
}

#[test]
fn own_names_win_over_the_standard_ones_and_empty_ones_do_not_count() {
    let config = from_environment(&[
        ("PG_HOST", "a"),
        ("PGHOST", "b"),
        ("PG_PORT", ""),
        ("PGPORT", "7000"),
        ("PGDATABASE", "d"),
        ("PGUSER", "u"),
        ("PGPASSWORD", "p"),
        ("PGSSLMODE", "disable"),
        ("PGSSLROOTCERT", "/x/root.crt"),
    ]);
    assert_eq!(hosts(&config), ["a:7000"]);
    assert_eq!((config.database.as_str(), config.user.as_str()), ("d", "u"));
    assert_eq!(config.password.as_deref(), Some("p"));
    assert_eq!(config.ssl_mode, SslMode::Disable);
    assert_eq!(config.tls.ca_file, Some(PathBuf::from("/x/root.crt")));
}

#[test]
fn a_wrong_value_names_its_variable_the_value_and_what_is_allowed() {
    for (name, value, wanted) in [
        ("PG_PORT", "70000", "1 to 65535"),
        ("PGPORT", "x", "1 to 65535"),
        ("PG_SSLMODE", "on", "verify-full"),
        ("POOL_MAX_SIZE", "0", "from 1"),
        ("POOL_QUERY_TIMEOUT", "10s", "whole number"),
        ("POOL_PER_FUNCTION_METRICS", "maybe", "true or false"),
    ] {
        let lookup = environment(&[(name, value)]);
        let error = match name.starts_with("POOL") {
            true => PoolSettings::from_environment(&lookup).unwrap_err(),
            false => Config::from_environment(&lookup).unwrap_err(),
        }
        .to_string();
        assert!(
            error.contains(name) && error.contains(value) && error.contains(wanted),
            "{error}"
        );
    }
}

#[test]
fn zero_turns_a_pool_timeout_off() {
    let lookup = environment(&[("POOL_IDLE_TIMEOUT", "0"), ("POOL_CONNECT_TIMEOUT", "0")]);
    let pool = PoolSettings::from_environment(&lookup).unwrap();
    assert_eq!((pool.idle_timeout, pool.connect_timeout), (None, None));
    assert_eq!(Config::from_environment(&lookup).unwrap().connect_timeout, None);
}

#[test]
fn host_lists_take_their_ports_in_every_spelling() {
    let of = |host: &str, port: &str| hosts(&from_environment(&[("PG_HOST", host), ("PG_PORT", port)]));
    assert_eq!(of("a:1,b:2", ""), ["a:1", "b:2"]);
    assert_eq!(of("a,b", "1,2"), ["a:1", "b:2"]);
    assert_eq!(of("a,b:3", "1"), ["a:1", "b:3"]);
    assert_eq!(of("a,b", ",2"), ["a:6432", "b:2"]);
    assert_eq!(
        of("[::1]:5,::1,/run/pg", ""),
        ["[::1]:5", "[::1]:6432", "/run/pg/.s.PGSQL.6432"]
    );
    let error = Config::from_environment(&environment(&[("PG_HOST", "a,b,c"), ("PG_PORT", "1,2")])).unwrap_err();
    assert!(error.to_string().contains("3 hosts but 2 ports"), "{error}");
}

#[test]
fn key_value_strings_take_quotes_and_escapes() {
    let config = parse(
        r"host=a,b port=1,2 dbname = 'my db' user='o\'neil' password=a\ b\\c sslmode=require application_name=''
          target_session_attrs=read-write connect_timeout=7 keepalives=0",
    );
    assert_eq!(hosts(&config), ["a:1", "b:2"]);
    assert_eq!((config.database.as_str(), config.user.as_str()), ("my db", "o'neil"));
    assert_eq!(config.password.as_deref(), Some("a b\\c"));
    assert_eq!(config.ssl_mode, SslMode::Require);
    assert_eq!(config.target_session_attrs, TargetSessionAttrs::ReadWrite);
    assert_eq!(config.connect_timeout, Some(Duration::from_secs(7)));
    assert_eq!(config.keepalive, None);
    assert!(config.params.is_empty());
}

#[test]
fn urls_are_decoded_part_by_part() {
    let config = parse(
        "postgresql://us%40er:p%2Fw%3A%40@a:1,[::1]:2/d%20b?sslmode=disable&application_name=x%26y&options=-c%20a%3Db",
    );
    assert_eq!(hosts(&config), ["a:1", "[::1]:2"]);
    assert_eq!((config.database.as_str(), config.user.as_str()), ("d b", "us@er"));
    assert_eq!(config.password.as_deref(), Some("p/w:@"));
    let params = [("application_name", "x&y"), ("options", "-c a=b")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    assert_eq!(config.params, params);
    assert_eq!(
        hosts(&parse("postgres://%2Frun%2Fpg:5433/x")),
        ["/run/pg/.s.PGSQL.5433"]
    );
    assert_eq!(hosts(&parse("postgres:///x?host=/run/pg")), ["/run/pg/.s.PGSQL.5432"]);
}

#[test]
fn a_string_leaves_the_rest_to_the_environment_and_then_to_libpq() {
    let lookup = environment(&[("PGHOST", "h"), ("PGPORT", "7"), ("PG_PASSWORD", "p"), ("USER", "me")]);
    let config = Config::parse("dbname=x", &lookup).unwrap();
    assert_eq!(hosts(&config), ["h:7"]);
    assert_eq!((config.database.as_str(), config.user.as_str()), ("x", "me"));
    assert_eq!(config.password.as_deref(), Some("p"));
    // The environment's port belongs to the environment's host.
    assert_eq!(hosts(&Config::parse("host=other", &lookup).unwrap()), ["other:5432"]);
    let config = parse("user=joe");
    assert_eq!(
        (hosts(&config), config.database),
        (vec!["localhost:5432".to_owned()], "joe".to_owned())
    );
    assert_eq!(config.ssl_mode, SslMode::VerifyFull);
}

#[test]
fn what_a_string_gets_wrong_is_named() {
    for (text, wanted) in [
        ("hots=a", "\"hots\""),
        ("postgres://a/b?sslmod=require", "\"sslmod\""),
        ("sslmode=on", "sslmode"),
        ("host", "missing \"=\""),
        ("password='abc", "closing quote"),
        ("mysql://a/b", "not mysql://"),
        ("postgres://a:x/b", "1 to 65535"),
        (
            "sslmode=require sslrootcert=system",
            "verify-full with sslrootcert=system",
        ),
        ("channel_binding=require", "disable, prefer"),
    ] {
        let error = parse_error(text);
        assert!(error.contains(wanted), "{text}: {error}");
    }
}

#[test]
fn no_secret_reaches_debug_or_an_error() {
    let config = parse("password=hunter2 sslpassword=hunter2 sslkey=/k");
    assert!(!format!("{config:?}").contains("hunter2"));
    for text in [
        "postgres://u:hunter2/x@a/b",
        "postgres://u:hunter2?x@a/b",
        "postgres://u:hunter2%@a/b",
        "password='hunter2",
        "password=x hunter2",
    ] {
        let error = parse_error(text);
        assert!(!error.contains("hunter2"), "{error}");
    }
}
