//! The shared pool's limits and the log level, from the environment.

use std::time::Duration;

use super::environment::{millis, number, switch};
use super::settings::Lookup;
use crate::Result;

/// What `POOL_*` and `LOG_LEVEL` say. Durations: `None` = no limit (the variable is 0).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolSettings {
    /// POOL_MAX_SIZE: connections at most (3).
    pub max: usize,
    /// POOL_IDLE_TIMEOUT: an idle connection is closed after this long (10,000 ms).
    pub idle_timeout: Option<Duration>,
    /// POOL_CONNECT_TIMEOUT: from acquire to delivery, connecting included (5,000 ms).
    pub connect_timeout: Option<Duration>,
    /// POOL_QUERY_TIMEOUT: for one query (10,000 ms).
    pub query_timeout: Option<Duration>,
    /// PREPARE_STATEMENTS: whether texts that come again are prepared by themselves (on).
    pub prepare_statements: PrepareStatements,
    /// PIPELINE_QUERIES: one-shot queries in flight on one connection when all are busy (8; 1 or off = none share).
    pub pipeline_queries: usize,
    /// POOL_PER_FUNCTION_METRICS: one pool a name (off).
    pub per_function_metrics: bool,
    /// LOG_LEVEL in lower case (`info`). Any word is taken: other programs read this variable too.
    pub log_level: String,
}

/// What PREPARE_STATEMENTS can say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PrepareStatements {
    /// `off`.
    Off,
    /// `on`: on connections that are the server's own, not a pooler's.
    On,
    /// `always`: behind a pooler, too, which must then keep its clients' names apart.
    Always,
}

impl Default for PoolSettings {
    fn default() -> PoolSettings {
        PoolSettings {
            max: 3,
            idle_timeout: Some(Duration::from_millis(10_000)),
            connect_timeout: Some(Duration::from_millis(5_000)),
            query_timeout: Some(Duration::from_millis(10_000)),
            prepare_statements: PrepareStatements::On,
            pipeline_queries: 8,
            per_function_metrics: false,
            log_level: "info".to_owned(),
        }
    }
}

impl PoolSettings {
    /// Reads `POOL_*` and `LOG_LEVEL`. An empty variable counts as not set.
    pub fn from_environment(lookup: Lookup<'_>) -> Result<PoolSettings> {
        let default = PoolSettings::default();
        Ok(PoolSettings {
            max: number(lookup, "POOL_MAX_SIZE", 1..=10_000)?.map_or(default.max, |n| n as usize),
            idle_timeout: millis(lookup, "POOL_IDLE_TIMEOUT", default.idle_timeout)?,
            connect_timeout: millis(lookup, "POOL_CONNECT_TIMEOUT", default.connect_timeout)?,
            query_timeout: millis(lookup, "POOL_QUERY_TIMEOUT", default.query_timeout)?,
            prepare_statements: match lookup("PREPARE_STATEMENTS").as_deref().map(str::trim) {
                Some("always") => PrepareStatements::Always,
                _ => match switch(lookup, "PREPARE_STATEMENTS")? {
                    Some(false) => PrepareStatements::Off,
                    _ => PrepareStatements::On,
                },
            },
            pipeline_queries: match lookup("PIPELINE_QUERIES").as_deref().map(str::trim) {
                Some("off") => 1,
                _ => number(lookup, "PIPELINE_QUERIES", 1..=8)?.map_or(default.pipeline_queries, |n| n as usize),
            },
            per_function_metrics: switch(lookup, "POOL_PER_FUNCTION_METRICS")?.unwrap_or(false),
            log_level: lookup("LOG_LEVEL")
                .map(|level| level.trim().to_ascii_lowercase())
                .filter(|level| !level.is_empty())
                .unwrap_or(default.log_level),
        })
    }

    /// Whether the chatty lines (connects, acquires, removals) are wanted.
    pub fn is_debug(&self) -> bool {
        matches!(self.log_level.as_str(), "debug" | "trace")
    }
}
