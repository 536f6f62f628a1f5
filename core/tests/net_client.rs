//! The tokio driver: queries, results, timeouts, cancel, and the pool, against a real server.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use heys_core::config::{Config, PoolSettings, SslMode};
use heys_core::error::Kind;
use heys_core::net::{Client, Pool, QueryResult};
use heys_core::proto::{Param, TransactionStatus};
use heys_sandbox::{Postgres, PostgresOptions, StopMode};

fn config(postgres: &Postgres) -> Arc<Config> {
    Arc::new(Config::parse(&postgres.url("admin"), &|_| None).unwrap())
}

async fn client() -> Client {
    Client::connect(config(Postgres::shared().await), None).await.unwrap()
}

fn settings(max: usize) -> PoolSettings {
    PoolSettings {
        max,
        ..PoolSettings::default()
    }
}

async fn pool(max: usize) -> Pool {
    Pool::new(config(Postgres::shared().await), None, &settings(max))
}

fn column(result: &QueryResult) -> Vec<Option<&str>> {
    (0..result.len()).map(|row| result.text(row, 0)).collect()
}

/// Waits until `check` holds; the test's own time limit is the bound.
async fn until(mut check: impl FnMut() -> bool) {
    let start = Instant::now();
    while !check() {
        assert!(start.elapsed() < Duration::from_secs(20), "waited in vain");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn null_and_empty_and_bytes_are_told_apart() {
    let mut client = client().await;
    let params = [
        Param::Null,
        Param::Text(b""),
        Param::Binary(&[0, 255]),
        Param::Text("é".as_bytes()),
    ];
    let result = client
        .query("SELECT $1::text a, $2::text b, $3::bytea c, $4::text d, 7 e", &params)
        .await
        .unwrap();
    assert_eq!(
        result.fields().iter().map(|f| f.name.as_str()).collect::<Vec<_>>(),
        ["a", "b", "c", "d", "e"]
    );
    assert_eq!((result.value(0, 0), result.is_null(0, 0)), (None, Some(true)));
    assert_eq!(
        (result.value(0, 1), result.is_null(0, 1)),
        (Some(&b""[..]), Some(false))
    );
    assert_eq!(result.text(0, 2), Some("\\x00ff"));
    assert_eq!(result.text(0, 3), Some("é"));
    assert_eq!(result.text(0, 4), Some("7"));
    assert_eq!(
        (result.value(1, 0), result.value(0, 5), result.is_null(1, 0)),
        (None, None, None)
    );
    assert_eq!((result.tag(), result.rows_affected()), ("SELECT 1", Some(1)));
}

#[tokio::test]
async fn a_simple_query_gives_one_result_a_statement() {
    let mut client = client().await;
    let results = client
        .simple_query("CREATE TEMP TABLE t(i int); INSERT INTO t VALUES (1),(2); SELECT i FROM t ORDER BY i")
        .await
        .unwrap();
    assert_eq!(
        results.iter().map(QueryResult::tag).collect::<Vec<_>>(),
        ["CREATE TABLE", "INSERT 0 2", "SELECT 2"]
    );
    assert_eq!(results[1].rows_affected(), Some(2));
    assert_eq!(results[0].rows_affected(), None);
    assert_eq!(column(&results[2]), [Some("1"), Some("2")]);
    assert_eq!(client.simple_query("").await.unwrap()[0].tag(), "");
}

#[tokio::test]
async fn an_error_has_the_servers_fields_and_leaves_the_connection_usable() {
    let mut client = client().await;
    let error = client.query("SELECT 1/0", &[]).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (Kind::Server, Some("22012")));
    assert_eq!(error.message(), "division by zero");
    assert!(client.query("SELECT nothing", &[]).await.is_err());
    assert!(client.query("SELECT 'a\0b'", &[]).await.is_err());
    assert_eq!(client.query("SELECT 1", &[]).await.unwrap().len(), 1);
}

#[tokio::test]
async fn large_texts_and_many_rows_cross_in_both_directions() {
    let mut client = client().await;
    let text = "x".repeat(20_000_000);
    let params = [Param::Text(text.as_bytes())];
    let result = client.query("SELECT $1::text || '!'", &params).await.unwrap();
    assert_eq!(result.value(0, 0).unwrap().len(), text.len() + 1);
    let rows = client
        .query("SELECT g, 'row ' || g FROM generate_series(1, 100000) g", &[])
        .await
        .unwrap();
    assert_eq!(rows.len(), 100_000);
    assert_eq!(
        (rows.text(99_999, 0), rows.text(99_999, 1)),
        (Some("100000"), Some("row 100000"))
    );
}

#[tokio::test]
async fn a_server_that_talks_while_it_is_talked_to_blocks_nobody() {
    const LENGTH: usize = 30_000_000;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // It says far more than any socket buffer holds before it reads the equally long query.
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut startup = [0; 1024];
        assert!(stream.read(&mut startup).unwrap() > 8);
        stream.write_all(b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I").unwrap();
        let text = vec![b'n'; 1_000_000];
        let mut notice = b"N".to_vec();
        notice.extend(u32::try_from(4 + 1 + text.len() + 2).unwrap().to_be_bytes());
        notice.extend([b"M", &text[..], b"\0\0"].concat());
        for _ in 0..LENGTH / text.len() {
            stream.write_all(&notice).unwrap();
        }
        let mut query = vec![0; 1 + 4 + LENGTH + 1];
        stream.read_exact(&mut query).unwrap();
        stream.write_all(b"C\0\0\0\x07DO\0Z\0\0\0\x05I").unwrap();
    });
    let mut config = Config::new("127.0.0.1", port, "x", "x");
    config.ssl_mode = SslMode::Disable;
    let mut client = Client::connect(Arc::new(config), None).await.unwrap();
    let sql = " ".repeat(LENGTH);
    let results = tokio::time::timeout(Duration::from_secs(60), client.simple_query(&sql)).await;
    assert_eq!(results.unwrap().unwrap()[0].tag(), "DO");
    server.join().unwrap();
}

