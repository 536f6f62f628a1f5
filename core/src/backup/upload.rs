//! One multipart upload: bytes in, one whole object out, or nothing.
//!
//! Limits (Object Storage, S3): 10,000 parts, each 5 MiB to 5 GiB but the last, 5 TB in all. The length is unknown
//! beforehand, so parts begin small and double every thousand: 8 MiB × 1,000 × (1 + 2 + 4 + …) reaches 5 TB with the
//! last part size at 4 GiB. A database whose backup stays below 8 GB never needs more than 8 MiB a part.

use aws_sdk_s3::types::CompletedPart;
use bytes::{Bytes, BytesMut};
use openssl::sha::Sha256;
use tokio::task::JoinSet;

use super::store::{Head, Store};
use super::store_error::{Failure, explain};
use crate::Result;
use crate::error::{Error, Kind};

const FIRST_PART: usize = 8 << 20;
const PARTS_PER_SIZE: usize = 1000;
const MAX_PARTS: usize = 10_000;
/// Bytes on their way at the same time; at least one part goes even if it is longer.
const IN_FLIGHT: usize = 24 << 20;
/// HEAD after Complete, when the store does not show the object yet.
const READ_BACK_ATTEMPTS: u32 = 5;

/// An open upload. It stays open in the store until [`Upload::complete`] or [`Upload::abort`] has ended it; dropping it
/// only stops what is on its way.
pub(super) struct Upload {
    store: Store,
    key: String,
    id: String,
    /// The part being filled.
    filling: BytesMut,
    /// Buffers of parts that were sent.
    spare: Vec<BytesMut>,
    sending: JoinSet<Result<Sent>>,
    in_flight: usize,
    begun_parts: usize,
    done: Vec<CompletedPart>,
    sha256: Sha256,
    bytes: u64,
    uploaded_bytes: u64,
}

struct Sent {
    part: CompletedPart,
    body: Bytes,
}

/// The finished object.
pub(super) struct Stored {
    pub(super) bytes: u64,
    pub(super) sha256: String,
    pub(super) parts: u32,
    pub(super) head: Option<Head>,
    /// Why it could not be read back, or what is not as it was asked for.
    pub(super) warnings: Vec<String>,
}

impl Upload {
    /// Takes over an upload that [`Store::create`] opened.
    pub(super) fn new(store: Store, key: String, id: String) -> Upload {
        Upload {
            store,
            key,
            id,
            filling: BytesMut::new(),
            spare: Vec::new(),
            sending: JoinSet::new(),
            in_flight: 0,
            begun_parts: 0,
            done: Vec::new(),
            sha256: Sha256::new(),
            bytes: 0,
            uploaded_bytes: 0,
        }
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Bytes written so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes that the store has confirmed.
    pub(super) fn uploaded_bytes(&self) -> u64 {
        self.uploaded_bytes
    }

    /// Parts that the store has confirmed.
    pub(super) fn parts(&self) -> u32 {
        u32::try_from(self.done.len()).unwrap_or(u32::MAX)
    }

    /// Takes bytes; waits while too much is on its way. An error is final.
    pub(super) async fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        self.sha256.update(bytes);
        self.bytes += bytes.len() as u64;
        while let Some(sent) = self.sending.try_join_next() {
            self.confirm(sent)?;
        }
        while !bytes.is_empty() {
            let size = part_size(self.begun_parts);
            if self.filling.capacity() == 0 {
                self.filling = self.spare.pop().unwrap_or_default();
                self.filling.reserve(size);
            }
            let (now, later) = bytes.split_at(bytes.len().min(size - self.filling.len()));
            self.filling.extend_from_slice(now);
            bytes = later;
            if self.filling.len() == size {
                self.send().await?;
            }
        }
        Ok(())
    }

