//! What the ranking sees of a package's files under a request, for whoever learns its weights. No index: files are cut and
//! digested here, as they are for one.

use std::collections::HashMap;
use std::sync::Arc;

use super::{File, Read};
use crate::error::BoxError;
use crate::model::chunk::{chunk, text_of};
use crate::model::select::{Candidate, Digest, Request, traits};

/// What is so of a file, by the names of the weights, and how much.
pub type Traits = Vec<(String, f64)>;

/// Sees one package after another.
#[derive(Default)]
pub struct Observer {
    package: String,
    /// Of the package, by path and blob.
    known: HashMap<(String, String), Arc<Digest>>,
}

impl Observer {
    /// The traits of each file; `read` gives the bytes of a blob, and is asked for new ones only.
    pub fn see(&mut self, package: &str, files: &[File], request: &str, read: &mut Read<'_>) -> Result<Vec<Traits>, BoxError> {
        if self.package != package {
            self.known.clear();
            package.clone_into(&mut self.package);
        }
        let key = |file: &File| (file.path.clone(), file.blob.clone());
        let new: Vec<&File> = files.iter().filter(|file| !self.known.contains_key(&key(file))).collect();
        for (file, bytes) in new.iter().zip(read(&new)?) {
            let chunks = text_of(&bytes).map(|text| chunk(&file.path, text)).unwrap_or_default();
            self.known.insert(key(file), Arc::new(Digest::of(chunks.iter().map(|c| c.text.as_str()))));
        }
        let digest = |file: &File| self.known.get(&key(file)).cloned().unwrap_or_default();
        let candidates: Vec<_> = files.iter().map(|file| Candidate { path: &file.path, digest: digest(file) }).collect();
        let seen = traits(&Request::read(request), &candidates);
        Ok(seen.into_iter().map(|traits| traits.into_iter().map(|t| (t.name, t.value)).collect()).collect())
    }
}
