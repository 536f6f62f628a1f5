//! Two clients of the store: one that signs exactly the request it is given, and the SDK.
// Each test file is a crate of its own and uses what it needs.
#![allow(clippy::unwrap_used, dead_code, unreachable_pub)]

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_sdk_s3::config::{
    BehaviorVersion, Builder, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use heys_sandbox::{S3, S3Info};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::{Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector as Tcp;
use hyper_util::rt::TokioExecutor;
use openssl::hash::{MessageDigest, hash};
use openssl::pkey::PKey;
use openssl::sign::Signer;

pub const KEY: &str = "heys-production-2026-01-02T03-04-05.dump.gz";
pub const MEBIBYTE: usize = 1 << 20;

/// What the store answered.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: hyper::HeaderMap,
    pub body: String,
}

impl Reply {
    /// The text of the first such XML element.
    pub fn element(&self, name: &str) -> Option<String> {
        let (_, rest) = self.body.split_once(&format!("<{name}>"))?;
        Some(rest.split_once(&format!("</{name}>"))?.0.to_owned())
    }

    pub fn code(&self) -> String {
        self.element("Code").unwrap_or_default()
    }
}

/// A request that is signed as it stands.
#[derive(Debug, Clone)]
pub struct Raw {
    pub method: &'static str,
    pub path: String,
    /// Sorted pairs, values as they are signed.
    pub query: Vec<(&'static str, String)>,
    pub headers: BTreeMap<&'static str, String>,
    pub body: Vec<u8>,
    /// Send it with `transfer-encoding: chunked`.
    pub chunked: bool,
}

impl Raw {
    pub fn new(method: &'static str, path: impl Into<String>) -> Raw {
        let (query, headers) = (Vec::new(), BTreeMap::new());
        Raw {
            method,
            path: path.into(),
            query,
            headers,
            body: Vec::new(),
            chunked: false,
        }
    }

    pub fn query(mut self, name: &'static str, value: impl Into<String>) -> Raw {
        self.query.push((name, value.into()));
        self.query.sort();
        self
    }

    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Raw {
        self.headers.insert(name, value.into());
        self
    }

    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Raw {
        self.body = body.into();
        self
    }

    /// Adds the right Content-MD5.
    pub fn md5(self) -> Raw {
        let digest = hash(MessageDigest::md5(), &self.body).unwrap();
        self.header("content-md5", openssl::base64::encode_block(&digest))
    }

    pub fn part(upload: &str, number: u32, body: impl Into<Vec<u8>>) -> Raw {
        let part = Raw::new("PUT", format!("/heys-backups/{KEY}")).query("partNumber", number.to_string());
        part.query("uploadId", upload).body(body).md5()
    }

    /// Signs (AWS Signature Version 4, header form) and sends on a new connection.
    pub async fn send(self, info: &S3Info) -> Result<Reply, hyper_util::client::legacy::Error> {
        let request = self.sign(info);
        let client = Client::builder(TokioExecutor::new()).build::<_, UnsyncBoxBody<Bytes, hyper::Error>>(Tcp::new());
        let response = client.request(request).await?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let body = String::from_utf8_lossy(&body).into_owned();
        Ok(Reply {
            status: parts.status,
            headers: parts.headers,
            body,
        })
    }

    fn sign(mut self, info: &S3Info) -> Request<UnsyncBoxBody<Bytes, hyper::Error>> {
        let (date, time) = amz_date();
        let host = format!("127.0.0.1:{}", info.port);
        self.headers.insert("host", host.clone());
        self.headers.entry("x-amz-date").or_insert(time.clone());
        let payload = hex(&hash(MessageDigest::sha256(), &self.body).unwrap());
        let payload = self.headers.entry("x-amz-content-sha256").or_insert(payload).clone();
        let query: Vec<String> = self
            .query
            .iter()
            .map(|(name, value)| format!("{name}={}", escape(value)))
            .collect();
        let query = query.join("&");
        let headers: String = self
            .headers
            .iter()
            .map(|(name, value)| format!("{name}:{value}\n"))
            .collect();
        let names: Vec<&str> = self.headers.keys().copied().collect();
        let names = names.join(";");
        let canonical = format!("{}\n{}\n{query}\n{headers}\n{names}\n{payload}", self.method, self.path);
        let scope = format!("{date}/{}/s3/aws4_request", info.region);
        let digest = hex(&hash(MessageDigest::sha256(), canonical.as_bytes()).unwrap());
        let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{digest}");
        let mut key = format!("AWS4{}", info.secret_access_key).into_bytes();
        for part in [&*date, &*info.region, "s3", "aws4_request"] {
            key = hmac(&key, part.as_bytes());
        }
        let signature = hex(&hmac(&key, text.as_bytes()));
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
            info.access_key_id
        );
        let uri = format!("http://{host}{}?{query}", self.path);
        let mut request = Request::builder().method(self.method).uri(uri.trim_end_matches('?'));
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        if !self.headers.contains_key("authorization") {
            request = request.header("authorization", authorization);
        }
        let body = Full::new(Bytes::from(self.body)).map_err(|never| match never {});
        if !self.chunked {
            return request.body(body.boxed_unsync()).unwrap();
        }
        request.body(Unsized(body.boxed_unsync()).boxed_unsync()).unwrap()
    }
}

/// A body that does not tell its length.
struct Unsized(UnsyncBoxBody<Bytes, hyper::Error>);

impl http_body::Body for Unsized {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, hyper::Error>>> {
        std::pin::Pin::new(&mut self.0).poll_frame(cx)
    }
}

/// Creates an upload of [`KEY`] and returns its id.
pub async fn create_upload(s3: &S3) -> String {
    let create = Raw::new("POST", format!("/heys-backups/{KEY}")).query("uploads", "");
    create.send(s3.info()).await.unwrap().element("UploadId").unwrap()
}

/// Uploads a part and returns its ETag.
pub async fn upload_part(s3: &S3, upload: &str, number: u32, body: impl Into<Vec<u8>>) -> String {
    let reply = Raw::part(upload, number, body).send(s3.info()).await.unwrap();
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.headers["etag"].to_str().unwrap().to_owned()
}

pub fn complete(upload: &str, parts: &[(u32, &str)]) -> Raw {
    let parts: String = parts
        .iter()
        .map(|(number, e_tag)| format!("<Part><PartNumber>{number}</PartNumber><ETag>{e_tag}</ETag></Part>"))
        .collect();
    let body = format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>");
    Raw::new("POST", format!("/heys-backups/{KEY}"))
        .query("uploadId", upload)
        .body(body)
}

/// The SDK on a plain hyper client, without retries unless asked for.
pub fn sdk(info: &S3Info, change: impl FnOnce(Builder) -> Builder) -> aws_sdk_s3::Client {
    let credentials = Credentials::new(&info.access_key_id, &info.secret_access_key, None, None, "sandbox");
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .endpoint_url(&info.endpoint)
        .region(Region::new(info.region.clone()))
        .force_path_style(true)
        .credentials_provider(credentials)
        .retry_config(aws_sdk_s3::config::retry::RetryConfig::disabled())
        .http_client(Plain(Client::builder(TokioExecutor::new()).build(Tcp::new())));
    aws_sdk_s3::Client::from_conf(change(config).build())
}

/// Checksums only where an operation demands them, which is what Object Storage needs.
pub fn when_required(builder: Builder) -> Builder {
    builder
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
}

#[derive(Debug, Clone)]
struct Plain(Client<Tcp, SdkBody>);

impl HttpClient for Plain {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Plain {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let client = self.0.clone();
        HttpConnectorFuture::new(async move {
            let request = request
                .try_into_http1x()
                .map_err(|error| ConnectorError::user(error.into()))?;
            let response = client
                .request(request)
                .await
                .map_err(|error| ConnectorError::io(error.into()))?;
            let response = response.map(SdkBody::from_body_1_x);
            response
                .try_into()
                .map_err(|error: aws_smithy_runtime_api::http::HttpError| ConnectorError::other(error.into(), None))
        })
    }
}

fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let key = PKey::hmac(key).unwrap();
    let mut signer = Signer::new(MessageDigest::sha256(), &key).unwrap();
    signer.sign_oneshot_to_vec(text).unwrap()
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn escape(value: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    value
        .bytes()
        .map(|byte| {
            if plain(byte) {
                (byte as char).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

/// `20260102` and `20260102T030405Z` for now.
fn amz_date() -> (String, String) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
    let time = openssl::asn1::Asn1Time::from_unix(now).unwrap().to_string();
    // "Jan  2 03:04:05 2026 GMT"
    let fields: Vec<&str> = time.split_whitespace().collect();
    let months = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let month = months.iter().position(|month| *month == fields[0]).unwrap() + 1;
    let date = format!("{}{month:02}{:0>2}", fields[3], fields[1]);
    let clock = fields[2].replace(':', "");
    (date.clone(), format!("{date}T{clock}Z"))
}
