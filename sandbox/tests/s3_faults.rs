//! Each scripted fault does what it says, no more and no less.
#![allow(clippy::unwrap_used)]

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use common::{KEY, MEBIBYTE, Raw, complete, create_upload, sdk, upload_part, when_required};
use heys_sandbox::s3::{Action, Fault};
use heys_sandbox::{S3, S3Options};

async fn start() -> S3 {
    S3::start(S3Options::default()).await.unwrap()
}

fn put(body: impl Into<Vec<u8>>) -> Raw {
    Raw::new("PUT", "/heys-backups/key").body(body)
}

fn reset(after_request_bytes: Option<usize>, after_response_bytes: Option<usize>) -> Action {
    Action::Reset {
        after_request_bytes,
        after_response_bytes,
    }
}

fn slow_down() -> Action {
    let message = "Please reduce your request rate.".into();
    Action::Error {
        status: 503,
        code: "SlowDown".into(),
        message,
        retry_after_seconds: Some(7),
    }
}

/// Whether the client saw ECONNRESET or the like, and no answer.
async fn is_cut(s3: &S3, request: Raw) -> bool {
    request.send(s3.info()).await.is_err()
}

#[tokio::test]
async fn a_reset_within_the_request_executes_nothing() {
    let s3 = start().await;
    for bytes in [0, 1, MEBIBYTE, 8 * MEBIBYTE] {
        s3.fault(Fault::once("PutObject", reset(Some(bytes), None)));
        assert!(is_cut(&s3, put(vec![7; 8 * MEBIBYTE])).await, "{bytes}");
        assert!(s3.objects().unwrap().is_empty());
    }
    let upload = create_upload(&s3).await;
    s3.fault(Fault {
        part_number: Some(2),
        ..Fault::once("UploadPart", reset(Some(10), None))
    });
    upload_part(&s3, &upload, 1, "one").await;
    assert!(is_cut(&s3, Raw::part(&upload, 2, "the second")).await);
    assert_eq!(s3.uploads().unwrap()[0].parts.len(), 1);
    assert_eq!(put("x").send(s3.info()).await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_within_the_response_comes_after_exactly_so_many_bytes() {
    let s3 = start().await;
    for bytes in [0, 1, 12, 40] {
        s3.fault(Fault::once("GetObject", reset(None, Some(bytes))));
        let mut stream = TcpStream::connect(("127.0.0.1", s3.info().port)).unwrap();
        stream
            .write_all(b"GET /heys-backups/key HTTP/1.1\r\nhost: localhost\r\n\r\n")
            .unwrap();
        let mut got = Vec::new();
        let error = stream.read_to_end(&mut got).unwrap_err();
        assert_eq!((error.kind(), got.len()), (ErrorKind::ConnectionReset, bytes));
        assert!(b"HTTP/1.1 403 ".starts_with(&got[..bytes.min(13)]));
    }
}

#[tokio::test]
async fn a_lost_reply_is_executed_without_an_answer() {
    let s3 = start().await;
    let upload = create_upload(&s3).await;
    let e_tag = upload_part(&s3, &upload, 1, "only").await;
    s3.fault(Fault::once("CompleteMultipartUpload", Action::LostReply));
    assert!(is_cut(&s3, complete(&upload, &[(1, &e_tag)])).await);
    assert_eq!(s3.objects().unwrap()[0].size, 4);
    let retry = complete(&upload, &[(1, &e_tag)]).send(s3.info()).await.unwrap();
    assert_eq!(retry.code(), "NoSuchUpload");
    let recorded = s3.requests();
    let lost = recorded.iter().find(|request| request.faulty).unwrap();
    assert_eq!((lost.answered, lost.status), (true, None));
}

#[tokio::test]
async fn an_error_is_the_answer_and_nothing_is_executed() {
    let s3 = start().await;
    s3.fault(Fault::once("PutObject", slow_down()));
    let reply = put(vec![0; MEBIBYTE]).send(s3.info()).await.unwrap();
    assert_eq!((reply.status.as_u16(), &*reply.code()), (503, "SlowDown"));
    assert_eq!(reply.headers["retry-after"], "7");
    assert!(s3.objects().unwrap().is_empty());
    let head = Raw::new("HEAD", "/heys-backups/key");
    let forbidden = Action::Error {
        status: 403,
        code: "AccessDenied".into(),
        message: String::new(),
        retry_after_seconds: None,
    };
    s3.fault(Fault::once("HeadObject", forbidden));
    assert_eq!(head.clone().send(s3.info()).await.unwrap().status, 403);
    assert_eq!(head.send(s3.info()).await.unwrap().status, 404);
}

#[tokio::test]
async fn an_error_in_the_body_of_a_200_is_an_error_to_the_sdk() {
    let s3 = start().await;
    let upload = create_upload(&s3).await;
    let e_tag = upload_part(&s3, &upload, 1, "only").await;
    let action = Action::ErrorBody {
        code: "InternalError".into(),
        message: "We encountered an internal error.".into(),
    };
    s3.fault(Fault::once("CompleteMultipartUpload", action));
    let client = sdk(s3.info(), when_required);
    let parts = CompletedMultipartUpload::builder();
    let parts = parts
        .parts(CompletedPart::builder().part_number(1).e_tag(e_tag).build())
        .build();
    let complete = || {
        let complete = client
            .complete_multipart_upload()
            .bucket(&s3.info().bucket)
            .key(KEY)
            .upload_id(&upload);
        complete.multipart_upload(parts.clone()).send()
    };
    let error = complete().await.unwrap_err();
    assert_eq!(error.code(), Some("InternalError"), "{error:?}");
    assert!(s3.objects().unwrap().is_empty());
    complete().await.unwrap();
    assert_eq!(s3.objects().unwrap().len(), 1);
}

#[tokio::test]
async fn faults_pass_some_requests_and_end_after_some() {
    let s3 = start().await;
    s3.fault(Fault {
        skip: 1,
        times: 2,
        ..Fault::once("PutObject", slow_down())
    });
    let mut statuses = vec![];
    for _ in 0..5 {
        statuses.push(put("x").send(s3.info()).await.unwrap().status.as_u16());
    }
    assert_eq!(statuses, [200, 503, 503, 200, 200]);
    assert_eq!(s3.faults()[0].happened, 2);
    s3.fault(Fault::forever("*", slow_down()));
    for _ in 0..3 {
        assert_eq!(put("x").send(s3.info()).await.unwrap().status, 503);
    }
    s3.clear_faults();
    assert_eq!(put("x").send(s3.info()).await.unwrap().status, 200);
}

#[tokio::test]
async fn the_sdk_heals_faults_by_its_retries() {
    let s3 = start().await;
    let client = sdk(s3.info(), |builder| {
        when_required(builder).retry_config(RetryConfig::standard().with_initial_backoff(Duration::from_millis(1)))
    });
    s3.fault(Fault::once("PutObject", slow_down()));
    s3.fault(Fault::once("PutObject", reset(Some(100), None)));
    let put = client
        .put_object()
        .bucket(&s3.info().bucket)
        .key("healed")
        .body(ByteStream::from(vec![1; 1000]));
    put.send().await.unwrap();
    let statuses: Vec<_> = s3.requests().iter().map(|request| request.status).collect();
    assert_eq!(statuses, [Some(503), None, Some(200)]);
}

#[tokio::test]
async fn a_stall_lasts_its_time_or_until_it_is_cleared() {
    let s3 = start().await;
    let stall = |for_millis| Action::Stall {
        after_request_bytes: Some(1),
        after_response_bytes: None,
        for_millis,
    };
    s3.fault(Fault::once("PutObject", stall(Some(200))));
    let begun = Instant::now();
    assert_eq!(put(vec![1; MEBIBYTE]).send(s3.info()).await.unwrap().status, 200);
    assert!(begun.elapsed() >= Duration::from_millis(200));
    assert_eq!(
        s3.object("key").unwrap(),
        vec![1; MEBIBYTE],
        "the body comes through whole"
    );

    s3.clear_requests();
    s3.fault(Fault::forever("PutObject", stall(None)));
    let request = put("other");
    let info = s3.info().clone();
    let stalled = tokio::spawn(async move { request.send(&info).await.unwrap().status });
    s3.wait_for_requests("PutObject", 1, false).await;
    assert!(!s3.requests()[0].answered);
    assert_eq!(s3.object("key").unwrap().len(), MEBIBYTE);
    s3.clear_faults();
    assert_eq!(stalled.await.unwrap(), 200);
    assert_eq!(s3.object("key").unwrap(), b"other");
}

#[tokio::test]
async fn a_stalled_response_stops_at_its_byte_and_goes_on_when_cleared() {
    let s3 = start().await;
    s3.put_object("key", &vec![5; MEBIBYTE], None).unwrap();
    s3.fault(Fault::once(
        "GetObject",
        Action::Stall {
            after_request_bytes: None,
            after_response_bytes: Some(1000),
            for_millis: None,
        },
    ));
    let client = sdk(s3.info(), when_required);
    let mut response = client
        .get_object()
        .bucket(&s3.info().bucket)
        .key("key")
        .send()
        .await
        .unwrap();
    let mut got = response.body.try_next().await.unwrap().unwrap().len();
    assert!(got < 1000, "{got}");
    assert!(
        tokio::time::timeout(Duration::from_millis(100), response.body.next())
            .await
            .is_err()
    );
    s3.clear_faults();
    while let Some(bytes) = response.body.try_next().await.unwrap() {
        got += bytes.len();
    }
    assert_eq!(got, MEBIBYTE);
}

#[tokio::test]
async fn the_recorded_requests_show_headers_but_no_signature() {
    let s3 = start().await;
    let upload = create_upload(&s3).await;
    upload_part(&s3, &upload, 1, "body").await;
    let recorded = s3.requests();
    let operations: Vec<&str> = recorded.iter().map(|request| &*request.target.operation).collect();
    assert_eq!(operations, ["CreateMultipartUpload", "UploadPart"]);
    assert_eq!(recorded[1].target.part_number, Some(1));
    assert!(recorded[1].headers.contains_key("content-md5"));
    assert!(!recorded[1].headers.contains_key("authorization"));
}

#[tokio::test]
async fn old_objects_and_uploads_can_be_put_in_place() {
    let s3 = start().await;
    let old = std::time::UNIX_EPOCH + Duration::from_secs(1_600_000_000);
    s3.put_object(KEY, b"old", Some(old)).unwrap();
    let upload = s3.put_upload(KEY, Some(old)).unwrap();
    let client = sdk(s3.info(), when_required);
    let head = client
        .head_object()
        .bucket(&s3.info().bucket)
        .key(KEY)
        .send()
        .await
        .unwrap();
    assert_eq!(head.last_modified().unwrap().secs(), 1_600_000_000);
    let uploads = client
        .list_multipart_uploads()
        .bucket(&s3.info().bucket)
        .send()
        .await
        .unwrap();
    assert_eq!(uploads.uploads()[0].upload_id(), Some(&*upload));
    assert_eq!(uploads.uploads()[0].initiated().unwrap().secs(), 1_600_000_000);
}
