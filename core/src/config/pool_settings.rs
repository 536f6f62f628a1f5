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
    /// POOL_PER_FUNCTION_METRICS: one pool a name (off).
    pub per_function_metrics: bool,
    /// LOG_LEVEL in lower case (`info`). Any word is taken: other programs read this variable too.
    pub log_level: String,
}

impl Default for PoolSettings {
    fn default() -> PoolSettings {
        PoolSettings {
            max: 3,
            idle_timeout: Some(Duration::from_millis(10_000)),
            connect_timeout: Some(Duration::from_millis(5_000)),
            query_timeout: Some(Duration::from_millis(10_000)),
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
