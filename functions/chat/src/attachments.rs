//! Where uploaded attachments are, and how many of their bytes a model gets.

use std::collections::HashMap;
use std::time::SystemTime;

use bucket::{Bucket, BucketError};
use bytes::Bytes;
use chat_store::UploadId;
use chat_store::uploads::Upload;
use http_api::Cors;
use runtime::{ConfigError, Lookup, number};

/// Bytes of uploads that a model is given in one turn.
const UPLOAD_BYTES_PER_TURN: &str = "UPLOAD_BYTES_PER_TURN";

/// The bytes of uploads, by their ids.
pub(crate) type Files = HashMap<UploadId, Bytes>;

/// Where uploads are, and how much of them a model is given.
#[derive(Debug)]
pub(crate) struct Uploads {
    bucket: Bucket,
    /// Whose pages name uploads below a host of their own.
    pub(crate) cors: Cors,
    pub(crate) bytes_per_turn: usize,
}

impl Uploads {
    /// `None` where there is no bucket.
    pub(crate) fn from_lookup(lookup: Lookup<'_>) -> Result<Option<Self>, ConfigError> {
        let Some(bucket) = Bucket::from_lookup(lookup)? else {
            return Ok(None);
        };
        let most = 1..=100 * 1024 * 1024;
        Ok(Some(Self {
            bucket,
            cors: Cors::from_lookup(lookup)?,
            bytes_per_turn: number(lookup, UPLOAD_BYTES_PER_TURN, 20 * 1024 * 1024, most)?,
        }))
    }

    /// The bytes of an upload; `None` as long as nothing was uploaded.
    pub(crate) async fn bytes(
        &self,
        upload: &Upload,
        now: SystemTime,
    ) -> Result<Option<Bytes>, BucketError> {
        let size = usize::try_from(upload.size).unwrap_or(usize::MAX);
        self.bucket.get(upload.id.as_str(), size, now).await
    }
}
