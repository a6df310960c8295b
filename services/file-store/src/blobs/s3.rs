//! The blob store in an S3 bucket: how it is reached, and how long anything may take.
//!
//! Large contents are uploaded in parts. An upload that fails is aborted; one whose process died leaves its parts in the
//! bucket, unseen by any reader but paid for. They are for a lifecycle rule of the bucket (`AbortIncompleteMultipartUpload`
//! after a day): nothing in the protocol tells parts that are still growing from parts that nobody will ever finish.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path as Key;
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, ClientOptions, ObjectStore as _, RetryConfig};
use secrecy::ExposeSecret as _;

use super::{BlobError, Blobs, Place};
use crate::settings::S3Settings;

const CONNECT: Duration = Duration::from_secs(5);
/// For one request: a part of 8 MiB must fit into it.
const REQUEST: Duration = Duration::from_secs(30);
const RETRIES: usize = 5;
/// No try begins later than so long after the first.
const RETRY_FOR: Duration = Duration::from_secs(20);
const CHECK: Duration = Duration::from_secs(10);

/// The bucket itself, for what goes beyond reading and writing.
#[derive(Clone, Debug)]
pub(super) struct Bucket {
    pub(super) s3: Arc<AmazonS3>,
    pub(super) prefix: Key,
}

impl Blobs {
    /// Blobs in a bucket. Nothing is sent yet.
    pub(crate) fn s3(settings: &S3Settings) -> Result<Self, object_store::Error> {
        let s3 = connect(settings)?;
        let prefix = Key::parse(settings.prefix.trim_matches('/'))?;
        let store = Arc::new(PrefixStore::new(s3.clone(), prefix.clone()));
        Ok(Self::new(store, Place::Bucket(Bucket { s3: Arc::new(s3), prefix })))
    }

    /// Looks whether the bucket answers. A refusal is an error, since only the operator can mend it; a bucket that cannot be
    /// reached is only warned of: it may come back, and a restart of every replica would not help it.
    pub(crate) async fn check(&self) -> Result<(), BlobError> {
        let Place::Bucket(bucket) = &self.place else { return Ok(()) };
        let mut objects = bucket.s3.list(Some(&bucket.prefix));
        match tokio::time::timeout(CHECK, objects.next()).await {
            Ok(None | Some(Ok(_))) => Ok(()),
            Ok(Some(Err(error))) => match BlobError::from(error) {
                BlobError::Away(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "the bucket of the file contents cannot be reached; starting without it");
                    Ok(())
                }
                other => Err(other),
            },
            Err(_) => {
                tracing::warn!("the bucket of the file contents does not answer; starting without it");
                Ok(())
            }
        }
    }
}

fn connect(settings: &S3Settings) -> Result<AmazonS3, object_store::Error> {
    let backoff =
        BackoffConfig { init_backoff: Duration::from_millis(100), max_backoff: Duration::from_secs(3), ..Default::default() };
    let retry = RetryConfig { backoff, max_retries: RETRIES, retry_timeout: RETRY_FOR };
    let client = ClientOptions::new().with_connect_timeout(CONNECT).with_timeout(REQUEST);
    let mut builder = if settings.access_key_id.is_empty() {
        AmazonS3Builder::from_env()
    } else {
        AmazonS3Builder::new()
            .with_access_key_id(&settings.access_key_id)
            .with_secret_access_key(settings.secret_access_key.expose_secret())
    };
    if !settings.endpoint.is_empty() {
        builder = builder.with_endpoint(settings.endpoint.trim_end_matches('/'));
    }
    builder
        .with_bucket_name(&settings.bucket)
        .with_region(&settings.region)
        .with_client_options(client)
        .with_allow_http(settings.allow_http)
        .with_retry(retry)
        // One object at a time is what every S3-compatible server can delete.
        .with_disable_bulk_delete(true)
        .build()
}
