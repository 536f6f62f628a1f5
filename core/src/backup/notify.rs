//! Telling a Telegram chat: every failure, and success on Sundays, so that silence means something.
//!
//! A message holds no secret and nothing from the database's rows. Whatever goes wrong here is a warning at most.

use std::time::{Duration, Instant};

use super::key::UtcTime;
use super::report::Report;
use super::settings::Telegram;
use crate::net::https::Client;
use crate::{Error, Result};

/// Characters of a message (Bot API, sendMessage: at most 4,096 after entities).
const LONGEST: usize = 4000;
const ATTEMPTS: u32 = 4;
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);
const FIRST_DELAY: Duration = Duration::from_millis(500);

/// What is told about a run, or `None` when this outcome is not worth a message. `begun` decides whether it is Sunday.
pub(super) fn message(outcome: &Result<Report>, database: &str, bucket: &str, begun: UtcTime) -> Option<String> {
    let text = match outcome {
        Ok(report) if begun.is_sunday() => {
            let warnings = match report.warnings.len() {
                0 => String::new(),
                n => format!("\nWarnings: {n}"),
            };
            format!(
                "✅ Backup of {database} done\nKey: {}\nBucket: {bucket}\nSize: {} ({} before gzip)\nTime: {} s\nPruned: {}{warnings}",
                report.key,
                megabytes(report.bytes),
                megabytes(report.raw_bytes),
                report.duration.as_secs(),
                report.deleted.len(),
            )
        }
        Ok(_) => return None,
        Err(error) => failure(error, database, bucket, begun),
    };
    Some(text.chars().take(LONGEST).collect())
}

fn failure(error: &Error, database: &str, bucket: &str, begun: UtcTime) -> String {
    format!(
        "❌ Backup of {database} FAILED\nBegun: {begun}\nBucket: {bucket}\nERROR: {error}\nOlder backups were not touched."
    )
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

/// Sends `text`; gives up at `until`. The error is a sentence without the token.
pub(super) async fn send(http: &Client, telegram: &Telegram, text: &str, until: Instant) -> Result<(), String> {
    let url = format!("{}/bot{}/sendMessage", telegram.api_base, telegram.token);
    let body = format!(
        "{{\"chat_id\":{},\"text\":{},\"disable_web_page_preview\":true}}",
        quoted(&telegram.chat_id),
        quoted(text)
    );
    let attempts = async {
        let mut delay = FIRST_DELAY;
        let mut attempt = 1;
        loop {
            let (why, wait) = match tokio::time::timeout(ATTEMPT_TIMEOUT, http.post_json(&url, body.clone())).await {
                Ok(Ok(answer)) => {
                    let text = String::from_utf8_lossy(answer.body());
                    match answer.status().as_u16() {
                        200..=299 => return Ok(()),
                        429 => (
                            "it is asked too often (429)".to_owned(),
                            retry_after(&text).unwrap_or(delay),
                        ),
                        status @ 500.. => (format!("HTTP status {status}"), delay),
                        status => return Err(refusal(status, &text)),
                    }
                }
                Ok(Err(error)) => (error.to_string(), delay),
                Err(_) => (format!("no answer within {ATTEMPT_TIMEOUT:?}"), delay),
            };
            if attempt == ATTEMPTS || Instant::now() + wait >= until {
                return Err(format!("{why} ({attempt} attempts)"));
            }
            tokio::time::sleep(wait).await;
            delay *= 2;
            attempt += 1;
        }
    };
    tokio::time::timeout_at(until.into(), attempts)
        .await
        .unwrap_or_else(|_| Err("no time was left".to_owned()))
        .map_err(|why| {
            format!(
                "[Telegram] ERROR: the message was not delivered: {}",
                why.replace(&telegram.token, "***")
            )
        })
}

fn refusal(status: u16, answer: &str) -> String {
    let hint = match status {
        401 | 404 => "check TELEGRAM_BOT_TOKEN",
        400 | 403 => "check TELEGRAM_CHAT_ID, and that the bot may write to that chat",
        _ => "see the Bot API's description of the status",
    };
    let said = text_after(answer, "\"description\":\"")
        .and_then(|rest| rest.split('"').next())
        .unwrap_or("");
    format!("HTTP status {status} {said}; {hint}")
}

/// `{"ok":false,"error_code":429,"parameters":{"retry_after":5}}` (Bot API, ResponseParameters): seconds.
fn retry_after(answer: &str) -> Option<Duration> {
    let rest = text_after(answer, "\"retry_after\"")?
        .trim_start()
        .strip_prefix(':')?
        .trim_start();
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok().map(Duration::from_secs)
}

fn text_after<'a>(text: &'a str, mark: &str) -> Option<&'a str> {
    text.split_once(mark).map(|(_, rest)| rest)
}

/// A JSON string (RFC 8259, section 7).
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            c if c < ' ' => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::error::Kind;

    fn report() -> Report {
        Report {
            key: "db-2026-11-22T03-00-00.dump.gz".into(),
            bucket: "b".into(),
            bytes: 12_345_678,
            raw_bytes: 50_000_000,
            sha256: String::new(),
            duration: Duration::from_secs(61),
            parts: 2,
            deleted: vec!["x".into()],
            refused: Vec::new(),
            warnings: Vec::new(),
            storage_class: None,
            encryption: None,
            server_version: String::new(),
            pg_dump_version: String::new(),
        }
    }

    const SUNDAY: i64 = 1_795_316_400; // 2026-11-22 03:00 UTC

    #[test]
    fn failures_are_told_every_day_and_success_on_sundays() {
        let failed = || Err(Error::new(Kind::Dump, "pg_dump failed"));
        for day in 0..7 {
            let begun = UtcTime::from_unix(SUNDAY + day * 86_400);
            assert!(message(&failed(), "db", "b", begun).unwrap().contains("pg_dump failed"));
            assert_eq!(message(&Ok(report()), "db", "b", begun).is_some(), day == 0);
        }
    }

    #[test]
    fn the_message_of_success_has_the_numbers() {
        let text = message(&Ok(report()), "db", "b", UtcTime::from_unix(SUNDAY)).unwrap();
        assert!(
            text.contains("12.3 MB") && text.contains("61 s") && text.contains("Pruned: 1"),
            "{text}"
        );
    }

    #[test]
    fn a_message_is_never_too_long() {
        let error = Error::new(Kind::Dump, "ы".repeat(10_000));
        let text = message(&Err(error), "db", "b", UtcTime::from_unix(0)).unwrap();
        assert_eq!(text.chars().count(), LONGEST);
    }

    #[test]
    fn any_text_becomes_a_json_string() {
        assert_eq!(quoted("a\"b\\c\nd\u{1}é"), "\"a\\\"b\\\\c\\nd\\u0001é\"");
    }

    #[test]
    fn the_pause_asked_for_is_found() {
        let answer = r#"{"ok":false,"error_code":429,"parameters":{"retry_after": 7}}"#;
        assert_eq!(retry_after(answer), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("{}"), None);
        assert_eq!(retry_after(r#"{"retry_after":"soon"}"#), None);
    }
}
