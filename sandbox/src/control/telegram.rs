//! `telegram.*`: messages, answer, clear, waitForMessages.

use serde::Deserialize;
use serde_json::Value;

use super::{parse, unknown};
use crate::error::Result;
use crate::telegram::{Telegram, TelegramAnswer};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    answer: TelegramAnswer,
    #[serde(default = "one")]
    times: u32,
}

fn one() -> u32 {
    1
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wait {
    count: usize,
}

pub(super) async fn run(telegram: &Telegram, verb: &str, arguments: Value) -> Result<Value> {
    match verb {
        "messages" => return Ok(serde_json::to_value(telegram.messages())?),
        "answer" => {
            let Answer { answer, times } = parse(arguments)?;
            telegram.answer(answer, times);
        }
        "clear" => telegram.clear(),
        "waitForMessages" => telegram.wait_for_messages(parse::<Wait>(arguments)?.count).await,
        _ => return Err(unknown(&format!("telegram.{verb}"))),
    }
    Ok(Value::Null)
}
