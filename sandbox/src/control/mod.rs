//! The sandbox for other languages: what to start as JSON, then commands and answers as JSON.

use std::net::{Ipv4Addr, SocketAddr};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::postgres::{Postgres, PostgresOptions};
use crate::proxy::parse_target;
use crate::s3::{S3, S3Options};
use crate::telegram::{Telegram, TelegramOptions};
use proxy::Proxies;

mod postgres;
mod proxy;
mod s3;
mod telegram;

/// What to start; a part that is missing or `null` is not started, `{}` takes the defaults.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Request {
    /// A PostgreSQL cluster.
    pub postgres: Option<PostgresOptions>,
    /// An S3.
    pub s3: Option<S3Options>,
    /// A Telegram.
    pub telegram: Option<TelegramOptions>,
    /// A first proxy; others come with `proxy.listen`.
    pub proxy: Option<ProxyOptions>,
}

/// Where the first proxy goes.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ProxyOptions {
    /// `postgres`, `s3`, `telegram` or an address with a port; by default the first of the three that was started.
    pub target: Option<String>,
}

/// Everything that was started. Dropping it stops it.
#[derive(Debug)]
pub struct Sandbox {
    postgres: Option<Postgres>,
    s3: Option<S3>,
    telegram: Option<Telegram>,
    proxies: Proxies,
    /// As `describe` shows it.
    first_proxy: Option<Value>,
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
        let telegram = match request.telegram {
            Some(options) => Some(Telegram::start(options).await?),
            None => None,
        };
        let mut sandbox = Sandbox {
            postgres,
            s3,
            telegram,
            proxies: Proxies::default(),
            first_proxy: None,
        };
        if let Some(options) = request.proxy {
            let target = options.target.as_deref().unwrap_or_else(|| sandbox.first_part());
            sandbox.first_proxy = Some(sandbox.proxies.listen(sandbox.address(target)?).await?);
        }
        Ok(sandbox)
    }

    fn first_part(&self) -> &'static str {
        match (&self.postgres, &self.s3) {
            (Some(_), _) => "postgres",
            (None, Some(_)) => "s3",
            (None, None) => "telegram",
        }
    }

    /// A part's address by its name, or the address itself.
    fn address(&self, target: &str) -> Result<SocketAddr> {
        let port = match target {
            "postgres" => started(&self.postgres, target)?.info().port,
            "s3" => started(&self.s3, target)?.info().port,
            "telegram" => started(&self.telegram, target)?.info().port,
            _ => return parse_target(target),
        };
        Ok((Ipv4Addr::LOCALHOST, port).into())
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
        if let Some(telegram) = &self.telegram {
            all.insert("telegram".into(), serde_json::to_value(telegram.info())?);
        }
        if let Some(proxy) = &self.first_proxy {
            all.insert("proxy".into(), proxy.clone());
        }
        Ok(all.into())
    }

    /// Runs one command, `part.verb`, with its arguments.
    pub async fn run(&self, command: &str, arguments: Value) -> Result<Value> {
        match command.split_once('.') {
            Some(("postgres", verb)) => postgres::run(started(&self.postgres, "postgres")?, verb, arguments).await,
            Some(("s3", verb)) => s3::run(started(&self.s3, "s3")?, verb, arguments).await,
            Some(("telegram", verb)) => telegram::run(started(&self.telegram, "telegram")?, verb, arguments).await,
            Some(("proxy", verb)) => self.proxies.run(verb, arguments, |target| self.address(target)).await,
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
