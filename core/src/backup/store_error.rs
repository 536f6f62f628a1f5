//! What the store's failures mean, and what mends them.

use std::time::Duration;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

use super::settings::StoreSettings;
use crate::error::{Error, Kind};

/// One request that failed for good.
#[derive(Debug)]
pub(super) struct Failure {
    code: Option<String>,
    status: Option<u16>,
    /// What the store or the network said.
    text: String,
    may_heal: bool,
    attempts: u32,
}

/// Codes that say "again" whatever the status (S3 error responses; BadDigest and IncompleteBody: bytes lost on the way).
const HEALING: &[&str] = &[
    "SlowDown",
    "InternalError",
    "ServiceUnavailable",
    "RequestTimeout",
    "RequestTimeoutException",
    "OperationAborted",
    "Throttling",
    "ThrottlingException",
    "TooManyRequests",
    "RequestLimitExceeded",
    "BadDigest",
    "IncompleteBody",
];

impl Failure {
    pub(super) fn of<E>(error: &SdkError<E>) -> Failure
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let status = error.raw_response().map(|response| response.status().as_u16());
        let code = error.code().map(str::to_owned);
        let text = match (error.message(), &code) {
            (Some(message), _) => message.to_owned(),
            (None, Some(_)) => String::new(),
            (None, None) => reason(error),
        };
        let may_heal = match error {
            SdkError::ConstructionFailure(_) => false,
            // Nothing came, or something that is not HTTP. A certificate that is refused will be refused again.
            SdkError::TimeoutError(_) | SdkError::ResponseError(_) => true,
            SdkError::DispatchFailure(_) => !text.contains("certificate"),
            _ => match &code {
                Some(code) if HEALING.contains(&code.as_str()) => true,
                _ => status.is_none_or(|status| status >= 500 || status == 429 || status == 408),
            },
        };
        Failure {
            code,
            status,
            text,
            may_heal,
            attempts: 1,
        }
    }

    /// An attempt that was given up after `limit`.
    pub(super) fn timeout(limit: Duration) -> Failure {
        Failure {
            code: None,
            status: None,
            text: format!("no answer within {limit:?}"),
            may_heal: true,
            attempts: 1,
        }
    }

    /// An answer that makes no sense.
    pub(super) fn odd(text: &str) -> Failure {
        Failure {
            code: None,
            status: None,
            text: text.to_owned(),
            may_heal: false,
            attempts: 1,
        }
    }

    pub(super) fn after(mut self, attempts: u32) -> Failure {
        self.attempts = attempts;
        self
    }

    /// Whether another attempt makes sense.
    pub(super) fn may_heal(&self) -> bool {
        self.may_heal
    }

    pub(super) fn code(&self) -> Option<&str> {
        self.code.as_deref()
    }

    pub(super) fn status(&self) -> Option<u16> {
        self.status
    }

    /// What was said, with the code or status, and the attempts if there were several.
    pub(super) fn shown(&self) -> String {
        let text: String = self.text.chars().take(300).collect();
        let said = match (&self.code, self.status) {
            (Some(code), _) if text.is_empty() => code.clone(),
            (Some(code), _) => format!("{code}: {text}"),
            (None, Some(status)) if text.is_empty() => format!("HTTP status {status}"),
            (None, Some(status)) => format!("HTTP status {status}: {text}"),
            (None, None) => text,
        };
        match self.attempts {
            0 | 1 => said,
            n => format!("{said} ({n} attempts)"),
        }
    }
}

/// Our own connector's error where it is the cause, with all that it says; else the last cause's.
fn reason(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    loop {
        if let Some(own) = cause.downcast_ref::<Error>() {
            return own.message().to_owned();
        }
        match cause.source() {
            Some(inner) => cause = inner,
            None => return cause.to_string(),
        }
    }
}

/// The failure of `what` (a sentence without its end) as an error that says what to do.
pub(super) fn explain(failure: &Failure, what: &str, settings: &StoreSettings) -> Error {
    let StoreSettings {
        endpoint,
        bucket,
        region,
        ..
    } = settings;
    let class = settings.storage_class.as_deref().unwrap_or("");
    let mend = match (failure.code().unwrap_or(""), failure.status()) {
        ("NoSuchBucket", _) => format!("; there is no bucket {bucket} at {endpoint}: create it, or set S3_BUCKET"),
        ("AccessDenied" | "AllAccessDisabled" | "AccountProblem", _) | ("", Some(403)) => format!(
            "; the service account of S3_ACCESS_KEY_ID may not do this in bucket {bucket}: give it the role \
             storage.editor on the bucket"
        ),
        ("InvalidAccessKeyId" | "InvalidToken" | "ExpiredToken", _) => {
            "; the store does not know S3_ACCESS_KEY_ID (any more): make a new static access key".to_owned()
        }
        ("SignatureDoesNotMatch", _) => format!(
            "; S3_SECRET_ACCESS_KEY does not belong to S3_ACCESS_KEY_ID, or S3_REGION ({region}) is not the store's"
        ),
        ("AuthorizationHeaderMalformed" | "InvalidRegion" | "PermanentRedirect" | "TemporaryRedirect", _)
        | (_, Some(301 | 307)) => {
            format!("; the bucket lives elsewhere: check S3_REGION ({region}) and S3_ENDPOINT ({endpoint})")
        }
        ("RequestTimeTooSkewed" | "RequestExpired", _) => {
            "; this machine's clock is wrong by more than the store accepts: set it".to_owned()
        }
        ("InvalidStorageClass", _) => {
            format!("; the store does not know the storage class {class:?}: set S3_STORAGE_CLASS (STANDARD, COLD, ICE)")
        }
        (code, _) if code.contains("KMS") || code.contains("Encryption") => {
            "; the store refuses the encryption asked for: check S3_SSE and S3_SSE_KMS_KEY_ID, or turn S3_SSE off"
                .to_owned()
        }
        ("InvalidArgument" | "InvalidRequest" | "NotImplemented", _) => format!(
            "; the store refuses what is asked for: check S3_STORAGE_CLASS ({class}) and S3_SSE ({})",
            settings.encryption.as_deref().unwrap_or("off")
        ),
        ("QuotaExceeded" | "TooManyBuckets" | "StorageQuotaExceeded", _) => "; the store's quota is used up".to_owned(),
        ("SlowDown" | "ServiceUnavailable" | "InternalError", _) | ("", Some(500..)) => {
            "; the store is overloaded or ill: try again later".to_owned()
        }
        ("", None) => format!("; check S3_ENDPOINT ({endpoint}) and the way to it"),
        _ => String::new(),
    };
    let error = Error::new(Kind::Store, format!("{what}: {}{mend}", failure.shown()));
    match failure.code() {
        Some(code) => error.with_name(code.to_owned()),
        None => error,
    }
}
