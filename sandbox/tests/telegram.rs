//! The recorder takes what the Bot API takes, and answers as it is told.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use bytes::Bytes;
use heys_sandbox::{Telegram, TelegramAnswer, TelegramOptions};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

async fn start() -> Telegram {
    Telegram::start(TelegramOptions::default()).await.unwrap()
}

async fn post(url: String, kind: &str, body: String) -> Result<(u16, Value), Error> {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let request = Request::post(url)
        .header("content-type", kind)
        .body(Full::new(Bytes::from(body)))
        .unwrap();
    let response = client.request(request).await?;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    Ok((status, serde_json::from_slice(&body).unwrap()))
}

fn url(telegram: &Telegram, token: &str, method: &str) -> String {
    format!("{}/bot{token}/{method}", telegram.info().api_base)
}

async fn send(telegram: &Telegram, text: &str) -> Result<(u16, Value), Error> {
    let body = serde_json::json!({ "chat_id": -100, "text": text }).to_string();
    post(
        url(telegram, &telegram.info().token, "sendMessage"),
        "application/json",
        body,
    )
    .await
}

#[tokio::test]
async fn messages_are_recorded_from_json_and_forms() {
    let telegram = start().await;
    let (status, body) = send(&telegram, "in JSON").await.unwrap();
    assert_eq!((status, &body["ok"]), (200, &Value::Bool(true)));
    let form = "chat_id=-100&text=in+a%20form%2C+%D0%B4%D0%B0&parse_mode=HTML".to_owned();
    let target = url(&telegram, &telegram.info().token, "sendMessage");
    assert_eq!(
        post(target, "application/x-www-form-urlencoded", form).await.unwrap().0,
        200
    );
    let messages = telegram.messages();
    let texts: Vec<(&str, &str)> = messages
        .iter()
        .map(|message| (&*message.chat_id, &*message.text))
        .collect();
    assert_eq!(texts, [("-100", "in JSON"), ("-100", "in a form, да")]);
    assert_eq!(messages[1].parameters["parse_mode"], "HTML");
    assert!(messages.iter().all(|message| message.delivered));
}

#[tokio::test]
async fn wrong_tokens_methods_and_texts_are_refused() {
    let telegram = start().await;
    let json = |body: &str| (String::from("application/json"), body.to_owned());
    let token = &telegram.info().token;
    let (kind, body) = json(r#"{"chat_id": 1, "text": "x"}"#);
    assert_eq!(
        post(url(&telegram, "1:wrong", "sendMessage"), &kind, body.clone())
            .await
            .unwrap()
            .0,
        401
    );
    assert_eq!(
        post(url(&telegram, token, "sendPhoto"), &kind, body).await.unwrap().0,
        404
    );
    assert!(telegram.messages().is_empty());
    let (status, body) = send(&telegram, &"x".repeat(4097)).await.unwrap();
    assert_eq!(
        (status, &body["description"]),
        (400, &Value::from("Bad Request: message is too long"))
    );
    assert_eq!(send(&telegram, "").await.unwrap().0, 400);
    assert_eq!(send(&telegram, &"ы".repeat(4096)).await.unwrap().0, 200);
}

#[tokio::test]
async fn answers_come_in_the_order_in_which_they_were_set() {
    let telegram = start().await;
    telegram.answer(TelegramAnswer::TooManyRequests { retry_after: 3 }, 1);
    telegram.answer(TelegramAnswer::Success, 1);
    telegram.answer(
        TelegramAnswer::Error {
            status: 500,
            description: "Internal".into(),
        },
        2,
    );
    telegram.answer(TelegramAnswer::Reset, 0);
    let (status, body) = send(&telegram, "1").await.unwrap();
    assert_eq!((status, &body["parameters"]["retry_after"]), (429, &Value::from(3)));
    assert_eq!(send(&telegram, "2").await.unwrap().0, 200);
    assert_eq!(send(&telegram, "3").await.unwrap().0, 500);
    assert_eq!(send(&telegram, "4").await.unwrap().0, 500);
    assert!(send(&telegram, "5").await.is_err());
    assert!(send(&telegram, "6").await.is_err());
    let delivered: Vec<bool> = telegram.messages().iter().map(|message| message.delivered).collect();
    assert_eq!(delivered, [false, true, false, false, false, false]);
    telegram.clear();
    assert_eq!(send(&telegram, "7").await.unwrap().0, 200);
}

#[tokio::test]
async fn a_stall_ends_with_its_time_or_a_clearing() {
    let telegram = start().await;
    telegram.answer(TelegramAnswer::Stall { for_millis: Some(100) }, 1);
    assert_eq!(send(&telegram, "short").await.unwrap().0, 200);
    telegram.clear();
    telegram.answer(TelegramAnswer::Stall { for_millis: None }, 1);
    let stalled = send(&telegram, "long");
    tokio::pin!(stalled);
    assert!(
        tokio::time::timeout(Duration::from_millis(100), &mut stalled)
            .await
            .is_err()
    );
    telegram.wait_for_messages(1).await;
    assert_eq!(telegram.messages()[0].status, None);
    telegram.clear();
    assert_eq!(stalled.await.unwrap().0, 200);
}
