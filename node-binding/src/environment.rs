//! `environment`: the settings of getPool from an object of environment variables.

use std::collections::HashMap;
use std::time::Duration;

use heys_core::Result;
use heys_core::config::{Config, PoolSettings, PrepareStatements, trust};

use crate::options;
use crate::raw::{Js, Value};

/// Copies an object's string properties (a snapshot of `process.env`).
pub(crate) fn variables(js: Js, env: Value) -> HashMap<String, String> {
    let mut out = HashMap::new();
    let Some(names) = js.property_names(env) else {
        return out;
    };
    for index in 0..js.length(names) {
        let name = js.element(names, index);
        if let (Some(key), Some(value)) = (js.get_string(name), js.get_string(js.property_of(env, name))) {
            out.insert(key, value);
        }
    }
    out
}

/// The border's answer.
pub(crate) fn read(js: Js, env: Value) -> Result<Value> {
    let variables = variables(js, env);
    let lookup = |name: &str| variables.get(name).cloned();
    let settings = PoolSettings::from_environment(&lookup)?;
    let config = Config::from_environment(&lookup)?;
    let millis = |time: Option<Duration>| js.number(time.map_or(0.0, |time| time.as_millis() as f64));
    let pool = js.object();
    js.set(pool, c"max", js.number(settings.max as f64));
    js.set(pool, c"idleTimeoutMillis", millis(settings.idle_timeout));
    js.set(pool, c"connectionTimeoutMillis", millis(settings.connect_timeout));
    js.set(pool, c"query_timeout", millis(settings.query_timeout));
    let prepare = match settings.prepare_statements {
        PrepareStatements::Off => js.bool(false),
        PrepareStatements::On => js.bool(true),
        PrepareStatements::Always => js.string("always"),
    };
    js.set(pool, c"prepareStatements", prepare);
    js.set(pool, c"pipelineQueries", js.number(settings.pipeline_queries as f64));
    let out = js.object();
    js.set(out, c"pool", pool);
    js.set(out, c"connect", options::write(js, &config));
    js.set(out, c"perFunctionMetrics", js.bool(settings.per_function_metrics));
    js.set(out, c"systemRoots", js.bool(trust::has_system_store()));
    js.set(out, c"logLevel", js.string(&settings.log_level));
    Ok(out)
}
