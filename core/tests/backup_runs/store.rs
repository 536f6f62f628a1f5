//! The store's faults: those that last leave nothing behind, those that heal end in one whole object.

use std::time::{Duration, SystemTime};

use heys_core::error::Kind;
use heys_sandbox::s3::{Action, Fault};

use crate::bench::{Bench, SHORT, TWENTY_MEGABYTES};

fn error(status: u16, code: &str) -> Action {
    Action::Error {
        status,
        code: code.to_owned(),
        message: String::new(),
        retry_after_seconds: None,
    }
}

fn error_body(code: &str) -> Action {
    Action::ErrorBody {
        code: code.to_owned(),
        message: String::new(),
    }
}

fn reset(after_request_bytes: Option<usize>, after_response_bytes: Option<usize>) -> Action {
    Action::Reset {
        after_request_bytes,
        after_response_bytes,
    }
}

fn stall(after_request_bytes: Option<usize>, after_response_bytes: Option<usize>) -> Action {
    Action::Stall {
        after_request_bytes,
        after_response_bytes,
        for_millis: None,
    }
}

/// Faults that a repetition heals.
fn passing() -> Vec<Action> {
    vec![
        error(503, "SlowDown"),
        error(500, "InternalError"),
        reset(None, None),
        reset(None, Some(20)),
        stall(None, None),
        stall(None, Some(20)),
        Action::LostReply,
    ]
}

/// One whole object, one part or several; nothing open; nobody told on a weekday.
async fn heals(operation: &str, script: &str, actions: Vec<Action>) {
    for action in actions {
        let mut bench = Bench::with_dump(script).await;
        bench.settings.store.retry.attempt_timeout = Duration::from_millis(700);
        bench.s3.fault(Fault::once(operation, action.clone()));
        let report = match bench.run().await {
            Ok(report) => report,
            Err(error) => panic!("{operation} {action:?}: {error}"),
        };
        assert_eq!(bench.s3.faults()[0].happened, 1, "{operation} {action:?}");
        let objects = bench.s3.objects().unwrap();
        assert_eq!(objects.len(), 1, "{operation} {action:?}");
        assert_eq!((&objects[0].key, objects[0].size), (&report.key, report.bytes));
        assert_eq!(bench.s3.uploads().unwrap().len(), 0, "{operation} {action:?}");
        let body = bench.s3.object(&report.key).unwrap();
        assert_eq!(report.sha256, sha256(&body));
    }
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    format!("{:x}", Sha256::digest(bytes))
}

#[tokio::test]
async fn passing_faults_of_create_heal() {
    heals("CreateMultipartUpload", SHORT, passing()).await;
}

#[tokio::test]
async fn passing_faults_of_a_part_heal() {
    let mut actions = passing();
    actions.extend([
        reset(Some(100_000), None),
        stall(Some(100_000), None),
        error(400, "BadDigest"),
    ]);
    heals("UploadPart", SHORT, actions).await;
}

#[tokio::test]
async fn passing_faults_of_complete_heal() {
    let mut actions = passing();
    actions.extend([error_body("InternalError"), error_body("SlowDown")]);
    heals("CompleteMultipartUpload", SHORT, actions).await;
}

#[tokio::test]
async fn passing_faults_of_the_read_back_heal() {
    heals("HeadObject", SHORT, passing()).await;
}

#[tokio::test]
async fn every_reply_to_complete_lost_is_settled_by_the_object_itself() {
    let bench = Bench::with_dump(TWENTY_MEGABYTES).await;
    bench
        .s3
        .fault(Fault::forever("CompleteMultipartUpload", Action::LostReply));
    let report = bench.run().await.unwrap();
    assert_eq!(bench.keys(), [report.key]);
    assert!(bench.s3.uploads().unwrap().is_empty());
}

