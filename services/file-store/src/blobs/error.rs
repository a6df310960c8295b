//! Why a blob could not be read or written, and whose matter that is.

use std::io::ErrorKind;

use blake3::Hash;
use object_store::Error as StoreError;
use object_store::client::HttpError;

/// Why a blob could not be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BlobError {
    #[error("the object store failed")]
    Store(#[source] StoreError),
    /// The same call may succeed later.
    #[error("{}", Self::AWAY)]
    Away(#[source] StoreError),
    /// The operator must make room.
    #[error("the disk of the file contents is full")]
    Full(#[source] StoreError),
    /// The operator must change something.
    #[error("{0}")]
    Refused(&'static str, #[source] StoreError),
    #[error("the content of blob {0} is not what its name says")]
    Damaged(Hash),
    #[error("a spooled content cannot be read")]
    Spool(#[source] std::io::Error),
    #[error("a worker thread died")]
    Worker(#[from] tokio::task::JoinError),
}

impl BlobError {
    pub(crate) const AWAY: &str = "the object store of the file contents cannot be reached; try again";

    /// Whether the blob is simply not there.
    pub(crate) fn is_missing(&self) -> bool {
        matches!(self, Self::Store(StoreError::NotFound { .. }))
    }
}

const KEY: &str = "the bucket refuses the key; check file_store.s3.access_key_id and secret_access_key, or the role that this \
                   process runs under, and that the bucket's policy lets it list, read, write and delete objects";
const BUCKET: &str = "the bucket does not exist; check file_store.s3.bucket and file_store.s3.endpoint";
const REQUEST: &str = "the object store takes no such requests; check file_store.s3.region and file_store.s3.endpoint";

impl From<StoreError> for BlobError {
    fn from(error: StoreError) -> Self {
        match (&error, answer(&error)) {
            // 507: Insufficient Storage (RFC 4918, section 11.5).
            (_, Answer::NoRoom | Answer::Status(507)) => Self::Full(error),
            (StoreError::PermissionDenied { .. } | StoreError::Unauthenticated { .. }, _) => Self::Refused(KEY, error),
            (_, Answer::Status(401 | 403)) => Self::Refused(KEY, error),
            (_, Answer::NoBucket) => Self::Refused(BUCKET, error),
            (_, Answer::Status(301 | 400)) => Self::Refused(REQUEST, error),
            (StoreError::Generic { store: "S3", .. }, _) | (_, Answer::BrokenOff) => Self::Away(error),
            _ => Self::Store(error),
        }
    }
}

/// What a disk or an S3 server said to a request that failed for good.
enum Answer {
    /// Nothing, as far as the error tells.
    None,
    NoRoom,
    BrokenOff,
    NoBucket,
    Status(u16),
}

/// Finds the answer in the causes. The error that holds the status has no public name, so its text has to do.
fn answer(error: &(dyn std::error::Error + 'static)) -> Answer {
    let mut next = Some(error);
    while let Some(cause) = next {
        if cause.is::<HttpError>() {
            return Answer::BrokenOff;
        }
        if cause.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == ErrorKind::StorageFull) {
            return Answer::NoRoom;
        }
        let text = cause.to_string();
        if text.contains("<Code>NoSuchBucket</Code>") {
            return Answer::NoBucket;
        }
        let status = text.split_once("status code: ").and_then(|(_, rest)| rest.get(..3)?.parse().ok());
        if let Some(status) = status {
            return Answer::Status(status);
        }
        next = cause.source();
    }
    Answer::None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> BlobError {
        StoreError::Generic { store: "S3", source: text.into() }.into()
    }

    #[test]
    fn only_what_may_pass_is_worth_another_try() {
        for text in ["Server returned non-2xx status code: 503 : <Code>SlowDown</Code>", "status code: 500", "connection reset"] {
            assert!(matches!(of(text), BlobError::Away(_)), "{text}");
        }
        for (text, named) in [
            ("non-2xx status code: 403 Forbidden: ", "file_store.s3.access_key_id"),
            ("non-2xx status code: 400 Bad Request: <Code>AuthorizationHeaderMalformed</Code>", "file_store.s3.region"),
            ("non-2xx status code: 404 Not Found: <Code>NoSuchBucket</Code>", "file_store.s3.bucket"),
        ] {
            let error = of(text);
            assert!(matches!(error, BlobError::Refused(..)) && error.to_string().contains(named), "{error:?}");
        }
        assert!(matches!(of("status code: 507 Insufficient Storage: XMinioStorageFull"), BlobError::Full(_)));
        let full = std::io::Error::from(ErrorKind::StorageFull);
        let full = StoreError::Generic { store: "LocalFileSystem", source: Box::new(full) };
        assert!(matches!(full.into(), BlobError::Full(_)));
        let local = StoreError::Generic { store: "LocalFileSystem", source: "disk".into() };
        assert!(matches!(local.into(), BlobError::Store(_)));
    }
}
