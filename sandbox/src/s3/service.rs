//! The `S3` trait over the store. What is not listed here answers 501, as the trait does by itself.

use std::sync::Arc;

use async_trait::async_trait;
use http_body_util::BodyExt;
use s3s::dto::*;
use s3s::{Body, S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result, s3_error};

use super::body::ObjectBody;
use super::checks::{approve, follows, from_token, metadata, parse_md5, part_number, unsupported};
use super::rules::SharedRules;
use super::store::{Attributes, Object as Stored, Part as StoredPart, Store, Upload, hex};

/// One request carries at most 5 GiB.
const MAX_PART_BYTES: i64 = 5 << 30;
#[derive(Debug)]
pub(super) struct Service {
    pub(super) store: Arc<Store>,
    pub(super) rules: SharedRules,
}

impl Service {
    /// Reads a whole body into a new file, and refuses one that is not what its headers promise.
    async fn receive(
        &self,
        body: Option<StreamingBlob>,
        content_length: Option<i64>,
        content_md5: Option<&str>,
    ) -> S3Result<StoredPart> {
        let expected_md5 = content_md5.map(parse_md5).transpose()?;
        if content_length.is_some_and(|length| length > MAX_PART_BYTES) {
            return Err(s3_error!(EntityTooLarge));
        }
        let mut writer = self.store.body_writer()?;
        let mut body = body.map(Body::from).unwrap_or_default();
        while let Some(frame) = body.frame().await {
            // Also when its SHA-256 is not the signed one.
            let frame = frame.map_err(|error| match error.downcast::<S3Error>() {
                Ok(error) => *error,
                Err(error) => S3Error::with_source(S3ErrorCode::IncompleteBody, error),
            })?;
            if let Ok(data) = frame.into_data() {
                writer.write(&data)?;
            }
        }
        let part = writer.finish()?;
        let refused = if content_length.is_some_and(|length| u64::try_from(length) != Ok(part.size)) {
            Some(s3_error!(IncompleteBody))
        } else if expected_md5.is_some_and(|md5| md5 != part.md5) {
            Some(s3_error!(
                BadDigest,
                "The Content-MD5 you specified did not match what we received."
            ))
        } else {
            None
        };
        match refused {
            None => Ok(part),
            Some(error) => {
                super::store::remove_files([part]);
                Err(error)
            }
        }
    }

    fn must_not_exist(&self, bucket: &str, key: &str, condition: Option<&ETagCondition>) -> S3Result<()> {
        match condition {
            None => Ok(()),
            Some(condition) if condition.is_any() => match self.store.object(bucket, key) {
                Ok(_) => Err(s3_error!(PreconditionFailed)),
                Err(error) if *error.code() == S3ErrorCode::NoSuchKey => Ok(()),
                Err(error) => Err(error),
            },
            Some(_) => Err(s3_error!(NotImplemented, "If-None-Match takes only *")),
        }
    }
}

#[async_trait]
impl S3 for Service {
    async fn create_bucket(&self, req: S3Request<CreateBucketInput>) -> S3Result<S3Response<CreateBucketOutput>> {
        self.store.create_bucket(&req.input.bucket);
        Ok(S3Response::new(CreateBucketOutput::default()))
    }

    async fn head_bucket(&self, req: S3Request<HeadBucketInput>) -> S3Result<S3Response<HeadBucketOutput>> {
        self.store.has_bucket(&req.input.bucket)?;
        Ok(S3Response::new(HeadBucketOutput::default()))
    }

    async fn put_object(&self, req: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let input = req.input;
        unsupported(&[
            ("acl", input.acl.is_some()),
            (
                "grants",
                input.grant_read.is_some() || input.grant_full_control.is_some(),
            ),
            (
                "object lock",
                input.object_lock_mode.is_some() || input.object_lock_legal_hold_status.is_some(),
            ),
            ("customer keys", input.sse_customer_algorithm.is_some()),
            ("tags", input.tagging.is_some()),
            ("If-Match", input.if_match.is_some()),
            ("append", input.write_offset_bytes.is_some()),
        ])?;
        self.store.has_bucket(&input.bucket)?;
        self.must_not_exist(&input.bucket, &input.key, input.if_none_match.as_ref())?;
        let attributes = self.rules.attributes(Attributes {
            storage_class: input.storage_class.map(|class| class.as_str().to_owned()),
            encryption: input.server_side_encryption.map(|kind| kind.as_str().to_owned()),
            kms_key_id: input.ssekms_key_id,
            content_type: input.content_type,
            content_encoding: input.content_encoding,
            metadata: metadata(input.metadata)?,
        })?;
        let part = self
            .receive(input.body, input.content_length, input.content_md5.as_deref())
            .await?;
        // Again, now that the body is here: whoever came first has won.
        if let Err(error) = self.must_not_exist(&input.bucket, &input.key, input.if_none_match.as_ref()) {
            super::store::remove_files([part]);
            return Err(error);
        }
        let (encryption, kms_key_id) = (attributes.encryption.clone(), attributes.kms_key_id.clone());
        let e_tag = self.store.put(&input.bucket, &input.key, attributes, part)?;
        Ok(S3Response::new(PutObjectOutput {
            e_tag: Some(ETag::Strong(e_tag)),
            server_side_encryption: encryption.map(Into::into),
            ssekms_key_id: kms_key_id,
            ..Default::default()
        }))
    }

