//! Stopping a run: by its token, its deadline, or by dropping its future. Nothing stays behind in any case.

use std::path::Path;
use std::time::{Duration, Instant};

use heys_core::backup::{self, CancelReason, CancelToken};
use heys_core::error::Kind;
use heys_sandbox::s3::{Action, Fault};

use crate::bench::{Bench, SHORT, TWENTY_MEGABYTES};

/// Long after any of these tests has failed.
const FOR_EVER: &str = "exec sleep 1000";

/// Whether the process whose number is in the file still exists.
fn alive(pid_file: &Path) -> bool {
    let pid = std::fs::read_to_string(pid_file).unwrap();
    Path::new("/proc").join(pid.trim()).exists()
}

/// A pg_dump that writes its number, some bytes, and waits.
fn hanging(bench: &mut Bench) -> std::path::PathBuf {
    let pid = bench.folder.path().join("pid");
    bench.use_dump(
        "99.0",
        &format!("echo $$ > {}; {TWENTY_MEGABYTES}; {FOR_EVER}", pid.display()),
    );
    pid
}

#[tokio::test]
async fn cancelled_in_the_middle_of_the_dump() {
    for why in [CancelReason::Terminate, CancelReason::Interrupt] {
        let mut bench = Bench::new().await;
        let pid = hanging(&mut bench);
        let cancel = CancelToken::new();
        let stopper = async {
            bench.s3.wait_for_requests("UploadPart", 1, true).await;
            cancel.cancel(why.clone());
        };
        let (error, ()) = tokio::join!(bench.fails_with(cancel.clone()), stopper);
        assert_eq!(error.kind(), Kind::Cancelled);
        assert!(error.message().contains("SIG"), "{error}");
        assert!(!alive(&pid));
    }
}

#[tokio::test]
async fn cancelled_before_it_began() {
    let bench = Bench::with_dump(SHORT).await;
    let cancel = CancelToken::new();
    cancel.cancel(CancelReason::Caller("changed my mind".into()));
    let error = bench.fails_with(cancel).await;
    assert!(error.message().contains("changed my mind"), "{error}");
}

#[tokio::test]
async fn cancelled_while_the_preflight_waits_leaves_no_upload() {
    let bench = Bench::with_dump(SHORT).await;
    // Executed, but its answer does not come.
    bench.s3.fault(Fault::once(
        "CreateMultipartUpload",
        Action::Stall {
            after_request_bytes: None,
            after_response_bytes: Some(1),
            for_millis: None,
        },
    ));
    let cancel = CancelToken::new();
    let stopper = async {
        while bench.s3.uploads().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        cancel.cancel(CancelReason::Terminate);
    };
    let (error, ()) = tokio::join!(bench.fails_with(cancel.clone()), stopper);
    assert_eq!(error.kind(), Kind::Cancelled);
}

#[tokio::test]
async fn a_deadline_leaves_time_to_clean_up_and_to_tell() {
    let mut bench = Bench::new().await;
    let pid = hanging(&mut bench);
    let deadline = Instant::now() + Duration::from_secs(4);
    bench.settings.deadline = Some(deadline);
    let error = bench.fails().await;
    assert!(Instant::now() < deadline);
    assert!(error.message().contains("deadline"), "{error}");
    assert!(!alive(&pid));
}

#[tokio::test]
async fn a_deadline_ends_a_complete_that_is_never_answered() {
    let mut bench = Bench::with_dump(SHORT).await;
    bench.settings.store.retry.attempt_timeout = Duration::from_secs(600);
    let deadline = Instant::now() + Duration::from_secs(4);
    bench.settings.deadline = Some(deadline);
    bench.s3.fault(Fault::forever(
        "CompleteMultipartUpload",
        Action::Stall {
            after_request_bytes: None,
            after_response_bytes: None,
            for_millis: None,
        },
    ));
    let error = bench.fails().await;
    assert!(Instant::now() < deadline);
    assert_eq!(error.kind(), Kind::Cancelled);
}

#[tokio::test]
async fn a_dropped_run_cleans_up_in_the_background() {
    let mut bench = Bench::new().await;
    let pid = hanging(&mut bench);
    let run = backup::run(bench.settings.clone(), |_| {}, CancelToken::new());
    tokio::select! {
        _ = run => panic!("it hangs"),
        () = bench.s3.wait_for_requests("UploadPart", 1, true) => {}
    }
    bench.s3.wait_for_requests("AbortMultipartUpload", 1, true).await;
    bench.telegram.wait_for_messages(1).await;
    assert!(bench.s3.uploads().unwrap().is_empty());
    assert!(bench.keys().is_empty());
    assert!(!alive(&pid));
}

#[tokio::test]
async fn cancelled_after_the_object_is_there_is_a_success_that_did_not_prune() {
    let bench = Bench::with_dump(SHORT).await;
    for day in 1..=9 {
        let old = format!("heys-production-2001-01-0{day}T00-00-00.dump.gz");
        bench.s3.put_object(&old, b"old", None).unwrap();
    }
    bench.s3.fault(Fault::forever(
        "ListObjectsV2",
        Action::Stall {
            after_request_bytes: None,
            after_response_bytes: None,
            for_millis: None,
        },
    ));
    let cancel = CancelToken::new();
    let stopper = async {
        bench.s3.wait_for_requests("ListObjectsV2", 1, false).await;
        cancel.cancel(CancelReason::Terminate);
    };
    let (report, ()) = tokio::join!(bench.run_with(cancel.clone()), stopper);
    let report = report.unwrap();
    assert!(
        report.warnings[0].contains("old ones were not all deleted"),
        "{:?}",
        report.warnings
    );
    assert_eq!(bench.keys().len(), 10);
}
