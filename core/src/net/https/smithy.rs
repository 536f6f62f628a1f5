//! The client as the AWS SDK's HttpClient.

use std::fmt;
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use hyper_util::client::legacy;

use super::body::Chunked;
use super::{Client, Hyper, failure};
use crate::Error;
use crate::error::Kind;

pub(super) struct Smithy(pub(super) Client);

struct SmithyConnector {
    hyper: Hyper,
    read_timeout: Option<Duration>,
}

impl fmt::Debug for Smithy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Smithy")
    }
}

impl fmt::Debug for SmithyConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SmithyConnector")
    }
}

impl HttpClient for Smithy {
    fn http_connector(&self, settings: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        let default = self.0.shared.options.connect_timeout;
        SharedHttpConnector::new(SmithyConnector {
            hyper: self.0.hyper(settings.connect_timeout().unwrap_or(default)),
            read_timeout: settings.read_timeout(),
        })
    }
}

impl HttpConnector for SmithyConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let request = match request.try_into_http1x() {
            Ok(request) => request.map(Chunked::new),
            Err(error) => return HttpConnectorFuture::ready(Err(ConnectorError::user(error.into()))),
        };
        let host = request.uri().host().unwrap_or("").to_owned();
        let response = self.hyper.request(request);
        let limit = self.read_timeout;
        HttpConnectorFuture::new(async move {
            let response = match limit {
                None => response.await,
                Some(limit) => tokio::time::timeout(limit, response).await.map_err(|_| {
                    let text = format!("{host} did not answer within {} ms", limit.as_millis());
                    ConnectorError::timeout(Error::new(Kind::Io, text).with_name("ETIMEDOUT").into())
                })?,
            };
            let response = response.map_err(|error| classify(&host, error))?;
            HttpResponse::try_from(response.map(SdkBody::from_body_1_x))
                .map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}

/// What the SDK retries: timeouts and sockets that broke; never a refused certificate.
fn classify(host: &str, error: legacy::Error) -> ConnectorError {
    let user = std::error::Error::source(&error)
        .and_then(|source| source.downcast_ref::<hyper::Error>())
        .is_some_and(hyper::Error::is_user);
    let error = failure(host, error);
    match error.kind() {
        _ if user => ConnectorError::user(error.into()),
        Kind::ConnectTimeout => ConnectorError::timeout(error.into()),
        Kind::Io | Kind::Dns => ConnectorError::io(error.into()),
        _ => ConnectorError::other(error.into(), None),
    }
}