    async fn get_object(&self, req: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let input = req.input;
        unsupported(&[
            ("part number", input.part_number.is_some()),
            ("version id", input.version_id.is_some()),
            ("customer keys", input.sse_customer_algorithm.is_some()),
            ("conditions", input.if_match.is_some() || input.if_none_match.is_some()),
            (
                "conditions",
                input.if_modified_since.is_some() || input.if_unmodified_since.is_some(),
            ),
        ])?;
        let object = self.store.object(&input.bucket, &input.key)?;
        let range = match input.range {
            Some(range) => range.check(object.size).map_err(|_| s3_error!(InvalidRange))?,
            None => 0..object.size,
        };
        let content_range = input
            .range
            .map(|_| format!("bytes {}-{}/{}", range.start, range.end - 1, object.size));
        let length = range.end - range.start;
        let body = ObjectBody::new(&object, range);
        let attributes = object.attributes;
        let output = GetObjectOutput {
            accept_ranges: Some("bytes".into()),
            body: Some(StreamingBlob::from(Body::http_body_unsync(body))),
            content_length: i64::try_from(length).ok(),
            content_range: content_range.clone(),
            content_type: attributes.content_type,
            content_encoding: attributes.content_encoding,
            e_tag: Some(ETag::Strong(object.e_tag)),
            last_modified: Some(object.modified.into()),
            metadata: Some(attributes.metadata.into_iter().collect()),
            server_side_encryption: attributes.encryption.map(Into::into),
            ssekms_key_id: attributes.kms_key_id,
            storage_class: attributes.storage_class.map(Into::into),
            ..Default::default()
        };
        Ok(S3Response::new(output))
    }

    async fn head_object(&self, req: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        let input = req.input;
        unsupported(&[
            ("part number", input.part_number.is_some()),
            ("version id", input.version_id.is_some()),
            ("range", input.range.is_some()),
            ("customer keys", input.sse_customer_algorithm.is_some()),
            ("conditions", input.if_match.is_some() || input.if_none_match.is_some()),
            (
                "conditions",
                input.if_modified_since.is_some() || input.if_unmodified_since.is_some(),
            ),
        ])?;
        let object = self.store.object(&input.bucket, &input.key)?;
        let attributes = object.attributes;
        Ok(S3Response::new(HeadObjectOutput {
            accept_ranges: Some("bytes".into()),
            content_length: i64::try_from(object.size).ok(),
            content_type: attributes.content_type,
            content_encoding: attributes.content_encoding,
            e_tag: Some(ETag::Strong(object.e_tag)),
            last_modified: Some(object.modified.into()),
            metadata: Some(attributes.metadata.into_iter().collect()),
            server_side_encryption: attributes.encryption.map(Into::into),
            ssekms_key_id: attributes.kms_key_id,
            storage_class: attributes.storage_class.map(Into::into),
            ..Default::default()
        }))
    }