    /// Sends the part being filled, when there is room for it.
    async fn send(&mut self) -> Result<()> {
        if self.begun_parts == MAX_PARTS {
            let why = "the backup is longer than 10,000 parts can hold: more than 5 TB";
            return Err(Error::new(Kind::Store, why));
        }
        let body = std::mem::take(&mut self.filling).freeze();
        while self.in_flight > 0 && self.in_flight + body.len() > IN_FLIGHT {
            if let Some(sent) = self.sending.join_next().await {
                self.confirm(sent)?;
            }
        }
        self.begun_parts += 1;
        self.in_flight += body.len();
        let number = i32::try_from(self.begun_parts).unwrap_or(i32::MAX);
        let (store, key, id) = (self.store.clone(), self.key.clone(), self.id.clone());
        self.sending.spawn(async move {
            let etag = store.upload_part(&key, &id, number, body.clone()).await?;
            let part = CompletedPart::builder().part_number(number).e_tag(etag).build();
            Ok(Sent { part, body })
        });
        Ok(())
    }

    fn confirm(&mut self, sent: Result<Result<Sent>, tokio::task::JoinError>) -> Result<()> {
        let Sent { part, body } =
            sent.map_err(|error| Error::new(Kind::Store, "the task of a part ended early").with_source(error))??;
        self.in_flight -= body.len();
        self.uploaded_bytes += body.len() as u64;
        self.done.push(part);
        // The request has let go of its bytes by now, as a rule: then the buffer serves the next part.
        if let Ok(mut buffer) = body.try_into_mut()
            && self.spare.is_empty()
        {
            buffer.clear();
            self.spare.push(buffer);
        }
        Ok(())
    }

    /// Sends what is left and waits until the store has confirmed every part.
    pub(super) async fn flush(&mut self) -> Result<()> {
        if !self.filling.is_empty() {
            self.send().await?;
        }
        self.spare.clear();
        while let Some(sent) = self.sending.join_next().await {
            self.confirm(sent)?;
        }
        self.done.sort_by_key(CompletedPart::part_number);
        Ok(())
    }

    /// Makes the object visible and reads it back. Call [`Upload::flush`] before. When this fails there is no object
    /// unless the error says so, and the upload is still to be aborted.
    pub(super) async fn complete(&mut self) -> Result<Stored> {
        let what = "the upload could not be completed";
        let (store, settings) = (self.store.clone(), self.store.settings().clone());
        if let Err(failure) = store.complete(&self.key, &self.id, self.done.clone()).await {
            // Its reply may have been lost, and then the repetition found no upload any more.
            return match store.head(&self.key).await {
                Ok(Some(head)) if self.is_ours(&head) => self.stored(Some(head)),
                Err(unseen) if failure.may_heal() || failure.code() == Some("NoSuchUpload") => {
                    let more = format!("; whether {} exists could not be learned: {}", self.key, unseen.shown());
                    let error = explain(&failure, what, &settings);
                    Err(Error::new(error.kind(), format!("{error}{more}")))
                }
                _ => Err(explain(&failure, what, &settings)),
            };
        }
        let mut attempt = 1;
        loop {
            match store.head(&self.key).await {
                Ok(None) if attempt < READ_BACK_ATTEMPTS => {
                    tokio::time::sleep(settings.retry.first_delay * attempt).await;
                    attempt += 1;
                }
                Ok(None) => {
                    let failure = Failure::odd("the store confirmed the object, but does not show it");
                    return Err(explain(&failure, what, &settings));
                }
                Ok(Some(head)) => match self.stored(Some(head)) {
                    Ok(stored) => return Ok(stored),
                    Err(error) => return Err(self.withdraw(error).await),
                },
                Err(failure) => {
                    let mut stored = self.stored(None)?;
                    let error = explain(&failure, "the stored backup could not be read back", &settings);
                    stored.warnings.push(error.to_string());
                    return Ok(stored);
                }
            }
        }
    }

    /// Deletes an object that was completed but is not what it should be.
    async fn withdraw(&self, error: Error) -> Error {
        let outcome = match self.store.delete(&self.key).await {
            Ok(()) => "it was deleted".to_owned(),
            Err(failure) => format!("{} could not be deleted: {}", self.key, failure.shown()),
        };
        Error::new(error.kind(), format!("{error}; {outcome}"))
    }

    /// After an abort that found nothing: whether the object is there after all.
    pub(super) async fn settle(&mut self) -> Option<Stored> {
        match self.store.head(&self.key).await {
            Ok(Some(head)) if self.is_ours(&head) => self.stored(Some(head)).ok(),
            _ => None,
        }
    }

