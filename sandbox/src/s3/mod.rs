//! A strict S3 on disk: signatures, part rules and forbidden headers as Object Storage has them, and scripted faults.

mod body;
mod checks;
mod faults;
mod layer;
mod request;
mod rules;
mod service;
mod store;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::certificates::{Authority, ServerCertificate, write_private};
use crate::error::{Context, Error, Result};
use crate::folder::Folder;
use crate::http::Server;
use body::ObjectBody;
pub use faults::{Action, Fault, FaultState};
use layer::Layer;
pub use layer::Recorded;
pub use request::Target;
pub(crate) use request::percent_decode;
pub use rules::S3Rules;
use rules::SharedRules;
use store::{Attributes, Store, Upload};

/// How to start a store.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct S3Options {
    /// Answer https with a certificate of an own CA.
    pub tls: bool,
    /// Which certificate.
    pub certificate: ServerCertificate,
    /// A bucket that is there from the start.
    pub bucket: String,
    /// What it accepts.
    pub rules: S3Rules,
}

impl Default for S3Options {
    fn default() -> Self {
        S3Options {
            tls: false,
            certificate: ServerCertificate::Good,
            bucket: "heys-backups".into(),
            rules: S3Rules::default(),
        }
    }
}

/// Where the store is and how to sign.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct S3Info {
    /// `http://127.0.0.1:port`, or https; buckets are named in the path.
    pub endpoint: String,
    /// Its port.
    pub port: u16,
    /// The region that signatures must name.
    pub region: String,
    /// The bucket that is there from the start.
    pub bucket: String,
    /// Key id at the start.
    pub access_key_id: String,
    /// Secret at the start.
    pub secret_access_key: String,
    /// With TLS, the CA's file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_path: Option<PathBuf>,
    /// Where the bodies lie.
    pub folder: PathBuf,
}

/// An object as a test sees it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectInfo {
    /// Its key.
    pub key: String,
    /// Bytes.
    pub size: u64,
    /// Without quotes.
    pub e_tag: String,
    /// Milliseconds since 1970.
    pub modified: u64,
    /// How many parts it was made of; 1 for a PutObject.
    pub parts: usize,
    /// `None` = STANDARD.
    pub storage_class: Option<String>,
    /// `AES256` or `aws:kms`.
    pub encryption: Option<String>,
    /// With aws:kms.
    pub kms_key_id: Option<String>,
    /// As it was given.
    pub content_type: Option<String>,
    /// User metadata.
    pub metadata: BTreeMap<String, String>,
}

/// An open upload as a test sees it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UploadInfo {
    /// Its id.
    pub upload_id: String,
    /// The key that its object would have.
    pub key: String,
    /// Milliseconds since 1970.
    pub initiated: u64,
    /// Bytes of each part by number.
    pub parts: BTreeMap<u16, u64>,
}

/// A running store. It lives on the runtime that started it; dropping it closes its connections and removes it.
#[derive(Debug)]
pub struct S3 {
    info: S3Info,
    layer: Arc<Layer>,
    _server: Server,
    _folder: Folder,
}

impl S3 {
    /// Starts a store with one empty bucket.
    pub async fn start(options: S3Options) -> Result<S3> {
        let folder = Folder::new(false)?;
        let bodies = folder.subfolder("bodies")?;
        let store = Arc::new(Store::new(&bodies));
        store.create_bucket(&options.bucket);
        let (identity, ca_path) = if options.tls {
            let authority = Authority::shared()?;
            let ca_path = folder.path().join("ca.crt");
            write_private(&ca_path, authority.pem()?.as_bytes())?;
            (Some(authority.server(options.certificate)?), Some(ca_path))
        } else {
            (None, None)
        };
        let layer = Arc::new(Layer::new(store, SharedRules::new(options.rules.clone())));
        let server = Server::start(identity.as_ref(), layer.clone().handler()).await?;
        let scheme = if options.tls { "https" } else { "http" };
        let info = S3Info {
            endpoint: format!("{scheme}://127.0.0.1:{}", server.port()),
            port: server.port(),
            region: options.rules.region,
            bucket: options.bucket,
            access_key_id: options.rules.access_key_id,
            secret_access_key: options.rules.secret_access_key,
            ca_path,
            folder: bodies,
        };
        Ok(S3 {
            info,
            layer,
            _server: server,
            _folder: folder,
        })
    }

    /// Where it is and how to sign.
    pub fn info(&self) -> &S3Info {
        &self.info
    }

    /// Sets a fault; it comes after those that are set already.
    pub fn fault(&self, fault: Fault) {
        self.layer.faults.add(fault);
    }