#[tokio::test]
async fn a_fault_in_each_part_of_many_heals() {
    let bench = Bench::with_dump(TWENTY_MEGABYTES).await;
    for number in 1..=3 {
        bench.s3.fault(Fault {
            part_number: Some(number),
            ..Fault::once("UploadPart", error(503, "SlowDown"))
        });
    }
    let report = bench.run().await.unwrap();
    assert_eq!(report.parts, 3);
    assert_eq!(bench.s3.object(&report.key).unwrap().len() as u64, report.bytes);
}

#[tokio::test]
async fn lasting_faults_leave_nothing_behind() {
    for operation in ["CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"] {
        for action in [
            error(503, "SlowDown"),
            error(500, "InternalError"),
            error(403, "AccessDenied"),
            reset(None, None),
        ] {
            let bench = Bench::with_dump(SHORT).await;
            bench.s3.fault(Fault::forever(operation, action.clone()));
            let error = bench.fails().await;
            assert_eq!(error.kind(), Kind::Store, "{operation} {action:?}: {error}");
        }
    }
}

#[tokio::test]
async fn a_lasting_error_in_the_body_of_complete_is_a_failure() {
    let bench = Bench::with_dump(SHORT).await;
    bench
        .s3
        .fault(Fault::forever("CompleteMultipartUpload", error_body("InternalError")));
    let error = bench.fails().await;
    assert_eq!(error.code(), Some("InternalError"));
}

#[tokio::test]
async fn a_lasting_stall_is_a_failure() {
    for operation in ["CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"] {
        let mut bench = Bench::with_dump(SHORT).await;
        let retry = &mut bench.settings.store.retry;
        (retry.attempts, retry.attempt_timeout) = (2, Duration::from_millis(300));
        bench.s3.fault(Fault::forever(operation, stall(None, None)));
        let error = bench.fails().await;
        assert!(error.message().contains("no answer within"), "{operation}: {error}");
    }
}

#[tokio::test]
async fn an_upload_that_cannot_be_aborted_is_named() {
    let bench = Bench::with_dump("exit 1").await;
    bench
        .s3
        .fault(Fault::forever("AbortMultipartUpload", error(503, "SlowDown")));
    let error = bench.run().await.unwrap_err();
    let open = bench.s3.uploads().unwrap();
    assert_eq!(open.len(), 1);
    assert!(error.message().contains(&open[0].upload_id), "{error}");
    assert!(error.message().contains(&open[0].key), "{error}");
    bench.told_once(&error);
}

#[tokio::test]
async fn the_store_gone_in_the_middle_names_the_open_upload() {
    let bench = Bench::with_dump(TWENTY_MEGABYTES).await;
    bench.s3.fault(Fault {
        skip: 5, // HEAD, Create, ListMultipartUploads and two parts
        ..Fault::forever("*", reset(None, None))
    });
    let error = bench.run().await.unwrap_err();
    let open = bench.s3.uploads().unwrap();
    assert!(error.message().contains(&open[0].upload_id), "{error}");
    assert!(bench.keys().is_empty());
    bench.told_once(&error);
}

#[tokio::test]
async fn what_is_wrong_with_the_settings_is_said_before_pg_dump_starts() {
    type Change = fn(&mut Bench);
    let changes: [(Change, &str); 8] = [
        (|b| b.settings.store.bucket = "elsewhere".into(), "S3_BUCKET"),
        (
            |b| b.settings.store.secret_access_key = "wrong-secret".into(),
            "S3_SECRET_ACCESS_KEY",
        ),
        (
            |b| b.settings.store.access_key_id = "wrong-id".into(),
            "S3_ACCESS_KEY_ID",
        ),
        (|b| b.settings.store.region = "us-east-1".into(), "S3_REGION"),
        (
            |b| b.settings.store.storage_class = Some("FROZEN".into()),
            "S3_STORAGE_CLASS",
        ),
        (|b| b.settings.store.encryption = Some("ROT13".into()), "S3_SSE"),
        (
            |b| b.settings.store.endpoint = "http://127.0.0.1:9".into(),
            "S3_ENDPOINT",
        ),
        (
            |b| b.settings.store.endpoint = "http://no.such.host.invalid".into(),
            "S3_ENDPOINT",
        ),
    ];
    for (change, setting) in changes {
        let mut bench = Bench::new().await;
        let started = bench.folder.path().join("started");
        bench.use_dump("99.0", &format!("touch {}; {SHORT}", started.display()));
        change(&mut bench);
        let error = bench.fails().await;
        assert!(error.message().contains(setting), "{setting}: {error}");
        assert!(!started.exists(), "{setting}");
    }
}