    /// Gives the upload up. Parts on their way are stopped first, so that none arrives afterwards.
    pub(super) async fn abort(&mut self) -> Result<(), Failure> {
        self.sending.shutdown().await;
        self.filling = BytesMut::new();
        self.spare.clear();
        self.store.abort(&self.key, &self.id).await
    }

    fn stored(&self, head: Option<Head>) -> Result<Stored> {
        let settings = self.store.settings();
        let mut warnings = Vec::new();
        if let Some(head) = &head {
            if head.bytes != self.bytes {
                let why = format!("the stored object has {} bytes instead of {}", head.bytes, self.bytes);
                return Err(Error::new(Kind::Store, why));
            }
            match (&settings.encryption, &head.encryption) {
                (Some(asked), None) => {
                    let why = format!("the store took the backup without the encryption asked for (S3_SSE={asked})");
                    return Err(Error::new(Kind::Store, why));
                }
                (Some(asked), Some(shown)) if asked != shown => {
                    warnings.push(format!("the store encrypted with {shown} instead of {asked}"));
                }
                _ => {}
            }
            let shown = head.storage_class.as_deref().unwrap_or("STANDARD");
            let asked = settings.storage_class.as_deref().unwrap_or(shown);
            if canonical_class(asked) != canonical_class(shown) {
                warnings.push(format!(
                    "the backup is stored as {shown} instead of {asked} (S3_STORAGE_CLASS)"
                ));
            }
        }
        Ok(Stored {
            bytes: self.bytes,
            sha256: hex(&self.sha256.clone().finish()),
            parts: self.parts(),
            head,
            warnings,
        })
    }

    /// Whether HEAD shows what this upload made: same length and the ETag that follows from the parts'. Under
    /// encryption ETags are no digests; then their number of parts must do.
    fn is_ours(&self, head: &Head) -> bool {
        let etag = head.etag.trim_matches('"');
        let same_etag = match expected_etag(&self.done) {
            Some(expected) if self.store.settings().encryption.is_none() => etag == expected,
            _ => etag.ends_with(&format!("-{}", self.done.len())),
        };
        head.bytes == self.bytes && same_etag
    }
}

/// The length of the part after `begun` others.
fn part_size(begun: usize) -> usize {
    FIRST_PART << (begun / PARTS_PER_SIZE).min(9)
}

/// MD5 of the parts' MD5s, a hyphen and their number; `None` when the parts' ETags are no MD5s.
fn expected_etag(parts: &[CompletedPart]) -> Option<String> {
    let mut digests = Vec::with_capacity(parts.len() * 16);
    for part in parts {
        let etag = part.e_tag()?.trim_matches('"');
        if etag.len() != 32 {
            return None;
        }
        for at in (0..32).step_by(2) {
            digests.push(u8::from_str_radix(etag.get(at..at + 2)?, 16).ok()?);
        }
    }
    let md5 = openssl::hash::hash(openssl::hash::MessageDigest::md5(), &digests).ok()?;
    Some(format!("{}-{}", hex(&md5), parts.len()))
}

/// The names under which stores know the same class (Object Storage's documentation).
fn canonical_class(class: &str) -> &str {
    match class {
        "STANDARD_IA" | "NEARLINE" => "COLD",
        "GLACIER" => "ICE",
        "" | "REGIONAL" | "MULTI_REGIONAL" => "STANDARD",
        other => other,
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
            let _ = write!(out, "{byte:02x}");
            out
        })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ten_thousand_parts_hold_five_terabytes_and_none_is_too_long() {
        let all: u64 = (0..MAX_PARTS).map(|begun| part_size(begun) as u64).sum();
        assert!(all > 5_000_000_000_000);
        assert!((0..MAX_PARTS).all(|begun| (5 << 20..5 << 30).contains(&part_size(begun))));
    }

    #[test]
    fn the_etag_of_a_multipart_object_follows_from_its_parts() {
        let part = |etag: &str| CompletedPart::builder().e_tag(etag).build();
        // The MD5s of "a" and "b"; the result was checked with md5sum.
        let parts = [
            part("\"0cc175b9c0f1b6a831c399e269772661\""),
            part("92eb5ffee6ae2fec3ad71c777531578f"),
        ];
        assert_eq!(expected_etag(&parts).unwrap(), "96e024ba2074fe77e8e965ba43a704be-2");
        assert_eq!(expected_etag(&[part("opaque")]), None);
    }
}