    async fn list_objects_v2(&self, req: S3Request<ListObjectsV2Input>) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = req.input;
        unsupported(&[
            (
                "delimiter",
                input.delimiter.as_ref().is_some_and(|delimiter| !delimiter.is_empty()),
            ),
            ("encoding type", input.encoding_type.is_some()),
        ])?;
        let after = match &input.continuation_token {
            Some(token) => from_token(token)?,
            None => input.start_after.clone().unwrap_or_default(),
        };
        let prefix = input.prefix.clone().unwrap_or_default();
        let mut objects = self.store.objects(&input.bucket, &prefix, &after)?;
        let page = self.rules.page(input.max_keys)?;
        let truncated = objects.len() > page;
        objects.truncate(page);
        // Without a last key (a page of 0) there is nothing to go on from.
        let next = objects.last().filter(|_| truncated).map(|(key, _)| hex(key.as_bytes()));
        let contents: Vec<Object> = objects.into_iter().map(|(key, object)| listed(key, object)).collect();
        Ok(S3Response::new(ListObjectsV2Output {
            name: Some(input.bucket),
            prefix: Some(prefix),
            max_keys: i32::try_from(page).ok(),
            key_count: i32::try_from(contents.len()).ok(),
            continuation_token: input.continuation_token,
            is_truncated: Some(next.is_some()),
            next_continuation_token: next,
            contents: Some(contents),
            start_after: input.start_after,
            ..Default::default()
        }))
    }

    async fn delete_object(&self, req: S3Request<DeleteObjectInput>) -> S3Result<S3Response<DeleteObjectOutput>> {
        unsupported(&[("version id", req.input.version_id.is_some())])?;
        self.store.delete(&req.input.bucket, &req.input.key)?;
        let output = DeleteObjectOutput::default();
        Ok(S3Response::with_status(output, hyper::StatusCode::NO_CONTENT))
    }

    async fn delete_objects(&self, req: S3Request<DeleteObjectsInput>) -> S3Result<S3Response<DeleteObjectsOutput>> {
        let Delete { objects, quiet } = req.input.delete;
        if objects.is_empty() || objects.len() > 1000 {
            return Err(s3_error!(MalformedXML));
        }
        let mut deleted = Vec::new();
        for object in objects {
            unsupported(&[("version id", object.version_id.is_some())])?;
            self.store.delete(&req.input.bucket, &object.key)?;
            deleted.push(DeletedObject {
                key: Some(object.key),
                ..Default::default()
            });
        }
        let deleted = (quiet != Some(true)).then_some(deleted);
        Ok(S3Response::new(DeleteObjectsOutput {
            deleted,
            ..Default::default()
        }))
    }

    async fn create_multipart_upload(
        &self,
        req: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        let input = req.input;
        unsupported(&[
            ("acl", input.acl.is_some()),
            (
                "grants",
                input.grant_read.is_some() || input.grant_full_control.is_some(),
            ),
            (
                "object lock",
                input.object_lock_mode.is_some() || input.object_lock_legal_hold_status.is_some(),
            ),
            ("customer keys", input.sse_customer_algorithm.is_some()),
            ("tags", input.tagging.is_some()),
        ])?;
        let attributes = self.rules.attributes(Attributes {
            storage_class: input.storage_class.map(|class| class.as_str().to_owned()),
            encryption: input.server_side_encryption.map(|kind| kind.as_str().to_owned()),
            kms_key_id: input.ssekms_key_id,
            content_type: input.content_type,
            content_encoding: input.content_encoding,
            metadata: metadata(input.metadata)?,
        })?;
        let (encryption, kms_key_id) = (attributes.encryption.clone(), attributes.kms_key_id.clone());
        let id = self.store.create_upload(Upload {
            bucket: input.bucket.clone(),
            key: input.key.clone(),
            attributes,
            initiated: std::time::SystemTime::now(),
            parts: Default::default(),
        })?;
        Ok(S3Response::new(CreateMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(id),
            server_side_encryption: encryption.map(Into::into),
            ssekms_key_id: kms_key_id,
            ..Default::default()
        }))
    }

    async fn upload_part(&self, req: S3Request<UploadPartInput>) -> S3Result<S3Response<UploadPartOutput>> {
        let input = req.input;
        unsupported(&[("customer keys", input.sse_customer_algorithm.is_some())])?;
        let number = part_number(input.part_number)?;
        let upload = self.store.upload(&input.bucket, &input.key, &input.upload_id)?;
        let part = self
            .receive(input.body, input.content_length, input.content_md5.as_deref())
            .await?;
        let e_tag = self
            .store
            .put_part(&input.bucket, &input.key, &input.upload_id, number, part)?;
        Ok(S3Response::new(UploadPartOutput {
            e_tag: Some(ETag::Strong(e_tag)),
            server_side_encryption: upload.attributes.encryption.map(Into::into),
            ..Default::default()
        }))
    }

    async fn list_parts(&self, req: S3Request<ListPartsInput>) -> S3Result<S3Response<ListPartsOutput>> {
        let input = req.input;
        let upload = self.store.upload(&input.bucket, &input.key, &input.upload_id)?;
        let page = self.rules.page(input.max_parts)?;
        let marker = input.part_number_marker.unwrap_or(0);
        let mut parts: Vec<Part> = upload
            .parts
            .iter()
            .filter(|(number, _)| i32::from(**number) > marker)
            .map(|(number, part)| Part {
                part_number: Some(i32::from(*number)),
                size: i64::try_from(part.size).ok(),
                e_tag: Some(ETag::Strong(part.e_tag())),
                last_modified: Some(part.modified.into()),
                ..Default::default()
            })
            .collect();
        let truncated = parts.len() > page;
        parts.truncate(page);
        Ok(S3Response::new(ListPartsOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(input.upload_id),
            max_parts: i32::try_from(page).ok(),
            part_number_marker: Some(marker),
            next_part_number_marker: parts.last().and_then(|part| part.part_number),
            is_truncated: Some(truncated),
            parts: Some(parts),
            storage_class: upload.attributes.storage_class.map(Into::into),
            ..Default::default()
        }))
    }

    async fn complete_multipart_upload(
        &self,
        req: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let input = req.input;
        unsupported(&[("If-Match", input.if_match.is_some())])?;
        self.must_not_exist(&input.bucket, &input.key, input.if_none_match.as_ref())?;
        let asked = input
            .multipart_upload
            .and_then(|upload| upload.parts)
            .unwrap_or_default();
        let smallest = self.rules.min_part_size();
        let object = self
            .store
            .complete((&input.bucket, &input.key, &input.upload_id), |upload| {
                approve(upload, &asked, smallest)
            })?;
        Ok(S3Response::new(CompleteMultipartUploadOutput {
            location: Some(format!("/{}/{}", input.bucket, input.key)),
            bucket: Some(input.bucket),
            key: Some(input.key),
            e_tag: Some(ETag::Strong(object.e_tag)),
            server_side_encryption: object.attributes.encryption.map(Into::into),
            ssekms_key_id: object.attributes.kms_key_id,
            ..Default::default()
        }))
    }

    async fn abort_multipart_upload(
        &self,
        req: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        self.store
            .abort(&req.input.bucket, &req.input.key, &req.input.upload_id)?;
        let output = AbortMultipartUploadOutput::default();
        Ok(S3Response::with_status(output, hyper::StatusCode::NO_CONTENT))
    }

    async fn list_multipart_uploads(
        &self,
        req: S3Request<ListMultipartUploadsInput>,
    ) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
        let input = req.input;
        unsupported(&[
            (
                "delimiter",
                input.delimiter.as_ref().is_some_and(|delimiter| !delimiter.is_empty()),
            ),
            ("encoding type", input.encoding_type.is_some()),
        ])?;
        let prefix = input.prefix.clone().unwrap_or_default();
        let page = self.rules.page(input.max_uploads)?;
        let after = (
            input.key_marker.clone().unwrap_or_default(),
            input.upload_id_marker.clone(),
        );
        let mut uploads: Vec<(String, Upload)> = self.store.uploads(&input.bucket)?;
        uploads.retain(|(id, upload)| upload.key.starts_with(&prefix) && follows((&upload.key, id), &after));
        let truncated = uploads.len() > page;
        uploads.truncate(page);
        let last = uploads.last().filter(|_| truncated);
        let (next_key, next_id) = last.map(|(id, upload)| (upload.key.clone(), id.clone())).unzip();
        let uploads = uploads.into_iter().map(|(id, upload)| MultipartUpload {
            key: Some(upload.key),
            upload_id: Some(id),
            initiated: Some(upload.initiated.into()),
            storage_class: upload.attributes.storage_class.map(Into::into),
            ..Default::default()
        });
        Ok(S3Response::new(ListMultipartUploadsOutput {
            uploads: Some(uploads.collect()),
            bucket: Some(input.bucket),
            prefix: Some(prefix),
            max_uploads: i32::try_from(page).ok(),
            key_marker: input.key_marker,
            upload_id_marker: input.upload_id_marker,
            is_truncated: Some(next_key.is_some()),
            next_key_marker: next_key,
            next_upload_id_marker: next_id,
            ..Default::default()
        }))
    }
}

fn listed(key: String, object: Stored) -> Object {
    let class = object.attributes.storage_class.unwrap_or_else(|| "STANDARD".into());
    Object {
        key: Some(key),
        size: i64::try_from(object.size).ok(),
        e_tag: Some(ETag::Strong(object.e_tag)),
        last_modified: Some(object.modified.into()),
        storage_class: Some(class.into()),
        ..Default::default()
    }
}
