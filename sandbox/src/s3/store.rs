//! Buckets, objects and uploads: bodies on disk, one file a part; their index in memory behind one lock, so that an
//! object is there as a whole or not at all.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use openssl::hash::{Hasher, MessageDigest};
use s3s::{S3Error, S3ErrorCode, S3Result};

/// What a client says about an object when it starts to write it.
#[derive(Debug, Clone, Default)]
pub(super) struct Attributes {
    /// `None` = STANDARD.
    pub(super) storage_class: Option<String>,
    /// `AES256` or `aws:kms`.
    pub(super) encryption: Option<String>,
    pub(super) kms_key_id: Option<String>,
    pub(super) content_type: Option<String>,
    pub(super) content_encoding: Option<String>,
    pub(super) metadata: BTreeMap<String, String>,
}

/// A stored part; its file is its own.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) file: PathBuf,
    pub(super) size: u64,
    /// MD5 of the bytes.
    pub(super) md5: [u8; 16],
    pub(super) modified: SystemTime,
}

impl Part {
    pub(super) fn e_tag(&self) -> String {
        hex(&self.md5)
    }
}

#[derive(Debug, Clone)]
pub(super) struct Object {
    pub(super) attributes: Attributes,
    pub(super) parts: Vec<Part>,
    pub(super) size: u64,
    pub(super) e_tag: String,
    pub(super) modified: SystemTime,
}

#[derive(Debug, Clone)]
pub(super) struct Upload {
    pub(super) bucket: String,
    pub(super) key: String,
    pub(super) attributes: Attributes,
    pub(super) initiated: SystemTime,
    pub(super) parts: BTreeMap<u16, Part>,
}

#[derive(Debug, Default)]
pub(super) struct Index {
    buckets: BTreeMap<String, BTreeMap<String, Object>>,
    uploads: BTreeMap<String, Upload>,
}

#[derive(Debug)]
pub(super) struct Store {
    folder: PathBuf,
    next_file: AtomicU64,
    index: Mutex<Index>,
}

impl Store {
    pub(super) fn new(folder: &Path) -> Store {
        Store {
            folder: folder.to_owned(),
            next_file: AtomicU64::new(0),
            index: Mutex::default(),
        }
    }

    pub(super) fn create_bucket(&self, bucket: &str) {
        self.index().buckets.entry(bucket.to_owned()).or_default();
    }

    pub(super) fn has_bucket(&self, bucket: &str) -> S3Result<()> {
        self.index().bucket(bucket).map(|_| ())
    }

    /// A new file for a body's bytes. It becomes part of something only by [`Store::put`] or [`Store::put_part`].
    pub(super) fn body_writer(&self) -> S3Result<BodyWriter> {
        let number = self.next_file.fetch_add(1, Ordering::Relaxed);
        BodyWriter::create(self.folder.join(format!("{number:08}.partial")))
    }

    pub(super) fn put(&self, bucket: &str, key: &str, attributes: Attributes, part: Part) -> S3Result<String> {
        let e_tag = part.e_tag();
        let (size, modified) = (part.size, part.modified);
        let object = Object {
            attributes,
            parts: vec![part],
            size,
            e_tag: e_tag.clone(),
            modified,
        };
        let replaced = self.index().bucket_mut(bucket)?.insert(key.to_owned(), object);
        remove_files(replaced.into_iter().flat_map(|object| object.parts));
        Ok(e_tag)
    }

    pub(super) fn object(&self, bucket: &str, key: &str) -> S3Result<Object> {
        self.index()
            .bucket(bucket)?
            .get(key)
            .cloned()
            .ok_or_else(|| error(S3ErrorCode::NoSuchKey))
    }

    /// Objects with this prefix and a key above `after`, in the order of their keys.
    pub(super) fn objects(&self, bucket: &str, prefix: &str, after: &str) -> S3Result<Vec<(String, Object)>> {
        let index = self.index();
        let range = index
            .bucket(bucket)?
            .range::<str, _>((std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded));
        Ok(range
            .filter(|(key, _)| key.starts_with(prefix))
            .map(|(key, object)| (key.clone(), object.clone()))
            .collect())
    }

    /// A key that is not there counts as deleted too.
    pub(super) fn delete(&self, bucket: &str, key: &str) -> S3Result<()> {
        let removed = self.index().bucket_mut(bucket)?.remove(key);
        remove_files(removed.into_iter().flat_map(|object| object.parts));
        Ok(())
    }

    pub(super) fn create_upload(&self, upload: Upload) -> S3Result<String> {
        let mut random = [0u8; 16];
        openssl::rand::rand_bytes(&mut random).map_err(internal)?;
        let id = hex(&random);
        let mut index = self.index();
        index.bucket(&upload.bucket)?;
        index.uploads.insert(id.clone(), upload);
        Ok(id)
    }

    pub(super) fn upload(&self, bucket: &str, key: &str, id: &str) -> S3Result<Upload> {
        self.index().upload_mut(bucket, key, id).cloned()
    }

    pub(super) fn put_part(&self, bucket: &str, key: &str, id: &str, number: u16, part: Part) -> S3Result<String> {
        let e_tag = part.e_tag();
        let mut index = self.index();
        match index.upload_mut(bucket, key, id) {
            Ok(upload) => remove_files(upload.parts.insert(number, part)),
            Err(error) => {
                remove_files([part]);
                return Err(error);
            }
        }
        Ok(e_tag)
    }

