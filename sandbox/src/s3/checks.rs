//! Checks of what a request says: parts, numbers, digests, markers, and what the sandbox does not have.

use std::collections::BTreeMap;

use openssl::base64;
use s3s::dto::{CompletedPart, ETag, Metadata};
use s3s::{S3Result, s3_error};

use super::store::Upload;

/// Part numbers go from 1 to this (S3 and Object Storage limits).
const MAX_PARTS: i32 = 10_000;
/// User metadata: 2 KB in all.
const MAX_METADATA_BYTES: usize = 2048;

/// S3's rules for the list of parts: ascending, each stored with this ETag, each but the last of the minimum size.
pub(super) fn approve(upload: &Upload, asked: &[CompletedPart], smallest: u64) -> S3Result<Vec<u16>> {
    if asked.is_empty() {
        return Err(s3_error!(MalformedXML, "You must specify at least one part"));
    }
    let numbers: Vec<u16> = asked
        .iter()
        .map(|part| part_number(part.part_number.unwrap_or(0)))
        .collect::<S3Result<_>>()?;
    if !numbers.is_sorted_by(|a, b| a < b) {
        return Err(s3_error!(InvalidPartOrder));
    }
    for (position, (part, number)) in asked.iter().zip(&numbers).enumerate() {
        let stored = upload
            .parts
            .get(number)
            .ok_or_else(|| s3_error!(InvalidPart, "no part {}", number))?;
        if part.e_tag.as_ref().map(ETag::value) != Some(&stored.e_tag()) {
            return Err(s3_error!(InvalidPart, "part {} has another ETag", number));
        }
        if position + 1 < asked.len() && stored.size < smallest {
            return Err(s3_error!(
                EntityTooSmall,
                "part {} is smaller than {} bytes",
                number,
                smallest
            ));
        }
    }
    Ok(numbers)
}

pub(super) fn part_number(number: i32) -> S3Result<u16> {
    match u16::try_from(number) {
        Ok(valid) if (1..=MAX_PARTS).contains(&number) => Ok(valid),
        _ => Err(s3_error!(
            InvalidArgument,
            "Part number must be an integer between 1 and 10000, inclusive"
        )),
    }
}

/// Whether an upload comes after the markers: a later key, or the same key and a later id.
pub(super) fn follows((key, id): (&str, &str), (key_marker, id_marker): &(String, Option<String>)) -> bool {
    if key_marker.is_empty() {
        return true;
    }
    key > key_marker.as_str() || (key == key_marker && id_marker.as_deref().is_some_and(|marker| id > marker))
}

pub(super) fn metadata(metadata: Option<Metadata>) -> S3Result<BTreeMap<String, String>> {
    let metadata: BTreeMap<_, _> = metadata.into_iter().flatten().collect();
    let size: usize = metadata.iter().map(|(name, value)| name.len() + value.len()).sum();
    if size > MAX_METADATA_BYTES {
        return Err(s3_error!(MetadataTooLarge));
    }
    Ok(metadata)
}

pub(super) fn unsupported(used: &[(&str, bool)]) -> S3Result<()> {
    match used.iter().find(|(_, used)| *used) {
        Some((name, _)) => Err(s3_error!(NotImplemented, "the sandbox does not have: {}", name)),
        None => Ok(()),
    }
}

pub(super) fn parse_md5(header: &str) -> S3Result<[u8; 16]> {
    let bytes = base64::decode_block(header).map_err(|_| s3_error!(InvalidDigest))?;
    <[u8; 16]>::try_from(&*bytes).map_err(|_| s3_error!(InvalidDigest))
}

pub(super) fn from_token(token: &str) -> S3Result<String> {
    let invalid = || s3_error!(InvalidArgument, "The continuation token provided is incorrect");
    let digits: Vec<u8> = token
        .as_bytes()
        .chunks(2)
        .map(|pair| {
            std::str::from_utf8(pair)
                .ok()
                .and_then(|pair| u8::from_str_radix(pair, 16).ok())
        })
        .collect::<Option<_>>()
        .ok_or_else(invalid)?;
    String::from_utf8(digits).map_err(|_| invalid())
}
