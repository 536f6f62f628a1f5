//! What the store accepts; may be changed while it runs.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use s3s::auth::{S3Auth, SecretKey};
use s3s::{S3Result, s3_error};
use serde::{Deserialize, Serialize};

use super::store::Attributes;

/// What the store accepts.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct S3Rules {
    /// The only key there is; another is refused.
    pub access_key_id: String,
    /// Its secret.
    pub secret_access_key: String,
    /// The only region that a signature may name.
    pub region: String,
    /// Entries a listing gives at most; S3's own limit is 1,000.
    pub page_size: usize,
    /// Of every part but an upload's last, in bytes; S3's own is 5 MiB.
    pub min_part_size: u64,
    /// Whether parts and DeleteObjects need Content-MD5.
    pub require_content_md5: bool,
    /// Storage classes that are accepted (Object Storage's and their names in S3); others are refused.
    pub storage_classes: Vec<String>,
    /// Kinds of server-side encryption that are accepted; others are refused.
    pub encryptions: Vec<String>,
    /// Encryption is accepted but not done, which HEAD shows.
    pub ignore_encryption: bool,
    /// Buckets that answer 403.
    pub refused_buckets: Vec<String>,
}

impl Default for S3Rules {
    fn default() -> Self {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        S3Rules {
            access_key_id: "YCAJEheysSandbox".into(),
            secret_access_key: "YCPheys-sandbox-secret".into(),
            region: "ru-central1".into(),
            page_size: 1000,
            min_part_size: 5 << 20,
            require_content_md5: true,
            storage_classes: words(&["STANDARD", "COLD", "STANDARD_IA", "NEARLINE", "ICE", "GLACIER"]),
            encryptions: words(&["AES256", "aws:kms"]),
            ignore_encryption: false,
            refused_buckets: Vec::new(),
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct SharedRules(Arc<Mutex<S3Rules>>);

impl SharedRules {
    pub(super) fn new(rules: S3Rules) -> SharedRules {
        SharedRules(Arc::new(Mutex::new(rules)))
    }

    pub(super) fn get(&self) -> S3Rules {
        self.lock().clone()
    }

    pub(super) fn set(&self, rules: S3Rules) {
        *self.lock() = rules;
    }

    pub(super) fn min_part_size(&self) -> u64 {
        self.lock().min_part_size
    }

    /// A page's size for what a client asks.
    pub(super) fn page(&self, asked: Option<i32>) -> S3Result<usize> {
        let limit = self.lock().page_size;
        match asked {
            None => Ok(limit),
            Some(asked) => Ok(limit.min(usize::try_from(asked).map_err(|_| s3_error!(InvalidArgument))?)),
        }
    }

    /// Checks storage class and encryption, and gives them as they are stored.
    pub(super) fn attributes(&self, mut given: Attributes) -> S3Result<Attributes> {
        let rules = self.lock();
        if let Some(class) = &given.storage_class
            && !rules.storage_classes.contains(class)
        {
            return Err(s3_error!(
                InvalidStorageClass,
                "The storage class you specified is not valid"
            ));
        }
        if let Some(encryption) = &given.encryption
            && !rules.encryptions.contains(encryption)
        {
            return Err(s3_error!(
                InvalidArgument,
                "The encryption method specified is not supported"
            ));
        }
        if given.kms_key_id.is_some() && given.encryption.as_deref() != Some("aws:kms") {
            return Err(s3_error!(InvalidArgument, "a KMS key needs the encryption aws:kms"));
        }
        if given.storage_class.as_deref() == Some("STANDARD") {
            given.storage_class = None;
        }
        if rules.ignore_encryption {
            given.encryption = None;
            given.kms_key_id = None;
        }
        Ok(given)
    }

    fn lock(&self) -> MutexGuard<'_, S3Rules> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl S3Auth for SharedRules {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        let rules = self.lock();
        if access_key != rules.access_key_id {
            return Err(s3_error!(InvalidAccessKeyId));
        }
        Ok(SecretKey::from(rules.secret_access_key.as_str()))
    }
}
