//! `postgres.*`: stop, start, restart, sql, log.

use serde::Deserialize;
use serde_json::Value;

use super::{parse, unknown};
use crate::error::Result;
use crate::postgres::{Postgres, PostgresOptions, StopMode};

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Stop {
    mode: StopMode,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Restart {
    mode: StopMode,
    options: Option<PostgresOptions>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sql {
    database: Option<String>,
    sql: String,
}

pub(super) async fn run(postgres: &Postgres, verb: &str, arguments: Value) -> Result<Value> {
    match verb {
        "stop" => postgres.stop(parse::<Stop>(arguments)?.mode).await?,
        "start" => postgres.start_again().await?,
        "restart" => {
            let restart: Restart = parse(arguments)?;
            postgres.restart(restart.mode, restart.options).await?;
        }
        "log" => return Ok(postgres.log().await?.into()),
        "sql" => {
            let sql: Sql = parse(arguments)?;
            let database = sql.database.as_deref().unwrap_or(&postgres.info().database);
            return Ok(postgres.sql(database, &sql.sql).await?.into());
        }
        _ => return Err(unknown(&format!("postgres.{verb}"))),
    }
    Ok(Value::Null)
}
