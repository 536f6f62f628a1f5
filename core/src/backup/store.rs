//! The object store: single requests with their repetitions, and what their failures mean.

use std::future::Future;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation, SharedHttpClient,
    StalledStreamProtectionConfig, retry::RetryConfig,
};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::complete_multipart_upload::CompleteMultipartUploadOutput;
use aws_sdk_s3::primitives::SdkBody;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart, ServerSideEncryption, StorageClass};
use bytes::Bytes;

use super::retention::Listed;
use super::settings::{Retry, StoreSettings};
use super::store_error::{Failure, explain};
use crate::Result;

/// Pages of a listing that are read at most: a million objects.
const PAGES: usize = 1000;
/// Attempts of a request whose failure costs nothing yet.
const FIRST_ATTEMPTS: u32 = 4;

/// One bucket.
#[derive(Clone)]
pub(super) struct Store {
    client: aws_sdk_s3::Client,
    settings: Arc<StoreSettings>,
}

/// What HEAD says of an object.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) bytes: u64,
    pub(super) etag: String,
    pub(super) storage_class: Option<String>,
    pub(super) encryption: Option<String>,
}

/// An upload that nobody has completed or aborted.
pub(super) struct OpenUpload {
    pub(super) key: String,
    pub(super) id: String,
    pub(super) initiated: Option<SystemTime>,
}

