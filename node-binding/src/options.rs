//! The border's ConnectOptions ⇄ core's Config.

use std::ffi::CStr;
use std::sync::Arc;
use std::time::Duration;

use heys_core::config::{Config, Host, Places, SslMode, TargetSessionAttrs, TlsOptions, Trust};
use heys_core::error::Kind;
use heys_core::{Error, Result};

use crate::raw::{Js, Type, Value};

/// Reads ConnectOptions. `Err`: a setting that cannot be; it names it.
pub(crate) fn read(js: Js, options: Value) -> Result<Config> {
    let text = |name: &CStr| js.get_string(js.property(options, name));
    let flag = |name: &CStr| js.get_bool(js.property(options, name)).unwrap_or(false);
    let millis = |name: &CStr| {
        let number = js.get_number(js.property(options, name))?;
        (number.is_finite() && number >= 0.0).then(|| Duration::from_millis(number as u64))
    };

    let list = js.property(options, c"hosts");
    let mut hosts = Vec::new();
    for index in 0..js.length(list) {
        let host = js.element(list, index);
        let name = js.get_string(js.property(host, c"host"));
        let port = js.get_number(js.property(host, c"port"));
        let port = port.filter(|port| (0.0..=65535.0).contains(port) && port.fract() == 0.0);
        match (name, port) {
            (Some(host), Some(port)) => hosts.push(Host {
                host,
                port: port as u16,
            }),
            _ => return Err(invalid("host", "a host's name and its port from 0 to 65535")),
        }
    }
    if hosts.is_empty() {
        return Err(invalid("hosts", "one host or more"));
    }

    let pairs = js.property(options, c"params");
    let mut params = Vec::new();
    for index in 0..js.length(pairs) {
        let pair = js.element(pairs, index);
        let name = js.get_string(js.element(pair, 0));
        let value = js.get_string(js.element(pair, 1));
        params.extend(name.zip(value));
    }

    let mode = text(c"sslMode").unwrap_or_default();
    let ssl_mode = SslMode::parse(&mode).ok_or_else(|| invalid("sslmode", "one of libpq's, or no-verify"))?;
    let target = match text(c"targetSessionAttrs") {
        None => TargetSessionAttrs::Any,
        Some(name) => {
            TargetSessionAttrs::parse(&name).ok_or_else(|| invalid("target_session_attrs", "one of libpq's"))?
        }
    };
    let pem = |name: &CStr| text(name).map(String::into_bytes);
    let trust = match text(c"trust").as_deref() {
        Some("files") => Trust::Files(places(js, options)),
        _ => Trust::Given,
    };
    let path = |name: &CStr| text(name).map(std::path::PathBuf::from);
    let tls = TlsOptions {
        ca: pem(c"ca"),
        ca_file: path(c"caFile"),
        trust,
        cert: pem(c"cert"),
        cert_file: path(c"certFile"),
        key: pem(c"key"),
        key_file: path(c"keyFile"),
        passphrase: text(c"passphrase"),
        server_name: text(c"serverName"),
        direct: flag(c"directTls"),
    };

    let mut config = Config::new(
        "",
        0,
        &text(c"database").unwrap_or_default(),
        &text(c"user").unwrap_or_default(),
    );
    config.hosts = hosts;
    config.password = text(c"password");
    config.ssl_mode = ssl_mode;
    config.tls = tls;
    config.target_session_attrs = target;
    config.params = params;
    config.channel_binding = match js.type_of(js.property(options, c"channelBinding")) {
        Type::Boolean => flag(c"channelBinding"),
        _ => text(c"channelBinding").is_some_and(|mode| mode != "disable"),
    };
    if let Some(limit) = js.get_number(js.property(options, c"scramMaxIterations")) {
        // 0 and Infinity: no limit.
        config.scram_max_iterations = if limit.is_finite() && limit > 0.0 {
            limit as u32
        } else {
            0
        };
    }
    config.connect_timeout = millis(c"connectTimeoutMillis").filter(|limit| !limit.is_zero());
    config.keepalive = millis(c"keepAliveMillis");
    Ok(config)
}

