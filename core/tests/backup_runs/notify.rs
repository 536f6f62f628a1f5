//! Telegram: told once, obeyed, and never in the way.

use std::time::{Duration, Instant};

use heys_core::backup::{self, CancelToken};
use heys_sandbox::TelegramAnswer;

use crate::bench::{Bench, lookup, variables};

fn busy(retry_after: u64) -> TelegramAnswer {
    TelegramAnswer::TooManyRequests { retry_after }
}

fn broken() -> TelegramAnswer {
    TelegramAnswer::Error {
        status: 500,
        description: String::new(),
    }
}

#[tokio::test]
async fn the_pause_asked_for_is_kept() {
    let bench = Bench::with_dump("exit 1").await;
    bench.telegram.answer(busy(1), 1);
    let begun = Instant::now();
    bench.fails().await;
    assert!(begun.elapsed() >= Duration::from_secs(1));
    assert_eq!(bench.telegram.messages().len(), 2);
}

#[tokio::test]
async fn errors_and_resets_are_repeated() {
    let bench = Bench::with_dump("exit 1").await;
    bench.telegram.answer(broken(), 1);
    bench.telegram.answer(TelegramAnswer::Reset, 1);
    bench.fails().await;
}

#[tokio::test]
async fn a_chat_that_cannot_be_reached_changes_neither_error_nor_report() {
    for answer in [
        broken(),
        busy(3600),
        TelegramAnswer::Stall { for_millis: None },
        TelegramAnswer::Error {
            status: 403,
            description: "Forbidden: bot was kicked".to_owned(),
        },
    ] {
        let mut bench = Bench::with_dump("exit 7").await;
        bench.settings.deadline = Some(Instant::now() + Duration::from_secs(5));
        bench.telegram.answer(answer, 0);
        let error = bench.run().await.unwrap_err();
        assert!(error.message().contains("exit code 7"), "{error}");
        let told = format!("{:?}", bench.told.lock().unwrap());
        assert!(told.contains("[Telegram] ERROR"), "{told}");
        bench.assert_no_secret(&told);
        assert!(Instant::now() < bench.settings.deadline.unwrap());
    }
}

#[tokio::test]
async fn settings_that_are_wrong_are_told_too() {
    let bench = Bench::new().await;
    let mut variables = variables(bench.postgres, &bench.s3, &bench.telegram);
    variables.push(("BACKUP_MIN_KEEP".to_owned(), "none".to_owned()));
    let lookup = move |name: &str| lookup(&variables, name);
    let error = backup::run_from_environment(&lookup, |_| Ok(()), |_| {}, CancelToken::new())
        .await
        .unwrap_err();
    assert!(error.message().contains("BACKUP_MIN_KEEP"), "{error}");
    bench.told_once(&error);
}