impl Store {
    pub(super) fn new(settings: &StoreSettings, http: SharedHttpClient) -> Store {
        let credentials = Credentials::new(
            settings.access_key_id.as_str(),
            settings.secret_access_key.as_str(),
            None,
            None,
            "heys-db",
        );
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .endpoint_url(&settings.endpoint)
            .region(Region::new(settings.region.clone()))
            .credentials_provider(credentials)
            .force_path_style(true)
            .disable_s3_express_session_auth(true)
            // The store refuses checksum trailers and aws-chunked bodies; parts carry Content-MD5.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            // Repetitions and timeouts are ours: they know the deadline, and Complete needs its own kind.
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::disabled())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .http_client(http)
            .build();
        Store {
            client: aws_sdk_s3::Client::from_conf(config),
            settings: Arc::new(settings.clone()),
        }
    }

    pub(super) fn settings(&self) -> &StoreSettings {
        &self.settings
    }

    /// Opens an upload: the preflight; returns its id. When a reply was lost, an upload with another id is open, too: after
    /// a repetition that went well, and after a failure, which is raw so that the caller can look.
    pub(super) async fn create(&self, key: &str) -> Result<String, Failure> {
        let settings = &self.settings;
        let answer = self
            .repeated(FIRST_ATTEMPTS, Duration::ZERO, || {
                self.client
                    .create_multipart_upload()
                    .bucket(&settings.bucket)
                    .key(key)
                    .content_type("application/gzip")
                    .set_storage_class(settings.storage_class.as_deref().map(StorageClass::from))
                    .set_server_side_encryption(settings.encryption.as_deref().map(ServerSideEncryption::from))
                    .set_ssekms_key_id(settings.kms_key_id.clone())
                    .send()
            })
            .await?;
        match answer.upload_id {
            Some(id) if !id.is_empty() => Ok(id),
            _ => Err(Failure::odd("the answer has no upload id")),
        }
    }

    /// Sends one part; returns its ETag.
    pub(super) async fn upload_part(&self, key: &str, id: &str, number: i32, body: Bytes) -> Result<String> {
        let digest = openssl::hash::hash(openssl::hash::MessageDigest::md5(), &body).map_err(|error| {
            crate::Error::new(crate::error::Kind::Store, "no MD5 from OpenSSL for Content-MD5").with_source(error)
        })?;
        let md5 = openssl::base64::encode_block(&digest);
        let length = i64::try_from(body.len()).unwrap_or(i64::MAX);
        let speed = self.settings.retry.bytes_per_second.max(1);
        let by_length = Duration::from_secs_f64(body.len() as f64 / speed as f64);
        let what = format!("part {number} could not be uploaded");
        let answer = self
            .repeated(u32::MAX, by_length, || {
                self.client
                    .upload_part()
                    .bucket(&self.settings.bucket)
                    .key(key)
                    .upload_id(id)
                    .part_number(number)
                    .content_length(length)
                    .content_md5(&md5)
                    .body(SdkBody::from(body.clone()).into())
                    .send()
            })
            .await
            .map_err(|failure| explain(&failure, &what, &self.settings))?;
        answer
            .e_tag
            .filter(|etag| !etag.is_empty())
            .ok_or_else(|| explain(&Failure::odd("the answer has no ETag"), &what, &self.settings))
    }

    /// Makes one object of the parts. The failure is raw, because only the caller can tell what became of the upload.
    pub(super) async fn complete(
        &self,
        key: &str,
        id: &str,
        parts: Vec<CompletedPart>,
    ) -> Result<CompleteMultipartUploadOutput, Failure> {
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        // The store may work for minutes before it answers.
        self.repeated(u32::MAX, self.settings.retry.attempt_timeout * 9, || {
            self.client
                .complete_multipart_upload()
                .bucket(&self.settings.bucket)
                .key(key)
                .upload_id(id)
                .multipart_upload(parts.clone())
                .send()
        })
        .await
    }

    /// Gives an upload up; one that is gone already counts as given up.
    pub(super) async fn abort(&self, key: &str, id: &str) -> Result<(), Failure> {
        let answer = self
            .repeated(u32::MAX, Duration::ZERO, || {
                self.client
                    .abort_multipart_upload()
                    .bucket(&self.settings.bucket)
                    .key(key)
                    .upload_id(id)
                    .send()
            })
            .await;
        match answer {
            Err(failure) if failure.code() != Some("NoSuchUpload") => Err(failure),
            _ => Ok(()),
        }
    }

    /// `None` = there is no such object.
    pub(super) async fn head(&self, key: &str) -> Result<Option<Head>, Failure> {
        let answer = self
            .repeated(FIRST_ATTEMPTS, Duration::ZERO, || {
                self.client.head_object().bucket(&self.settings.bucket).key(key).send()
            })
            .await;
        match answer {
            Ok(head) => Ok(Some(Head {
                bytes: head.content_length().and_then(|n| u64::try_from(n).ok()).unwrap_or(0),
                etag: head.e_tag().unwrap_or_default().to_owned(),
                storage_class: head.storage_class().map(|class| class.as_str().to_owned()),
                encryption: head.server_side_encryption().map(|sse| sse.as_str().to_owned()),
            })),
            Err(failure) if failure.status() == Some(404) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Every object whose key begins with `prefix`.
    pub(super) async fn list(&self, prefix: &str) -> Result<Vec<Listed>, Failure> {
        let mut objects = Vec::new();
        let mut token: Option<String> = None;
        for _ in 0..PAGES {
            let page = self
                .repeated(FIRST_ATTEMPTS, Duration::ZERO, || {
                    self.client
                        .list_objects_v2()
                        .bucket(&self.settings.bucket)
                        .prefix(prefix)
                        .set_continuation_token(token.clone())
                        .send()
                })
                .await?;
            for object in page.contents() {
                objects.push(Listed {
                    key: object.key().unwrap_or_default().to_owned(),
                    bytes: object.size().and_then(|n| u64::try_from(n).ok()).unwrap_or(0),
                });
            }
            token = page.next_continuation_token().map(str::to_owned);
            if page.is_truncated() != Some(true) {
                return Ok(objects);
            }
            if token.is_none() {
                return Err(Failure::odd("the listing is cut off without a token to go on"));
            }
        }
        Err(Failure::odd("the listing has no end"))
    }

    /// Every open upload whose key begins with `prefix`.
    pub(super) async fn open_uploads(&self, prefix: &str) -> Result<Vec<OpenUpload>, Failure> {
        let mut uploads = Vec::new();
        let mut marker: (Option<String>, Option<String>) = (None, None);
        for _ in 0..PAGES {
            let page = self
                .repeated(FIRST_ATTEMPTS, Duration::ZERO, || {
                    self.client
                        .list_multipart_uploads()
                        .bucket(&self.settings.bucket)
                        .prefix(prefix)
                        .set_key_marker(marker.0.clone())
                        .set_upload_id_marker(marker.1.clone())
                        .send()
                })
                .await?;
            for upload in page.uploads() {
                uploads.push(OpenUpload {
                    key: upload.key().unwrap_or_default().to_owned(),
                    id: upload.upload_id().unwrap_or_default().to_owned(),
                    initiated: upload.initiated().and_then(|time| SystemTime::try_from(*time).ok()),
                });
            }
            if page.is_truncated() != Some(true) {
                return Ok(uploads);
            }
            marker = (
                page.next_key_marker().map(str::to_owned),
                page.next_upload_id_marker().map(str::to_owned),
            );
            if marker.0.is_none() {
                return Err(Failure::odd(
                    "the listing of uploads is cut off without a marker to go on",
                ));
            }
        }
        Err(Failure::odd("the listing of uploads has no end"))
    }

    /// Deletes one object. (DeleteObjects would need a checksum header that the store refuses.)
    pub(super) async fn delete(&self, key: &str) -> Result<(), Failure> {
        self.repeated(FIRST_ATTEMPTS, Duration::ZERO, || {
            self.client
                .delete_object()
                .bucket(&self.settings.bucket)
                .key(key)
                .send()
        })
        .await
        .map(drop)
    }

    /// Sends a request until it is answered for good: at most as often as the settings say and `attempts` allows, with
    /// growing delays. `extra` is added to the time of one attempt.
    async fn repeated<T, E, F>(
        &self,
        attempts: u32,
        extra: Duration,
        mut request: impl FnMut() -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, SdkError<E>>>,
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let retry = &self.settings.retry;
        let attempts = retry.attempts.min(attempts).max(1);
        let timeout = retry.attempt_timeout + extra;
        let mut attempt = 1;
        loop {
            let failure = match tokio::time::timeout(timeout, request()).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => Failure::of(&error),
                Err(_) => Failure::timeout(timeout),
            };
            if !failure.may_heal() || attempt >= attempts {
                return Err(failure.after(attempt));
            }
            tokio::time::sleep(delay(retry, attempt)).await;
            attempt += 1;
        }
    }
}

/// Before attempt `attempt` + 1: doubling, with jitter in its upper half, so that many functions do not come together.
fn delay(retry: &Retry, attempt: u32) -> Duration {
    let full = retry
        .first_delay
        .saturating_mul(1 << (attempt - 1).min(16))
        .min(retry.max_delay);
    let random = std::hash::RandomState::new().build_hasher().finish();
    full.mul_f64(0.5 + 0.5 * (random as f64 / u64::MAX as f64))
}