#[tokio::test]
async fn copy_drains_out_and_fails_in_clearly_and_both_leave_the_connection_usable() {
    let mut client = client().await;
    let results = client
        .simple_query("COPY (SELECT generate_series(1, 1000)) TO STDOUT")
        .await
        .unwrap();
    assert_eq!((results[0].tag(), results[0].len()), ("COPY 1000", 0));
    client.simple_query("CREATE TEMP TABLE c(i int)").await.unwrap();
    let error = client.simple_query("COPY c FROM STDIN").await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (Kind::Usage, Some("57014")));
    assert!(error.message().contains("nothing was copied"), "{error}");
    let error = client.query("COPY c FROM STDIN", &[]).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Usage);
    assert_eq!(
        column(&client.query("SELECT count(*) FROM c", &[]).await.unwrap()),
        [Some("0")]
    );
}

#[tokio::test]
async fn a_query_timeout_cancels_on_the_server_and_keeps_the_connection() {
    let mut client = client().await;
    let pid = client.process_id();
    client.set_query_timeout(Some(Duration::from_millis(100)));
    for _ in 0..3 {
        let start = Instant::now();
        let error = client.query("SELECT pg_sleep(60)", &[]).await.unwrap_err();
        assert_eq!(error.kind(), Kind::QueryTimeout);
        assert!(error.message().contains("100 ms"), "{error}");
        assert!(start.elapsed() < Duration::from_secs(5));
        // The next statement is never hit by the cancel.
        client.set_query_timeout(None);
        client.query("SELECT pg_sleep(0.05)", &[]).await.unwrap();
        client.set_query_timeout(Some(Duration::from_millis(100)));
    }
    assert_eq!(client.process_id(), pid);
}

#[tokio::test]
async fn a_handle_cancels_from_another_task() {
    let mut client = client().await;
    let handle = client.cancel_handle();
    let running = tokio::spawn(async move {
        let error = client.query("SELECT pg_sleep(60)", &[]).await.unwrap_err();
        (client, error)
    });
    while !running.is_finished() {
        handle.cancel().await.unwrap();
        tokio::task::yield_now().await;
    }
    let (mut client, error) = running.await.unwrap();
    assert_eq!(error.code(), Some("57014"));
    client.query("SELECT 1", &[]).await.unwrap();
}