    /// Open uploads of a bucket by (key, id).
    pub(super) fn uploads(&self, bucket: &str) -> S3Result<Vec<(String, Upload)>> {
        let index = self.index();
        index.bucket(bucket)?;
        let mut uploads: Vec<_> = index
            .uploads
            .iter()
            .filter(|(_, upload)| upload.bucket == bucket)
            .map(|(id, upload)| (id.clone(), upload.clone()))
            .collect();
        uploads.sort_by(|(a_id, a), (b_id, b)| (&a.key, a_id).cmp(&(&b.key, b_id)));
        Ok(uploads)
    }

    pub(super) fn abort(&self, bucket: &str, key: &str, id: &str) -> S3Result<()> {
        let mut index = self.index();
        index.upload_mut(bucket, key, id)?;
        let removed = index.uploads.remove(id);
        remove_files(removed.into_iter().flat_map(|upload| upload.parts.into_values()));
        Ok(())
    }

    /// Makes the upload an object of exactly these parts, which `check` has approved; one step for every reader.
    pub(super) fn complete(
        &self,
        (bucket, key, id): (&str, &str, &str),
        check: impl FnOnce(&Upload) -> S3Result<Vec<u16>>,
    ) -> S3Result<Object> {
        let mut index = self.index();
        let numbers = check(index.upload_mut(bucket, key, id)?)?;
        let Some(mut upload) = index.uploads.remove(id) else {
            return Err(error(S3ErrorCode::NoSuchUpload));
        };
        let parts: Vec<Part> = numbers
            .iter()
            .filter_map(|number| upload.parts.remove(number))
            .collect();
        remove_files(upload.parts.into_values());
        let mut digests = Hasher::new(MessageDigest::md5()).map_err(internal)?;
        for part in &parts {
            digests.update(&part.md5).map_err(internal)?;
        }
        let object = Object {
            attributes: upload.attributes,
            size: parts.iter().map(|part| part.size).sum(),
            // S3's own form: MD5 of the parts' MD5s, and how many there were.
            e_tag: format!("{}-{}", hex(&digests.finish().map_err(internal)?), parts.len()),
            modified: SystemTime::now(),
            parts,
        };
        let replaced = index.bucket_mut(bucket)?.insert(key.to_owned(), object.clone());
        remove_files(replaced.into_iter().flat_map(|object| object.parts));
        Ok(object)
    }

    /// Removes every object and upload; buckets stay.
    pub(super) fn clear(&self) {
        let mut index = self.index();
        let uploads = std::mem::take(&mut index.uploads)
            .into_values()
            .flat_map(|upload| upload.parts.into_values());
        remove_files(uploads);
        for objects in index.buckets.values_mut() {
            remove_files(std::mem::take(objects).into_values().flat_map(|object| object.parts));
        }
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Index {
    fn bucket(&self, bucket: &str) -> S3Result<&BTreeMap<String, Object>> {
        self.buckets.get(bucket).ok_or_else(|| error(S3ErrorCode::NoSuchBucket))
    }

    fn bucket_mut(&mut self, bucket: &str) -> S3Result<&mut BTreeMap<String, Object>> {
        self.buckets
            .get_mut(bucket)
            .ok_or_else(|| error(S3ErrorCode::NoSuchBucket))
    }

    fn upload_mut(&mut self, bucket: &str, key: &str, id: &str) -> S3Result<&mut Upload> {
        self.bucket(bucket)?;
        self.uploads
            .get_mut(id)
            .filter(|upload| upload.bucket == bucket && upload.key == key)
            .ok_or_else(|| error(S3ErrorCode::NoSuchUpload))
    }
}

/// Writes a body to a file that is removed unless it is finished. The writes go to the page cache and may block an
/// executor's thread for a moment.
#[derive(Debug)]
pub(super) struct BodyWriter {
    path: PathBuf,
    file: File,
    hasher: Hasher2,
    size: u64,
    finished: bool,
}

/// openssl's Hasher has no Debug.
struct Hasher2(Hasher);

impl std::fmt::Debug for Hasher2 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hasher")
    }
}

impl BodyWriter {
    fn create(path: PathBuf) -> S3Result<BodyWriter> {
        let file = File::create_new(&path).map_err(internal)?;
        let hasher = Hasher2(Hasher::new(MessageDigest::md5()).map_err(internal)?);
        Ok(BodyWriter {
            path,
            file,
            hasher,
            size: 0,
            finished: false,
        })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> S3Result<()> {
        self.file.write_all(bytes).map_err(internal)?;
        self.hasher.0.update(bytes).map_err(internal)?;
        self.size += bytes.len() as u64;
        Ok(())
    }

    /// The whole body under its final name.
    pub(super) fn finish(mut self) -> S3Result<Part> {
        let digest = self.hasher.0.finish().map_err(internal)?;
        let md5 = <[u8; 16]>::try_from(&digest[..]).map_err(internal)?;
        let file = self.path.with_extension("body");
        fs::rename(&self.path, &file).map_err(internal)?;
        self.finished = true;
        Ok(Part {
            file,
            size: self.size,
            md5,
            modified: SystemTime::now(),
        })
    }
}

impl Drop for BodyWriter {
    fn drop(&mut self) {
        if !self.finished {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A reader that has one open goes on reading.
pub(super) fn remove_files(parts: impl IntoIterator<Item = Part>) {
    for part in parts {
        let _ = fs::remove_file(part.file);
    }
}

pub(super) fn error(code: S3ErrorCode) -> S3Error {
    S3Error::new(code)
}

pub(super) fn internal(error: impl std::fmt::Display) -> S3Error {
    S3Error::with_message(S3ErrorCode::InternalError, error.to_string())
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
