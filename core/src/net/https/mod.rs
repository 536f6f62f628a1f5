//! The one HTTPS client: hyper on OpenSSL. It serves the AWS SDK ([`Client::smithy`]) and plain requests (Telegram).
//!
//! Error messages name the host, never the path: Telegram's holds the bot's token.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::error::Kind;
use crate::{Error, Result};

mod body;
mod connector;
mod smithy;

use body::Chunked;
use connector::{Connector, Tls};

/// Pooled connections that were idle for longer are closed; a frozen function's are mostly dead by then.
const IDLE: Duration = Duration::from_secs(20);

/// What a client trusts and how long it waits.
#[derive(Debug, Clone)]
pub struct HttpsOptions {
    /// PEM, trusted when the system has no store (Node's `tls.rootCertificates`).
    pub extra_roots: Option<Arc<[u8]>>,
    /// AWS_CA_BUNDLE: a file of further roots. It must be there when the first connection is made.
    pub ca_bundle: Option<PathBuf>,
    /// For DNS, TCP and TLS together (10 s). The SDK's own setting goes first.
    pub connect_timeout: Duration,
    /// For one whole plain request, answer included (30 s). The SDK's requests have their own limits.
    pub request_timeout: Duration,
    /// The longest body of a plain answer (1 MiB).
    pub max_body: usize,
}

impl Default for HttpsOptions {
    fn default() -> HttpsOptions {
        HttpsOptions {
            extra_roots: None,
            ca_bundle: None,
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            max_body: 1024 * 1024,
        }
    }
}

type Hyper = legacy::Client<Connector, Chunked<SdkBody>>;

/// A client with its pool of connections. Clones share it. Use it on one tokio runtime.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    options: HttpsOptions,
    tls: Tls,
    /// One for each connect timeout in use: one or two.
    clients: Mutex<Vec<(Duration, Hyper)>>,
}

/// An answer with its whole body.
pub type Response = http::Response<Bytes>;

impl Client {
    /// Opens no file and no socket: roots are loaded when the first `https` connection is made, and kept.
    pub fn new(options: HttpsOptions) -> Result<Client> {
        Ok(Client {
            shared: Arc::new(Shared {
                tls: Tls::new(options.extra_roots.clone(), options.ca_bundle.clone()),
                options,
                clients: Mutex::default(),
            }),
        })
    }

    /// The same client for `aws_sdk_s3::config::Builder::http_client`.
    pub fn smithy(&self) -> SharedHttpClient {
        SharedHttpClient::new(smithy::Smithy(self.clone()))
    }

    /// One request to an absolute `http` or `https` address. Any status is an answer, redirects are not followed.
    pub async fn request(&self, request: http::Request<Bytes>) -> Result<Response> {
        let host = request.uri().host().unwrap_or("").to_owned();
        let Shared { options, .. } = &*self.shared;
        let client = self.hyper(options.connect_timeout);
        let work = async {
            let response = client
                .request(request.map(|body| Chunked::new(SdkBody::from(body))))
                .await
                .map_err(|error| failure(&host, error))?;
            let (parts, body) = response.into_parts();
            let body = Limited::new(body, options.max_body)
                .collect()
                .await
                .map_err(|error| match error.downcast_ref::<LengthLimitError>() {
                    Some(_) => Error::new(
                        Kind::Protocol,
                        format!("the answer of {host} is longer than {} bytes", options.max_body),
                    ),
                    None => Error::new(Kind::Io, format!("the answer of {host} broke off")).with_source(error),
                })?;
            Ok(http::Response::from_parts(parts, body.to_bytes()))
        };
        match tokio::time::timeout(options.request_timeout, work).await {
            Ok(result) => result,
            Err(_) => Err(Error::new(
                Kind::Io,
                format!(
                    "{host} did not answer within {} ms",
                    options.request_timeout.as_millis()
                ),
            )
            .with_name("ETIMEDOUT")),
        }
    }

    /// GET with further headers.
    pub async fn get(&self, url: &str, headers: &[(&str, &str)]) -> Result<Response> {
        self.send(http::Method::GET, url, headers, Bytes::new()).await
    }

    /// POST of a JSON text.
    pub async fn post_json(&self, url: &str, json: impl Into<Bytes>) -> Result<Response> {
        let headers = [("content-type", "application/json")];
        self.send(http::Method::POST, url, &headers, json.into()).await
    }

    async fn send(&self, method: http::Method, url: &str, headers: &[(&str, &str)], body: Bytes) -> Result<Response> {
        let mut request = http::Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body).map_err(|error| {
            Error::new(
                Kind::Config,
                "a request cannot be sent: its URL or a header is not valid",
            )
            .with_source(error)
        })?;
        self.request(request).await
    }

    fn hyper(&self, connect_timeout: Duration) -> Hyper {
        let mut clients = self.shared.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, client)) = clients.iter().find(|(timeout, _)| *timeout == connect_timeout) {
            return client.clone();
        }
        let client = legacy::Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            // The connector's sockets never take vectored writes; say so to hyper too.
            .http1_writev(false)
            .build(Connector::new(self.shared.tls.clone(), connect_timeout));
        clients.push((connect_timeout, client.clone()));
        client
    }
}

/// The connector's own error where there is one, else what hyper says.
fn failure(host: &str, error: legacy::Error) -> Error {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(inner) = source {
        if let Some(own) = inner.downcast_ref::<Error>() {
            let mut out = Error::new(own.kind(), format!("{host}: {own}"));
            if let Some(code) = own.code() {
                out = out.with_name(code.to_owned());
            }
            if let Some(place) = own.place() {
                out = out.with_place(place.clone());
            }
            return out.with_source(error);
        }
        source = inner.source();
    }
    let why = match std::error::Error::source(&error) {
        Some(source) => source.to_string(),
        None => error.to_string(),
    };
    Error::new(Kind::Io, format!("the request to {host} failed: {why}")).with_source(error)
}
