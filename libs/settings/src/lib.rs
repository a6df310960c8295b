//! Where settings come from, and in what order: the defaults of a struct, then `slipway.toml`, then `SLIPWAY_*`.
//!
//! The crate knows no setting by name. It loads any type with serde and a `Default`, turns every mistake into one sentence
//! that names the key and where it came from, and prints what is in force with the secrets masked.
//!
//! The file is the first of: the one named by `--config` or `SLIPWAY_CONFIG` (which must exist), `./slipway.toml`, and
//! `slipway/slipway.toml` in the user's configuration directory. In a variable's name a double underscore nests:
//! `SLIPWAY_INFERENCE__DEFAULT_MODEL` is `inference.default_model`. `SLIPWAY_CONFIG` and `SLIPWAY_TEST_*` are not settings,
//! nor are the variables that Kubernetes makes up for a Service called slipway (`SLIPWAY_PORT=tcp://…`).

mod env;
mod error;
mod print;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use figment::providers::{Format as _, Serialized, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Error as FigmentError, Figment, Metadata, Profile, Provider};
use serde::{Serialize, de::DeserializeOwned};

pub use error::SettingsError;

/// The name of the settings file.
pub const FILE_NAME: &str = "slipway.toml";

/// Where to look: a file named by the user, or some places to try, and the environment.
#[derive(Debug, Default)]
pub struct Loader {
    named: Option<PathBuf>,
    places: Vec<PathBuf>,
    env: Vec<(String, String)>,
}

impl Loader {
    /// Looks nowhere: defaults alone. Tests add to it.
    pub fn new() -> Loader {
        Loader::default()
    }

    /// Looks where a process should. `explicit` is the file of `--config`; `SLIPWAY_CONFIG` names one too.
    pub fn from_process(explicit: Option<PathBuf>) -> Loader {
        let named = explicit.or_else(|| std::env::var_os("SLIPWAY_CONFIG").filter(|v| !v.is_empty()).map(PathBuf::from));
        let mut places = vec![PathBuf::from(FILE_NAME)];
        places.extend(dirs::config_dir().map(|dir| dir.join("slipway").join(FILE_NAME)));
        let env = std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
        Loader { named, places, env: env.collect() }
    }

    /// Reads this file, which must exist.
    pub fn with_file(mut self, path: impl Into<PathBuf>) -> Loader {
        self.named = Some(path.into());
        self
    }

    /// Uses these variables as the environment.
    pub fn with_env<K: Into<String>, V: Into<String>>(mut self, variables: impl IntoIterator<Item = (K, V)>) -> Loader {
        self.env = variables.into_iter().map(|(k, v)| (k.into(), v.into())).collect();
        self
    }

    /// Loads the settings, or says in one sentence what is wrong with them.
    pub fn load<S: Serialize + DeserializeOwned + Default>(self) -> Result<Loaded<S>, SettingsError> {
        let (file, text) = self.read_file()?;
        let mut base = Figment::from(Serialized::defaults(S::default()));
        let known = base.extract::<Dict>().map(|dict| print::leaves(&dict)).unwrap_or_default();
        if let Some(path) = &file {
            base = base.merge(FileLayer { path: path.clone(), text });
        }
        let variables = env::settings(&self.env);
        let mut literal = BTreeSet::new();
        loop {
            let figment = variables.iter().fold(base.clone(), |f, v| f.merge(v.layer(literal.contains(&v.name))));
            match figment.extract::<S>() {
                Ok(settings) => return Ok(Loaded { settings, file, figment }),
                // A text may look like a number or a table: `SLIPWAY_X__SECRET=12345`. Take the variable as it stands, then.
                Err(e) => match error::text_expected(&figment, &e) {
                    Some(name) if literal.insert(name.clone()) => continue,
                    _ => return Err(error::explain(&figment, &known, e)),
                },
            }
        }
    }

    fn read_file(&self) -> Result<(Option<PathBuf>, String), SettingsError> {
        let chosen = self.named.as_ref().or_else(|| self.places.iter().find(|p| p.is_file()));
        let Some(path) = chosen else { return Ok((None, String::new())) };
        let text = std::fs::read_to_string(path).map_err(|e| SettingsError::file(path, &e.to_string()))?;
        toml::from_str::<toml::Table>(&text).map_err(|e| {
            let line = e.span().map_or(0, |s| text[..s.start.min(text.len())].matches('\n').count() + 1);
            SettingsError::file(path, &format!("line {line}: {}", e.message().replace('\n', ", ")))
        })?;
        Ok((Some(path.clone()), text))
    }
}

/// What was loaded, and from where.
#[derive(Debug)]
pub struct Loaded<S> {
    /// The settings.
    pub settings: S,
    /// The file that was read, if any.
    pub file: Option<PathBuf>,
    figment: Figment,
}

impl<S> Loaded<S> {
    /// Everything in force as TOML; secrets are masked, and each value says where it came from.
    pub fn in_force(&self) -> String {
        print::in_force(&self.figment)
    }

    /// Where the value of `key` (such as `inference.default_model`) came from: `SLIPWAY_…`, a file's path, or `the defaults`.
    pub fn origin(&self, key: &str) -> String {
        error::origin(&self.figment, key)
    }

    /// The error for a value that loads but does not make sense; `problem` completes "`key` from origin …".
    pub fn invalid(&self, key: &str, problem: &str) -> SettingsError {
        SettingsError::value(key, &self.origin(key), problem)
    }
}

/// The settings file as a layer of its own, so that errors and origins name it.
struct FileLayer {
    path: PathBuf,
    text: String,
}

impl Provider for FileLayer {
    fn metadata(&self) -> Metadata {
        Metadata::from(display(&self.path), self.path.as_path())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, FigmentError> {
        Toml::string(&self.text).data()
    }
}

fn display(path: &Path) -> String {
    path.display().to_string()
}

/// The dict `{a: {b: value}}` of a path `a.b`.
fn nest(path: &[String], value: Value) -> Dict {
    let (head, rest) = path.split_first().map_or((String::new(), &path[..0]), |(h, r)| (h.clone(), r));
    let inner = if rest.is_empty() { value } else { Value::from(nest(rest, value)) };
    Dict::from([(head, inner)])
}

#[cfg(test)]
mod tests;
