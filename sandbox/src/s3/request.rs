//! Which operation a request is, before anything reads its body, and whether its headers are allowed.

use hyper::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, TRAILER, TRANSFER_ENCODING};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method};
use s3s::{S3Error, S3ErrorCode, S3Result};
use serde::Serialize;

/// What a request asks for, by S3's name of the operation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// `UploadPart`, `ListObjectsV2`, …; `Unknown` for what the sandbox does not have.
    pub operation: String,
    /// The bucket.
    pub bucket: String,
    /// The object's key; empty for operations on a bucket.
    pub key: String,
    /// Of UploadPart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub part_number: Option<u32>,
}

impl Target {
    pub(super) fn of(parts: &Parts) -> Target {
        let path = parts.uri.path().trim_start_matches('/');
        let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
        let query: Vec<(String, String)> = parts
            .uri
            .query()
            .unwrap_or_default()
            .split('&')
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .map(|(name, value)| (percent_decode(name), percent_decode(value)))
            .collect();
        let find = |wanted: &str| {
            query
                .iter()
                .find(|(name, _)| name == wanted)
                .map(|(_, value)| value.as_str())
        };
        let has = |wanted: &str| find(wanted).is_some();
        let method = &parts.method;
        let operation = match (method.as_str(), key.is_empty()) {
            ("POST", false) if has("uploads") => "CreateMultipartUpload",
            ("PUT", false) if has("uploadId") => "UploadPart",
            ("POST", false) if has("uploadId") => "CompleteMultipartUpload",
            ("DELETE", false) if has("uploadId") => "AbortMultipartUpload",
            ("GET", false) if has("uploadId") => "ListParts",
            ("PUT", false) => "PutObject",
            ("GET", false) => "GetObject",
            ("HEAD", false) => "HeadObject",
            ("DELETE", false) => "DeleteObject",
            ("POST", true) if has("delete") => "DeleteObjects",
            ("GET", true) if has("uploads") => "ListMultipartUploads",
            ("GET", true) if find("list-type") == Some("2") => "ListObjectsV2",
            ("HEAD", true) => "HeadBucket",
            ("PUT", true) if parts.uri.query().is_none_or(str::is_empty) => "CreateBucket",
            _ => "Unknown",
        };
        Target {
            operation: operation.into(),
            bucket: percent_decode(bucket),
            key: percent_decode(key),
            part_number: find("partNumber").and_then(|number| number.parse().ok()),
        }
    }
}

/// Refuses what Object Storage refuses, before the body is read: chunked bodies, trailers, checksum headers, bodies
/// without a length, parts without Content-MD5, other signatures than version 4, another region.
pub(super) fn check(parts: &Parts, target: &Target, region: &str, require_content_md5: bool) -> S3Result<()> {
    let headers = &parts.headers;
    let value = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    };
    if value("x-amz-content-sha256").starts_with("STREAMING-")
        || value(CONTENT_ENCODING.as_str())
            .split(',')
            .any(|coding| coding.trim() == "aws-chunked")
        || headers.contains_key("x-amz-decoded-content-length")
    {
        return refuse(S3ErrorCode::NotImplemented, "aws-chunked bodies are not supported");
    }
    if headers.contains_key("x-amz-trailer") || headers.contains_key(TRAILER) {
        return refuse(S3ErrorCode::NotImplemented, "trailers are not supported");
    }
    if let Some(name) = headers.keys().find(|name| is_checksum(name.as_str())) {
        return refuse(
            S3ErrorCode::NotImplemented,
            format!("the header {name} is not supported"),
        );
    }
    let has_body =
        parts.method == Method::PUT || matches!(&*target.operation, "CompleteMultipartUpload" | "DeleteObjects");
    if headers.contains_key(TRANSFER_ENCODING) || (has_body && !headers.contains_key(CONTENT_LENGTH)) {
        return refuse(S3ErrorCode::MissingContentLength, "a body needs Content-Length");
    }
    let needs_md5 = matches!(&*target.operation, "UploadPart" | "DeleteObjects");
    if require_content_md5 && needs_md5 && !headers.contains_key("content-md5") {
        return refuse(
            S3ErrorCode::InvalidRequest,
            "Missing required header for this request: Content-MD5",
        );
    }
    check_signature_form(headers, region)
}

fn is_checksum(name: &str) -> bool {
    name.starts_with("x-amz-checksum-") || name == "x-amz-sdk-checksum-algorithm"
}

/// The credential's scope: access key, date, region, `s3`, `aws4_request`. The signature itself is checked by s3s.
fn check_signature_form(headers: &HeaderMap, region: &str) -> S3Result<()> {
    let Some(authorization) = headers.get(AUTHORIZATION) else {
        return Ok(());
    };
    let authorization = authorization.to_str().unwrap_or_default();
    let Some(rest) = authorization.strip_prefix("AWS4-HMAC-SHA256 ") else {
        return refuse(S3ErrorCode::InvalidRequest, "Please use AWS4-HMAC-SHA256.");
    };
    let scope = rest
        .split(',')
        .find_map(|field| field.trim().strip_prefix("Credential="))
        .unwrap_or_default();
    match scope.split('/').nth(2) {
        Some(given) if given == region => Ok(()),
        given => refuse(
            S3ErrorCode::AuthorizationHeaderMalformed,
            format!(
                "the region '{}' is wrong; expecting '{region}'",
                given.unwrap_or_default()
            ),
        ),
    }
}

fn refuse<T>(code: S3ErrorCode, message: impl Into<std::borrow::Cow<'static, str>>) -> S3Result<T> {
    Err(S3Error::with_message(code, message))
}

/// Escapes that are none stay as they are.
pub(crate) fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let escaped = (first == b'%')
            .then(|| after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok()))
            .flatten()
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match escaped {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn target(method: &str, uri: &str) -> Target {
        Target::of(
            &hyper::Request::builder()
                .method(method)
                .uri(uri)
                .body(())
                .unwrap()
                .into_parts()
                .0,
        )
    }

    #[test]
    fn operations_are_known_by_method_path_and_query() {
        for (method, uri, operation) in [
            ("POST", "/b/k?uploads", "CreateMultipartUpload"),
            ("POST", "/b/k?uploads=", "CreateMultipartUpload"),
            ("PUT", "/b/k?partNumber=1&uploadId=x", "UploadPart"),
            ("POST", "/b/k?uploadId=x", "CompleteMultipartUpload"),
            (
                "DELETE",
                "/b/k?x-id=AbortMultipartUpload&uploadId=x",
                "AbortMultipartUpload",
            ),
            ("GET", "/b/k?uploadId=x", "ListParts"),
            ("GET", "/b?uploads", "ListMultipartUploads"),
            ("GET", "/b/?list-type=2&prefix=a%2Fb", "ListObjectsV2"),
            ("GET", "/b", "Unknown"),
            ("POST", "/b?delete", "DeleteObjects"),
            ("HEAD", "/b/k", "HeadObject"),
            ("PUT", "/b/k?x-id=PutObject", "PutObject"),
            ("PUT", "/b?acl", "Unknown"),
        ] {
            assert_eq!(target(method, uri).operation, operation, "{method} {uri}");
        }
        let part = target("PUT", "/b/a%20folder/k%2Bv.gz?partNumber=12&uploadId=x");
        assert_eq!(
            (&*part.bucket, &*part.key, part.part_number),
            ("b", "a folder/k+v.gz", Some(12))
        );
    }

    #[test]
    fn a_lone_percent_sign_stays() {
        assert_eq!(percent_decode("100%"), "100%");
        assert_eq!(percent_decode("%zz%41"), "%zzA");
    }
}