#[tokio::test]
async fn a_wrong_clock_is_said() {
    let bench = Bench::with_dump(SHORT).await;
    bench.s3.fault(Fault::forever(
        "CreateMultipartUpload",
        error(403, "RequestTimeTooSkewed"),
    ));
    let error = bench.fails().await;
    assert!(error.message().contains("clock"), "{error}");
}

#[tokio::test]
async fn encryption_that_the_store_forgets_is_a_failure() {
    let mut bench = Bench::with_dump(SHORT).await;
    bench.settings.store.encryption = Some("AES256".to_owned());
    let mut rules = bench.s3.rules();
    rules.ignore_encryption = true;
    bench.s3.set_rules(rules);
    let error = bench.fails().await;
    assert!(
        error.message().contains("S3_SSE") && error.message().contains("deleted"),
        "{error}"
    );
}

#[tokio::test]
async fn no_read_permission_is_a_warning() {
    let bench = Bench::with_dump(SHORT).await;
    bench.s3.fault(Fault::forever("HeadObject", error(403, "AccessDenied")));
    let report = bench.run().await.unwrap();
    assert!(
        report.warnings[0].contains("could not be read back"),
        "{:?}",
        report.warnings
    );
}

#[tokio::test]
async fn uploads_that_earlier_runs_left_open_are_aborted() {
    let bench = Bench::with_dump(SHORT).await;
    let hours = |n: u64| Some(SystemTime::now() - Duration::from_secs(n * 3600));
    let s3 = &bench.s3;
    s3.put_upload("heys-production-2026-01-01T00-00-00.dump.gz", hours(25))
        .unwrap();
    s3.put_upload("heys-production-2026-01-02T00-00-00.dump.gz", hours(400))
        .unwrap();
    s3.put_upload("heys-production-2026-01-03T00-00-00.dump.gz", hours(23))
        .unwrap();
    s3.put_upload("heys-production-2026-01-03.dump.gz", hours(400)).unwrap();
    s3.put_upload("heys-production-old-2026-01-03T00-00-00.dump.gz", hours(400))
        .unwrap();
    s3.put_upload("somebody/else", hours(400)).unwrap();
    let report = bench.run().await.unwrap();
    assert!(report.warnings[0].starts_with("2 uploads"), "{:?}", report.warnings);
    let left: Vec<String> = bench
        .s3
        .uploads()
        .unwrap()
        .into_iter()
        .map(|upload| upload.key)
        .collect();
    assert_eq!(
        left,
        [
            "heys-production-2026-01-03.dump.gz",
            "heys-production-2026-01-03T00-00-00.dump.gz",
            "heys-production-old-2026-01-03T00-00-00.dump.gz",
            "somebody/else",
        ]
    );
}

#[tokio::test]
async fn parts_carry_content_md5_and_no_trailer() {
    let bench = Bench::with_dump(TWENTY_MEGABYTES).await;
    bench.run().await.unwrap();
    let parts: Vec<_> = bench
        .s3
        .requests()
        .into_iter()
        .filter(|r| r.target.operation == "UploadPart")
        .collect();
    assert_eq!(parts.len(), 3);
    for part in parts {
        assert!(part.headers.contains_key("content-md5") && part.headers.contains_key("content-length"));
        assert!(
            !part
                .headers
                .keys()
                .any(|name| name.starts_with("x-amz-checksum") || name == "x-amz-trailer")
        );
    }
}
