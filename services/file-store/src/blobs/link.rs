//! Links to single blobs of a bucket, signed so that whoever has one needs no key.

use std::fmt::Write as _;
use std::time::Duration;

use blake3::Hash;
use object_store::path::Path as Key;
use object_store::signer::{Method, SignedUrlOptions, Signer as _};

use super::{BlobError, Blobs, Place, key};

impl Blobs {
    /// A link by which one blob can be fetched by GET until `ttl` has passed, to be saved as `name`. `None`: blobs in a
    /// directory have none.
    pub(crate) async fn link(&self, hash: Hash, name: &str, ttl: Duration) -> Result<Option<String>, BlobError> {
        let Place::Bucket(bucket) = &self.place else { return Ok(None) };
        let object: Key = bucket.prefix.parts().chain(key(&hash).parts()).collect();
        // Never shown in place: a file of a workspace may be a page with scripts.
        let options = SignedUrlOptions::new().with_query([
            ("response-content-disposition", disposition(name)),
            ("response-content-type", "application/octet-stream".to_owned()),
        ]);
        let url = bucket.s3.signed_url_opts(Method::GET, &object, ttl, &options).await?;
        Ok(Some(url.into()))
    }
}

/// The header that names the file, as RFC 6266 has it.
fn disposition(name: &str) -> String {
    let mut header = "attachment; filename*=UTF-8''".to_owned();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            header.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(header, "%{byte:02X}");
        }
    }
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped() {
        assert_eq!(disposition("values.yaml"), "attachment; filename*=UTF-8''values.yaml");
        assert_eq!(disposition("a\"; b=ü"), "attachment; filename*=UTF-8''a%22%3B%20b%3D%C3%BC");
    }
}
