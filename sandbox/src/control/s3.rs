//! `s3.*`: faults, rules, what is stored, what was asked. Bodies travel as base64, times as milliseconds since 1970.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use openssl::base64;
use serde::Deserialize;
use serde_json::Value;

use super::{parse, unknown};
use crate::error::{Context, Error, Result};
use crate::s3::{Fault, S3};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Key {
    key: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PutObject {
    key: String,
    body: String,
    modified: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PutUpload {
    key: String,
    initiated: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SaveObject {
    key: String,
    path: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WaitForRequests {
    operation: String,
    #[serde(default = "one")]
    count: usize,
    #[serde(default)]
    answered: bool,
}

fn one() -> usize {
    1
}

pub(super) async fn run(s3: &S3, verb: &str, arguments: Value) -> Result<Value> {
    match verb {
        "fault" => s3.fault(parse::<Fault>(arguments)?),
        "faults" => return Ok(serde_json::to_value(s3.faults())?),
        "clearFaults" => s3.clear_faults(),
        "configure" => {
            // What is not named stays.
            let mut rules = serde_json::to_value(s3.rules())?;
            if let (Some(rules), Value::Object(changes)) = (rules.as_object_mut(), arguments) {
                rules.extend(changes);
            }
            let rules = serde_json::from_value(rules)?;
            s3.set_rules(rules);
        }
        "objects" => return Ok(serde_json::to_value(s3.objects()?)?),
        "uploads" => return Ok(serde_json::to_value(s3.uploads()?)?),
        "requests" => return Ok(serde_json::to_value(s3.requests())?),
        "clearRequests" => s3.clear_requests(),
        "waitForRequests" => {
            let wait: WaitForRequests = parse(arguments)?;
            s3.wait_for_requests(&wait.operation, wait.count, wait.answered).await;
        }
        "putObject" => {
            let put: PutObject = parse(arguments)?;
            let body = base64::decode_block(&put.body).context(|| "body is not base64".into())?;
            s3.put_object(&put.key, &body, put.modified.map(time).transpose()?)?;
        }
        "putUpload" => {
            let put: PutUpload = parse(arguments)?;
            return Ok(s3.put_upload(&put.key, put.initiated.map(time).transpose()?)?.into());
        }
        "getObject" => return Ok(base64::encode_block(&s3.object(&parse::<Key>(arguments)?.key)?).into()),
        "saveObject" => {
            let save: SaveObject = parse(arguments)?;
            s3.save_object(&save.key, &save.path)?;
        }
        "deleteObject" => s3.delete_object(&parse::<Key>(arguments)?.key)?,
        "clear" => s3.clear(),
        _ => return Err(unknown(&format!("s3.{verb}"))),
    }
    Ok(Value::Null)
}

fn time(millis: u64) -> Result<SystemTime> {
    UNIX_EPOCH
        .checked_add(Duration::from_millis(millis))
        .ok_or_else(|| Error::new("a time beyond the clock"))
}
