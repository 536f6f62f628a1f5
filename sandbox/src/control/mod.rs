//! The sandbox for other languages: what to start as JSON, then commands and answers as JSON.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::postgres::{Postgres, PostgresOptions};
use crate::s3::{S3, S3Options};

mod postgres;
mod s3;

/// What to start; a part that is missing or `null` is not started, `{}` takes the defaults.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Request {
    /// A PostgreSQL cluster.
    pub postgres: Option<PostgresOptions>,
    /// An S3.
    pub s3: Option<S3Options>,
}

/// Everything that was started. Dropping it stops it.
#[derive(Debug)]
pub struct Sandbox {
    postgres: Option<Postgres>,
    s3: Option<S3>,
}

impl Sandbox {
    /// Starts what is asked for; resolves when all of it answers.
    pub async fn start(request: Request) -> Result<Sandbox> {
        let postgres = match request.postgres {
            Some(options) => Some(Postgres::start(options).await?),
            None => None,
        };
        let s3 = match request.s3 {
            Some(options) => Some(S3::start(options).await?),
            None => None,
        };
        Ok(Sandbox { postgres, s3 })
    }

    /// Ports, URLs, users, passwords and paths, by part.
    pub fn describe(&self) -> Result<Value> {
        let mut all = serde_json::Map::new();
        if let Some(postgres) = &self.postgres {
            all.insert("postgres".into(), serde_json::to_value(postgres.info())?);
        }
        if let Some(s3) = &self.s3 {
            all.insert("s3".into(), serde_json::to_value(s3.info())?);
        }
        Ok(all.into())
    }

    /// Runs one command, `part.verb`, with its arguments.
    pub async fn run(&self, command: &str, arguments: Value) -> Result<Value> {
        match command.split_once('.') {
            Some(("postgres", verb)) => postgres::run(started(&self.postgres, "postgres")?, verb, arguments).await,
            Some(("s3", verb)) => s3::run(started(&self.s3, "s3")?, verb, arguments).await,
            _ => Err(unknown(command)),
        }
    }
}

fn started<'a, T>(part: &'a Option<T>, name: &str) -> Result<&'a T> {
    part.as_ref()
        .ok_or_else(|| Error::new(format!("{name} was not started")))
}

fn parse<T: DeserializeOwned>(arguments: Value) -> Result<T> {
    let arguments = if arguments.is_null() { json!({}) } else { arguments };
    Ok(serde_json::from_value(arguments)?)
}

fn unknown(command: &str) -> Error {
    Error::new(format!("unknown command {command}"))
}

/// A line of input: `{"id": 1, "command": "postgres.stop", "arguments": {"mode": "immediate"}}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// Comes back with the answer; commands run at the same time and may answer in another order.
    pub id: Value,
    /// `part.verb`.
    pub command: String,
    /// An object; missing means `{}`.
    #[serde(default)]
    pub arguments: Value,
}

/// A line of output: `result`, or `error` as a sentence.
#[derive(Debug, Serialize)]
pub struct Answer {
    /// The command's id; `null` if its line could not be read.
    pub id: Value,
    /// What the command returned, perhaps `null`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<Value>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Answer {
    /// The answer to the command `id`.
    pub fn new(id: Value, outcome: Result<Value>) -> Answer {
        match outcome {
            Ok(result) => Answer {
                id,
                result: Some(result),
                error: None,
            },
            Err(error) => Answer {
                id,
                result: None,
                error: Some(error.to_string()),
            },
        }
    }
}
