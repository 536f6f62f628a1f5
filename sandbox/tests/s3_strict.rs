//! What the strict store accepts, and each thing that it refuses.
#![allow(clippy::unwrap_used)]

mod common;

use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    CompletedMultipartUpload, CompletedPart, Delete, ObjectIdentifier, ServerSideEncryption, StorageClass,
};
use common::{KEY, MEBIBYTE, Raw, complete, create_upload, hex, sdk, upload_part, when_required};
use heys_sandbox::s3::S3Rules;
use heys_sandbox::{S3, S3Options};
use openssl::hash::{MessageDigest, hash};

async fn start() -> S3 {
    S3::start(S3Options::default()).await.unwrap()
}

async fn start_with(rules: S3Rules) -> S3 {
    S3::start(S3Options {
        rules,
        ..S3Options::default()
    })
    .await
    .unwrap()
}

fn md5_base64(bytes: &[u8]) -> String {
    openssl::base64::encode_block(&hash(MessageDigest::md5(), bytes).unwrap())
}

async fn refused(s3: &S3, request: Raw) -> (u16, String) {
    let reply = request.send(s3.info()).await.unwrap();
    (reply.status.as_u16(), reply.code())
}

fn answer(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[tokio::test]
async fn the_sdk_with_checksums_when_required_uploads_in_parts() {
    let s3 = start().await;
    let client = sdk(s3.info(), when_required);
    let bucket = &s3.info().bucket;
    let created = client
        .create_multipart_upload()
        .bucket(bucket)
        .key(KEY)
        .storage_class(StorageClass::from("COLD"))
        .server_side_encryption(ServerSideEncryption::Aes256)
        .metadata("sha256", "abc")
        .send()
        .await
        .unwrap();
    let upload = created.upload_id().unwrap();
    let bodies = [vec![1u8; 5 * MEBIBYTE], vec![2u8; 6 * MEBIBYTE], vec![3u8; 10]];
    let mut parts = CompletedMultipartUpload::builder();
    for (number, body) in (1..).zip(&bodies) {
        let part = client
            .upload_part()
            .bucket(bucket)
            .key(KEY)
            .upload_id(upload)
            .part_number(number);
        let part = part
            .content_md5(md5_base64(body))
            .body(ByteStream::from(body.clone()))
            .send()
            .await
            .unwrap();
        let part = CompletedPart::builder()
            .part_number(number)
            .e_tag(part.e_tag().unwrap());
        parts = parts.parts(part.build());
        assert!(s3.objects().unwrap().is_empty(), "an unfinished upload is visible");
    }
    let listed = client
        .list_parts()
        .bucket(bucket)
        .key(KEY)
        .upload_id(upload)
        .send()
        .await
        .unwrap();
    assert_eq!(listed.parts().len(), 3);
    let complete = client
        .complete_multipart_upload()
        .bucket(bucket)
        .key(KEY)
        .upload_id(upload);
    let completed = complete.multipart_upload(parts.build()).send().await.unwrap();

    let digests: Vec<u8> = bodies
        .iter()
        .flat_map(|body| hash(MessageDigest::md5(), body).unwrap().to_vec())
        .collect();
    let e_tag = format!("\"{}-3\"", hex(&hash(MessageDigest::md5(), &digests).unwrap()));
    assert_eq!(completed.e_tag(), Some(&*e_tag));
    let head = client.head_object().bucket(bucket).key(KEY).send().await.unwrap();
    assert_eq!(head.e_tag(), Some(&*e_tag));
    assert_eq!(head.content_length(), Some(11 * MEBIBYTE as i64 + 10));
    assert_eq!(head.storage_class().map(StorageClass::as_str), Some("COLD"));
    assert_eq!(head.server_side_encryption(), Some(&ServerSideEncryption::Aes256));
    assert_eq!(head.metadata().unwrap()["sha256"], "abc");
    let got = client
        .get_object()
        .bucket(bucket)
        .key(KEY)
        .send()
        .await
        .unwrap()
        .body
        .collect()
        .await
        .unwrap();
    assert!(got.into_bytes() == bodies.concat(), "another body");
    let range = format!("bytes={}-{}", 5 * MEBIBYTE - 1, 5 * MEBIBYTE);
    let got = client
        .get_object()
        .bucket(bucket)
        .key(KEY)
        .range(range)
        .send()
        .await
        .unwrap();
    assert_eq!(got.content_range(), Some("bytes 5242879-5242880/11534346"));
    assert_eq!(&got.body.collect().await.unwrap().into_bytes()[..], [1, 2]);
    assert!(s3.uploads().unwrap().is_empty());
}

#[tokio::test]
async fn the_sdk_with_its_default_checksums_is_refused() {
    let s3 = start().await;
    let client = sdk(s3.info(), |builder| builder);
    let put = client
        .put_object()
        .bucket(&s3.info().bucket)
        .key(KEY)
        .body(ByteStream::from_static(b"hello"));
    let error = put.send().await.unwrap_err();
    assert_eq!(error.code(), Some("NotImplemented"), "{error:?}");
    let upload = create_upload(&s3).await;
    let part = client
        .upload_part()
        .bucket(&s3.info().bucket)
        .key(KEY)
        .upload_id(upload)
        .part_number(1);
    let error = part.body(ByteStream::from_static(b"hello")).send().await.unwrap_err();
    assert_eq!(error.code(), Some("NotImplemented"), "{error:?}");
    assert!(s3.objects().unwrap().is_empty());
}

#[tokio::test]
async fn chunked_bodies_trailers_and_checksum_headers_are_refused() {
    let s3 = start().await;
    let put = || Raw::new("PUT", "/heys-backups/key").body("hello");
    let not_implemented = answer(501, "NotImplemented");
    for streaming in [
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
        "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
    ] {
        assert_eq!(
            refused(&s3, put().header("x-amz-content-sha256", streaming)).await,
            not_implemented
        );
    }
    assert_eq!(
        refused(&s3, put().header("content-encoding", "gzip, aws-chunked")).await,
        not_implemented
    );
    assert_eq!(
        refused(&s3, put().header("x-amz-trailer", "x-amz-checksum-crc32")).await,
        not_implemented
    );
    assert_eq!(
        refused(&s3, put().header("x-amz-sdk-checksum-algorithm", "CRC32")).await,
        not_implemented
    );
    for checksum in [
        "x-amz-checksum-crc32",
        "x-amz-checksum-sha256",
        "x-amz-checksum-crc64nvme",
    ] {
        assert_eq!(
            refused(&s3, put().header(checksum, "NhCmhg==")).await,
            not_implemented,
            "{checksum}"
        );
    }
    assert_eq!(
        refused(&s3, Raw { chunked: true, ..put() }).await,
        answer(411, "MissingContentLength")
    );
    assert!(s3.objects().unwrap().is_empty());
    assert_eq!(
        put().send(s3.info()).await.unwrap().status,
        200,
        "the request itself is right"
    );
}

#[tokio::test]
async fn parts_need_the_right_content_md5() {
    let s3 = start().await;
    let upload = create_upload(&s3).await;
    let part = || Raw::part(&upload, 1, "hello");
    let mut without = part();
    without.headers.remove("content-md5");
    assert_eq!(refused(&s3, without).await, answer(400, "InvalidRequest"));
    let wrong = part().header("content-md5", md5_base64(b"other"));
    assert_eq!(refused(&s3, wrong).await, answer(400, "BadDigest"));
    assert_eq!(
        refused(&s3, part().header("content-md5", "aGVsbG8=")).await,
        answer(400, "InvalidDigest")
    );
    assert!(s3.uploads().unwrap()[0].parts.is_empty());
    let files = std::fs::read_dir(&s3.info().folder).unwrap().count();
    assert_eq!(files, 0, "a refused part leaves a file");
    assert_eq!(part().send(s3.info()).await.unwrap().status, 200);
}

#[tokio::test]
async fn signatures_are_checked() {
    let s3 = start().await;
    let put = || Raw::new("PUT", "/heys-backups/key").body("hello");
    let with = |change: fn(&mut heys_sandbox::S3Info)| {
        let mut info = s3.info().clone();
        change(&mut info);
        info
    };
    let send = async |info: heys_sandbox::S3Info| put().send(&info).await.unwrap();
    let wrong = send(with(|info| info.secret_access_key.push('x'))).await;
    assert_eq!(
        (wrong.status.as_u16(), wrong.code()),
        answer(403, "SignatureDoesNotMatch")
    );
    let wrong = send(with(|info| info.access_key_id.push('x'))).await;
    assert_eq!((wrong.status.as_u16(), wrong.code()), answer(403, "InvalidAccessKeyId"));
    let wrong = send(with(|info| info.region = "us-east-1".into())).await;
    assert_eq!(
        (wrong.status.as_u16(), wrong.code()),
        answer(400, "AuthorizationHeaderMalformed")
    );
    let anonymous = put().header("authorization", "");
    assert!(matches!(refused(&s3, anonymous).await.0, 400 | 403));
    let old = put().header("authorization", "AWS key:c2lnbmF0dXJl");
    assert_eq!(refused(&s3, old).await, answer(400, "InvalidRequest"));
    let late = put().header("x-amz-date", "20200101T000000Z");
    assert_eq!(refused(&s3, late).await.0, 403);
    let other_body = put().header(
        "x-amz-content-sha256",
        hex(&hash(MessageDigest::sha256(), b"other").unwrap()),
    );
    assert_eq!(refused(&s3, other_body).await.0, 400);
    assert!(s3.objects().unwrap().is_empty());
    assert_eq!(put().send(s3.info()).await.unwrap().status, 200);
    s3.set_rules(S3Rules {
        secret_access_key: "rotated".into(),
        ..s3.rules()
    });
    assert_eq!(refused(&s3, put()).await, answer(403, "SignatureDoesNotMatch"));
}

#[tokio::test]
async fn an_upload_is_completed_only_by_the_rules_of_parts() {
    let s3 = start().await;
    let upload = create_upload(&s3).await;
    let first = upload_part(&s3, &upload, 1, vec![1; 5 * MEBIBYTE]).await;
    let small = upload_part(&s3, &upload, 2, "small").await;
    let last = upload_part(&s3, &upload, 3, "last").await;
    for (parts, code) in [
        (vec![], "MalformedXML"),
        (vec![(1, &*first), (2, &*small), (3, &*last)], "EntityTooSmall"),
        (vec![(3, &*last), (1, &*first)], "InvalidPartOrder"),
        (vec![(1, &*first), (1, &*first)], "InvalidPartOrder"),
        (vec![(1, &*first), (3, &*small)], "InvalidPart"),
        (vec![(1, &*first), (4, &*last)], "InvalidPart"),
        (vec![(0, &*first)], "InvalidArgument"),
        (vec![(10_001, &*first)], "InvalidArgument"),
    ] {
        assert_eq!(
            refused(&s3, complete(&upload, &parts)).await,
            answer(400, code),
            "{parts:?}"
        );
    }
    assert_eq!(
        refused(&s3, Raw::part(&upload, 10_001, "x")).await,
        answer(400, "InvalidArgument")
    );
    assert_eq!(
        refused(&s3, Raw::part("unknown", 1, "x")).await,
        answer(404, "NoSuchUpload")
    );
    assert!(s3.objects().unwrap().is_empty());

    let done = complete(&upload, &[(1, &first), (3, &last)])
        .send(s3.info())
        .await
        .unwrap();
    assert_eq!((done.status.as_u16(), done.code()), answer(200, ""));
    assert_eq!(s3.objects().unwrap()[0].size, 5 * MEBIBYTE as u64 + 4);
    // What the lost reply's retry meets.
    assert_eq!(
        refused(&s3, complete(&upload, &[(1, &first)])).await,
        answer(404, "NoSuchUpload")
    );
}

#[tokio::test]
async fn an_aborted_upload_is_gone_with_its_parts() {
    let s3 = start().await;
    let upload = create_upload(&s3).await;
    upload_part(&s3, &upload, 1, "part").await;
    let abort = || Raw::new("DELETE", format!("/heys-backups/{KEY}")).query("uploadId", &*upload);
    assert_eq!(abort().send(s3.info()).await.unwrap().status, 204);
    assert_eq!(refused(&s3, abort()).await, answer(404, "NoSuchUpload"));
    assert!(s3.uploads().unwrap().is_empty());
    assert_eq!(std::fs::read_dir(&s3.info().folder).unwrap().count(), 0);
}

#[tokio::test]
async fn listings_come_in_pages_of_at_most_1000() {
    let s3 = start().await;
    for number in 0..1001 {
        s3.put_object(&format!("a/{number:04}"), b"", None).unwrap();
    }
    s3.put_object("b", b"", None).unwrap();
    let client = sdk(s3.info(), when_required);
    let list = || {
        client
            .list_objects_v2()
            .bucket(&s3.info().bucket)
            .prefix("a/")
            .max_keys(5000)
    };
    let first = list().send().await.unwrap();
    assert_eq!((first.contents().len(), first.is_truncated()), (1000, Some(true)));
    let second = list()
        .continuation_token(first.next_continuation_token().unwrap())
        .send()
        .await
        .unwrap();
    let keys: Vec<_> = second.contents().iter().filter_map(|object| object.key()).collect();
    assert_eq!((keys, second.is_truncated()), (vec!["a/1000"], Some(false)));
    let after = client
        .list_objects_v2()
        .bucket(&s3.info().bucket)
        .start_after("a/0999")
        .send()
        .await
        .unwrap();
    assert_eq!(after.contents().len(), 2);
    assert_eq!(after.contents()[0].storage_class().unwrap().as_str(), "STANDARD");

    s3.set_rules(S3Rules {
        page_size: 2,
        ..s3.rules()
    });
    let mut uploads = vec![];
    for key in ["u/1", "u/1", "u/2", "v"] {
        uploads.push(s3.put_upload(key, None).unwrap());
    }
    let list = || client.list_multipart_uploads().bucket(&s3.info().bucket).prefix("u/");
    let first = list().send().await.unwrap();
    assert_eq!((first.uploads().len(), first.is_truncated()), (2, Some(true)));
    let (key, id) = (first.next_key_marker().unwrap(), first.next_upload_id_marker().unwrap());
    let second = list().key_marker(key).upload_id_marker(id).send().await.unwrap();
    assert_eq!(second.uploads()[0].upload_id(), Some(&*uploads[2]));
    assert_eq!((second.uploads().len(), second.is_truncated()), (1, Some(false)));
}

#[tokio::test]
async fn objects_are_deleted_alone_and_together() {
    let s3 = start().await;
    for key in ["1", "2", "3", "4"] {
        s3.put_object(key, b"x", None).unwrap();
    }
    let client = sdk(s3.info(), when_required);
    let bucket = &s3.info().bucket;
    client.delete_object().bucket(bucket).key("1").send().await.unwrap();
    client
        .delete_object()
        .bucket(bucket)
        .key("never there")
        .send()
        .await
        .unwrap();
    let body = "<Delete><Object><Key>2</Key></Object><Object><Key>3</Key></Object></Delete>";
    let delete = || Raw::new("POST", "/heys-backups").query("delete", "").body(body);
    assert_eq!(
        refused(&s3, delete()).await,
        answer(400, "InvalidRequest"),
        "without Content-MD5"
    );
    let wrong = delete().header("content-md5", md5_base64(b"other"));
    assert_eq!(refused(&s3, wrong).await, answer(400, "BadDigest"));
    let done = delete().md5().send(s3.info()).await.unwrap();
    assert_eq!(done.status, 200, "{done:?}");
    let left: Vec<String> = s3.objects().unwrap().into_iter().map(|object| object.key).collect();
    assert_eq!(left, ["4"]);
    // The SDK's own form carries a checksum instead of Content-MD5.
    let four = Delete::builder()
        .objects(ObjectIdentifier::builder().key("4").build().unwrap())
        .build()
        .unwrap();
    assert!(
        client
            .delete_objects()
            .bucket(bucket)
            .delete(four)
            .send()
            .await
            .is_err()
    );
}

#[tokio::test]
async fn classes_encryption_and_buckets_are_refused_as_told() {
    let s3 = start_with(S3Rules {
        storage_classes: vec!["STANDARD".into()],
        encryptions: vec![],
        refused_buckets: vec!["closed".into()],
        ..S3Rules::default()
    })
    .await;
    let create = || Raw::new("POST", format!("/heys-backups/{KEY}")).query("uploads", "");
    let cold = create().header("x-amz-storage-class", "COLD");
    assert_eq!(refused(&s3, cold.clone()).await, answer(400, "InvalidStorageClass"));
    let encrypted = create().header("x-amz-server-side-encryption", "AES256");
    assert_eq!(refused(&s3, encrypted.clone()).await, answer(400, "InvalidArgument"));
    let create_in = |bucket: &str| Raw::new("POST", format!("/{bucket}/{KEY}")).query("uploads", "");
    assert_eq!(refused(&s3, create_in("closed")).await, answer(403, "AccessDenied"));
    assert_eq!(refused(&s3, create_in("missing")).await, answer(404, "NoSuchBucket"));
    s3.set_rules(S3Rules {
        ignore_encryption: true,
        ..S3Rules::default()
    });
    assert_eq!(refused(&s3, cold).await.0, 200);
    let ignored = encrypted.send(s3.info()).await.unwrap();
    assert_eq!(
        (
            ignored.status.as_u16(),
            ignored.headers.get("x-amz-server-side-encryption")
        ),
        (200, None)
    );
}

#[tokio::test]
async fn what_the_store_does_not_have_is_not_implemented() {
    let s3 = start().await;
    s3.put_object("key", b"x", None).unwrap();
    for request in [
        Raw::new("GET", "/heys-backups"),
        Raw::new("GET", "/heys-backups")
            .query("list-type", "2")
            .query("delimiter", "/"),
        Raw::new("GET", "/heys-backups").query("versioning", ""),
        Raw::new("PUT", "/heys-backups/key")
            .header("x-amz-tagging", "a=b")
            .body("x"),
        Raw::new("PUT", "/heys-backups/key")
            .header("x-amz-acl", "private")
            .body("x"),
        Raw::new("PUT", "/heys-backups/copy")
            .header("x-amz-copy-source", "/heys-backups/key")
            .body("x"),
    ] {
        assert_eq!(
            refused(&s3, request.clone()).await,
            answer(501, "NotImplemented"),
            "{request:?}"
        );
    }
}

#[tokio::test]
async fn if_none_match_makes_a_lock() {
    let s3 = start().await;
    let put = || {
        Raw::new("PUT", "/heys-backups/lock")
            .header("if-none-match", "*")
            .body("x")
    };
    assert_eq!(put().send(s3.info()).await.unwrap().status, 200);
    assert_eq!(refused(&s3, put()).await, answer(412, "PreconditionFailed"));
}

#[tokio::test]
async fn a_store_leaves_no_folder() {
    let s3 = start().await;
    s3.put_object("key", b"x", None).unwrap();
    let folder = s3.info().folder.clone();
    assert!(folder.exists());
    drop(s3);
    assert!(!folder.exists());
    assert!(!folder.parent().unwrap().exists());
}