#[tokio::test]
async fn a_dropped_query_is_ended_before_the_next_one_runs() {
    let mut client = client().await;
    let sleep = client.query("SELECT pg_sleep(60)", &[]);
    assert!(tokio::time::timeout(Duration::from_millis(100), sleep).await.is_err());
    assert!(client.is_busy());
    let start = Instant::now();
    assert_eq!(
        column(&client.query("SELECT 'next'", &[]).await.unwrap()),
        [Some("next")]
    );
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_terminated_session_tells_the_servers_reason() {
    let mut client = client().await;
    let sql = format!("SELECT pg_terminate_backend({})", client.process_id().unwrap());
    let error = client.simple_query(&sql).await.unwrap_err();
    assert_eq!(error.code(), Some("57P01"));
    assert!(client.is_closed());
    assert_eq!(client.query("SELECT 1", &[]).await.unwrap_err().kind(), Kind::Closed);
}

#[tokio::test]
async fn notices_are_kept() {
    let mut client = client().await;
    client
        .simple_query("DO $$ BEGIN RAISE NOTICE 'hello'; END $$")
        .await
        .unwrap();
    let notices = client.take_notices();
    assert_eq!(notices[0].message(), "hello");
    assert!(client.take_notices().is_empty());
}

#[tokio::test]
async fn sixty_four_callers_share_three_connections() {
    let pool = pool(3).await;
    let mut tasks = Vec::new();
    for i in 0..64 {
        let pool = pool.clone();
        tasks.push(tokio::spawn(async move {
            for j in 0..20 {
                let text = format!("{i}.{j}");
                let result = pool
                    .query("SELECT $1::text", &[Param::Text(text.as_bytes())])
                    .await
                    .unwrap();
                assert_eq!(result.text(0, 0), Some(text.as_str()));
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let counts = pool.counts();
    assert!((1..=3).contains(&counts.total), "{counts:?}");
    assert_eq!((counts.idle, counts.waiting), (counts.total, 0));
    pool.end().await.unwrap();
    assert_eq!(pool.counts().total, 0);
    assert_eq!(pool.acquire().await.err().unwrap().kind(), Kind::Usage);
    assert_eq!(
        pool.end().await.unwrap_err().message(),
        "Called end on pool more than once"
    );
}

#[tokio::test]
async fn an_open_transaction_is_rolled_back_before_the_next_checkout() {
    let pool = pool(1).await;
    let mut client = pool.acquire().await.unwrap();
    let pid = client.process_id();
    client.simple_query("CREATE TEMP TABLE r(i int)").await.unwrap();
    client.simple_query("BEGIN; INSERT INTO r VALUES (1)").await.unwrap();
    drop(client);
    let mut client = pool.acquire().await.unwrap();
    assert_eq!(client.process_id(), pid);
    assert_eq!(client.transaction_status(), TransactionStatus::Idle);
    assert_eq!(
        column(&client.query("SELECT count(*) FROM r", &[]).await.unwrap()),
        [Some("0")]
    );
}

#[tokio::test]
async fn a_query_dropped_on_loan_is_cancelled_before_the_next_checkout() {
    let pool = pool(1).await;
    for _ in 0..3 {
        let query = pool.query("SELECT pg_sleep(60)", &[]);
        assert!(tokio::time::timeout(Duration::from_millis(100), query).await.is_err());
    }
    let start = Instant::now();
    pool.query("SELECT 1", &[]).await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(5));
    assert_eq!(pool.counts().total, 1);
}

#[tokio::test]
async fn a_dropped_wait_leaves_the_queue_and_loses_no_connection() {
    let pool = pool(1).await;
    let held = pool.acquire().await.unwrap();
    for _ in 0..10 {
        assert!(
            tokio::time::timeout(Duration::from_millis(5), pool.acquire())
                .await
                .is_err()
        );
    }
    assert_eq!(pool.counts().waiting, 0);
    // The connection is handed to a waiter that is dropped before it can look.
    let mut waiting = Box::pin(pool.acquire());
    assert!(futures_poll_once(waiting.as_mut()).await.is_none());
    drop(held);
    drop(waiting);
    pool.query("SELECT 1", &[]).await.unwrap();
    assert_eq!(pool.counts().idle, 1);
}

/// Polls once.
async fn futures_poll_once<F: Future>(mut future: std::pin::Pin<&mut F>) -> Option<F::Output> {
    std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
        std::task::Poll::Ready(out) => std::task::Poll::Ready(Some(out)),
        std::task::Poll::Pending => std::task::Poll::Ready(None),
    })
    .await
}

#[tokio::test]
async fn waiting_too_long_says_that_it_was_waiting() {
    let mut settings = settings(1);
    settings.connect_timeout = Some(Duration::from_millis(300));
    let pool = Pool::new(config(Postgres::shared().await), None, &settings);
    // Under load the first connection itself may take that long.
    let held = loop {
        if let Ok(held) = pool.acquire().await {
            break held;
        }
    };
    let error = pool.acquire().await.err().unwrap();
    assert_eq!(error.kind(), Kind::WaitTimeout);
    assert!(error.message().contains("300 ms"), "{error}");
    drop(held);
    pool.acquire().await.unwrap();
}

#[tokio::test]
async fn a_connection_error_reaches_the_waiter_and_frees_the_slot() {
    let mut wrong = (*config(Postgres::shared().await)).clone();
    wrong.password = Some("wrong".to_owned());
    let pool = Pool::new(Arc::new(wrong), None, &settings(2));
    for _ in 0..3 {
        assert_eq!(pool.acquire().await.err().unwrap().code(), Some("28P01"));
    }
    assert_eq!(pool.counts().total, 0);
}

#[tokio::test]
async fn connections_that_were_cut_while_idle_are_replaced_within_the_checkout() {
    let postgres = Postgres::start(PostgresOptions::default()).await.unwrap();
    let pool = Pool::new(config(&postgres), None, &settings(2));
    let (a, b) = (pool.acquire().await.unwrap(), pool.acquire().await.unwrap());
    let pids = [a.process_id(), b.process_id()];
    drop((a, b));
    postgres.restart(StopMode::Fast, None).await.unwrap();
    let client = pool.acquire().await.unwrap();
    assert!(!pids.contains(&client.process_id()));
    pool.query("SELECT 1", &[]).await.unwrap();
}

#[tokio::test]
async fn idle_connections_are_closed_after_the_idle_timeout() {
    let mut settings = settings(2);
    settings.idle_timeout = Some(Duration::from_millis(100));
    let pool = Pool::new(config(Postgres::shared().await), None, &settings);
    pool.query("SELECT 1", &[]).await.unwrap();
    until(|| pool.counts().total == 0).await;
}

#[tokio::test]
async fn the_end_waits_for_connections_on_loan() {
    let pool = pool(2).await;
    let mut held = pool.acquire().await.unwrap();
    let ending = tokio::spawn({
        let pool = pool.clone();
        async move { pool.end().await }
    });
    until(|| pool.counts().total == 1).await;
    held.query("SELECT 1", &[]).await.unwrap();
    assert!(!ending.is_finished());
    drop(held);
    ending.await.unwrap().unwrap();
}

#[tokio::test]
async fn the_guard_may_be_dropped_outside_the_runtime() {
    let pool = pool(1).await;
    let mut client = pool.acquire().await.unwrap();
    client.simple_query("BEGIN").await.unwrap();
    std::thread::spawn(move || drop(client)).join().unwrap();
    pool.query("SELECT 1", &[]).await.unwrap();
}

#[test]
fn a_pool_outlives_neither_its_handles_nor_its_runtime_badly() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let client = runtime.block_on(async {
        let pool = pool(1).await;
        pool.acquire().await.unwrap()
    });
    drop(runtime);
    drop(client);
}

#[tokio::test]
async fn plain_text_works_as_tls_does() {
    let mut plain = (*config(Postgres::shared().await)).clone();
    plain.ssl_mode = SslMode::Disable;
    let mut client = Client::connect(Arc::new(plain), None).await.unwrap();
    assert!(!client.is_tls() && client.is_healthy());
    let rows = client
        .query("SELECT repeat('x', 100) FROM generate_series(1, 1000)", &[])
        .await
        .unwrap();
    assert_eq!(rows.len(), 1000);
    assert!(client.is_healthy());
    client.close().await;
}