/// The strings of an array; none when it is no array.
pub(crate) fn strings(js: Js, list: Value) -> Vec<String> {
    (0..js.length(list))
        .filter_map(|index| js.get_string(js.element(list, index)))
        .collect()
}

/// Where the roots of getPool are looked for. JavaScript knows the entry module's folder and Node's own roots.
fn places(js: Js, options: Value) -> Places {
    let lookup = |name: &str| match name {
        "HOME" => js
            .get_string(js.property(options, c"home"))
            .or_else(|| std::env::var(name).ok()),
        _ => None,
    };
    let mut places = Places::of_process(&lookup);
    let folders = js.property(options, c"entryFolders");
    places.entry_folders = strings(js, folders).into_iter().map(Into::into).collect();
    places.extra_roots = js
        .get_string(js.property(options, c"extraRoots"))
        .map(|pem| Arc::from(pem.into_bytes()));
    places
}

/// Writes a Config as ConnectOptions, so that [`read`] makes the same of it.
pub(crate) fn write(js: Js, config: &Config) -> Value {
    let object = js.object();
    let set_text = |name: &CStr, text: Option<&str>| {
        if let Some(text) = text {
            js.set(object, name, js.string(text));
        }
    };
    let hosts: Vec<Value> = config
        .hosts
        .iter()
        .map(|host| {
            let object = js.object();
            js.set(object, c"host", js.string(&host.host));
            js.set(object, c"port", js.int(host.port.into()));
            object
        })
        .collect();
    let params: Vec<Value> = config
        .params
        .iter()
        .map(|(name, value)| js.array(&[js.string(name), js.string(value)]))
        .collect();
    js.set(object, c"hosts", js.array(&hosts));
    js.set(object, c"params", js.array(&params));
    set_text(c"database", Some(&config.database));
    set_text(c"user", Some(&config.user));
    set_text(c"password", config.password.as_deref());
    set_text(c"sslMode", Some(config.ssl_mode.name()));
    set_text(c"targetSessionAttrs", Some(config.target_session_attrs.name()));
    let tls = &config.tls;
    let pem = |bytes: &Option<Vec<u8>>| bytes.as_deref().map(|pem| String::from_utf8_lossy(pem).into_owned());
    let path = |file: &Option<std::path::PathBuf>| file.as_deref().map(|file| file.to_string_lossy().into_owned());
    set_text(c"ca", pem(&tls.ca).as_deref());
    set_text(c"cert", pem(&tls.cert).as_deref());
    set_text(c"key", pem(&tls.key).as_deref());
    set_text(c"caFile", path(&tls.ca_file).as_deref());
    set_text(c"certFile", path(&tls.cert_file).as_deref());
    set_text(c"keyFile", path(&tls.key_file).as_deref());
    set_text(c"passphrase", tls.passphrase.as_deref());
    set_text(c"serverName", tls.server_name.as_deref());
    js.set(object, c"directTls", js.bool(tls.direct));
    let trust = match &tls.trust {
        Trust::Given => "given",
        Trust::Files(places) => {
            set_text(c"home", path(&places.home).as_deref());
            "files"
        }
    };
    set_text(c"trust", Some(trust));
    js.set(object, c"channelBinding", js.bool(config.channel_binding));
    js.set(
        object,
        c"scramMaxIterations",
        js.number(f64::from(config.scram_max_iterations)),
    );
    let set_millis = |name: &CStr, time: Option<Duration>| {
        if let Some(time) = time {
            js.set(object, name, js.number(time.as_millis() as f64));
        }
    };
    set_millis(c"connectTimeoutMillis", config.connect_timeout);
    set_millis(c"keepAliveMillis", config.keepalive);
    object
}

fn invalid(name: &str, wanted: &str) -> Error {
    Error::new(Kind::Config, format!("invalid {name}: it must be {wanted}"))
}
