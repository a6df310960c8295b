//! Whether a changed chart is still a chart: its YAML always, and helm's own opinion where helm can be asked.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use saphyr::{LoadableYamlNode as _, Yaml};
use tokio::process::Command;
use walkdir::WalkDir;

use crate::error::{Exit, Failure};

/// Parses every YAML file that is no template; returns how many.
pub(super) fn yaml(dir: &Path) -> anyhow::Result<u64> {
    let mut parsed = 0;
    for entry in WalkDir::new(dir).sort_by_file_name() {
        let entry = entry?;
        let path = entry.path().strip_prefix(dir)?;
        let is_template = path.components().any(|c| c.as_os_str() == "templates");
        let is_yaml = path.extension().is_some_and(|e| e == "yaml" || e == "yml");
        if !entry.file_type().is_file() || !is_yaml || is_template {
            continue;
        }
        let text = std::fs::read_to_string(entry.path()).with_context(|| format!("{} is not text", path.display()))?;
        Yaml::load_from_str(&text)
            .map_err(|e| Failure::new(Exit::Failed, format!("{} is not YAML any more: {e}", path.display())))?;
        parsed += 1;
    }
    Ok(parsed)
}

/// What helm says.
pub(super) struct Helm {
    program: PathBuf,
}

/// A verdict of helm.
pub(super) enum Verdict {
    /// It is content; with the output.
    Good(String),
    /// It was not content with the chart before the change either; with its first complaint.
    AsBefore(String),
}

impl Helm {
    /// helm, if it is on the PATH or among the tools that `make test` has fetched.
    pub(super) fn find() -> Option<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let fetched = dirs::cache_dir().map(|cache| cache.join("slipway/tools/bin"));
        let program = std::env::split_paths(&path).chain(fetched).map(|dir| dir.join("helm")).find(|p| p.is_file())?;
        Some(Self { program })
    }

    /// Runs a subcommand on the changed chart, and on the chart before if it fails.
    pub(super) async fn judge(&self, arguments: &[&str], changed: &Path, before: &Path) -> anyhow::Result<Verdict> {
        match self.run(arguments, changed).await? {
            Ok(output) => Ok(Verdict::Good(output)),
            Err(complaint) => match self.run(arguments, before).await? {
                Err(_) => Ok(Verdict::AsBefore(complaint)),
                Ok(_) => {
                    Err(Failure::new(Exit::Failed, format!("helm {} fails since the change: {complaint}", arguments[0])).into())
                }
            },
        }
    }

    async fn run(&self, arguments: &[&str], chart: &Path) -> anyhow::Result<Result<String, String>> {
        let output = Command::new(&self.program).args(arguments).arg(chart).output().await.context("helm cannot be run")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(Ok(text));
        }
        let errors = String::from_utf8_lossy(&output.stderr).into_owned() + &text;
        let first = errors.lines().find(|l| l.to_ascii_lowercase().contains("error")).or_else(|| errors.lines().next());
        Ok(Err(first.unwrap_or("it says nothing").trim().to_owned()))
    }
}

/// The kinds of the rendered objects and how many there are of each, in the order of their names.
pub(super) fn kinds(rendered: &str) -> Vec<(String, u64)> {
    let mut kinds = std::collections::BTreeMap::new();
    for line in rendered.lines() {
        if let Some(kind) = line.strip_prefix("kind: ") {
            *kinds.entry(kind.trim().to_owned()).or_default() += 1;
        }
    }
    kinds.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yaml_is_checked_outside_templates() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("templates")).unwrap();
        std::fs::write(dir.path().join("Chart.yaml"), "name: a\n").unwrap();
        std::fs::write(dir.path().join("templates/a.yaml"), "{{ if }}: [\n").unwrap();
        assert_eq!(yaml(dir.path()).unwrap(), 1);
        std::fs::write(dir.path().join("values.yaml"), "a: [\n").unwrap();
        assert!(yaml(dir.path()).unwrap_err().to_string().contains("values.yaml"));
    }

    #[test]
    fn objects_are_counted_by_kind() {
        let text = "kind: Service\n---\nkind: Deployment\n  kind: inner\n---\nkind: Service\n";
        assert_eq!(kinds(text), [("Deployment".to_owned(), 1), ("Service".to_owned(), 2)]);
    }
}