    /// The faults, and what they have done.
    pub fn faults(&self) -> Vec<FaultState> {
        self.layer.faults.list()
    }

    /// Forgets all faults; what is stalled goes on.
    pub fn clear_faults(&self) {
        self.layer.faults.clear();
    }

    /// What it accepts now.
    pub fn rules(&self) -> S3Rules {
        self.layer.rules.get()
    }

    /// Changes what it accepts, from the next request on.
    pub fn set_rules(&self, rules: S3Rules) {
        self.layer.rules.set(rules);
    }

    /// The requests since the last clearing, in the order in which they came.
    pub fn requests(&self) -> Vec<Recorded> {
        self.layer.log.list()
    }

    /// Forgets the requests.
    pub fn clear_requests(&self) {
        self.layer.log.clear();
    }

    /// Resolves when so many requests of an operation (`*`: any) have come since the last clearing; not before they
    /// are answered if `answered`.
    pub async fn wait_for_requests(&self, operation: &str, count: usize, answered: bool) {
        self.layer.log.wait(operation, count, answered).await;
    }

    /// Objects of the first bucket in the order of their keys.
    pub fn objects(&self) -> Result<Vec<ObjectInfo>> {
        let objects = self
            .layer
            .store
            .objects(&self.info.bucket, "", "")
            .map_err(store_error)?;
        Ok(objects
            .into_iter()
            .map(|(key, object)| object_info(key, object))
            .collect())
    }

    /// Open uploads of the first bucket by key.
    pub fn uploads(&self) -> Result<Vec<UploadInfo>> {
        let uploads = self.layer.store.uploads(&self.info.bucket).map_err(store_error)?;
        Ok(uploads
            .into_iter()
            .map(|(upload_id, upload)| UploadInfo {
                upload_id,
                key: upload.key,
                initiated: millis(upload.initiated),
                parts: upload.parts.iter().map(|(number, part)| (*number, part.size)).collect(),
            })
            .collect())
    }

    /// Puts an object of any age, behind every rule and fault.
    pub fn put_object(&self, key: &str, body: &[u8], modified: Option<SystemTime>) -> Result<()> {
        let mut writer = self.layer.store.body_writer().map_err(store_error)?;
        writer.write(body).map_err(store_error)?;
        let mut part = writer.finish().map_err(store_error)?;
        part.modified = modified.unwrap_or(part.modified);
        self.layer
            .store
            .put(&self.info.bucket, key, Attributes::default(), part)
            .map_err(store_error)?;
        Ok(())
    }

    /// Leaves an open upload of any age, and returns its id.
    pub fn put_upload(&self, key: &str, initiated: Option<SystemTime>) -> Result<String> {
        let upload = Upload {
            bucket: self.info.bucket.clone(),
            key: key.to_owned(),
            attributes: Attributes::default(),
            initiated: initiated.unwrap_or_else(SystemTime::now),
            parts: BTreeMap::new(),
        };
        self.layer.store.create_upload(upload).map_err(store_error)
    }

    /// An object's bytes.
    pub fn object(&self, key: &str) -> Result<Vec<u8>> {
        let object = self.layer.store.object(&self.info.bucket, key).map_err(store_error)?;
        Ok(ObjectBody::new(&object, 0..object.size).read_all()?)
    }

    /// Writes an object's bytes to a file.
    pub fn save_object(&self, key: &str, path: &Path) -> Result<()> {
        let object = self.layer.store.object(&self.info.bucket, key).map_err(store_error)?;
        let mut file = std::fs::File::create(path).context(|| format!("cannot write {}", path.display()))?;
        Ok(ObjectBody::new(&object, 0..object.size).copy_to(&mut file)?)
    }

    /// Deletes an object behind every rule and fault.
    pub fn delete_object(&self, key: &str) -> Result<()> {
        self.layer.store.delete(&self.info.bucket, key).map_err(store_error)
    }

    /// Forgets objects, uploads, faults and requests; rules stay.
    pub fn clear(&self) {
        self.layer.faults.clear();
        self.layer.store.clear();
        self.layer.log.clear();
    }
}

fn object_info(key: String, object: store::Object) -> ObjectInfo {
    let attributes = object.attributes;
    ObjectInfo {
        key,
        size: object.size,
        e_tag: object.e_tag,
        modified: millis(object.modified),
        parts: object.parts.len(),
        storage_class: attributes.storage_class,
        encryption: attributes.encryption,
        kms_key_id: attributes.kms_key_id,
        content_type: attributes.content_type,
        metadata: attributes.metadata,
    }
}

fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn store_error(error: s3s::S3Error) -> Error {
    Error::new(error.to_string())
}
