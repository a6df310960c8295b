//! The Terraform module: it is formatted, what it refers to is there, and with the providers at hand Terraform validates it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use slipway_testkit::tools::{find, skipped};

use crate::story::repository;

/// A directory laid out as Terraform's `-plugin-dir` wants it, with the providers in it.
const PLUGINS: &str = "SLIPWAY_TEST_TERRAFORM_PLUGINS";
const MODULES: [&str; 2] = ["infra/terraform", "infra/terraform/examples/eks"];

fn files(module: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(repository().join(module)).unwrap().flatten().map(|e| e.path());
    let mut files: Vec<_> = entries.filter(|p| p.extension().is_some_and(|e| e == "tf")).collect();
    files.sort();
    files
}

/// The code of a module, without comments.
fn code(module: &str) -> String {
    let text: Vec<String> = files(module).iter().map(|f| std::fs::read_to_string(f).unwrap()).collect();
    text.join("\n").lines().filter(|l| !l.trim_start().starts_with('#')).collect::<Vec<_>>().join("\n")
}

/// What comes after each `prefix` in the text, as far as it is a reference.
fn after<'a>(text: &'a str, prefix: &str) -> BTreeSet<&'a str> {
    let apart = |before: &str| !before.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.');
    let found = text.match_indices(prefix).filter(|(at, _)| apart(&text[..*at])).map(|(at, _)| &text[at + prefix.len()..]);
    found.map(|rest| &rest[..rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len())]).collect()
}

/// The labels of blocks of a kind: `variable "name" {`, `resource "type" "name" {`.
fn blocks<'a>(text: &'a str, kind: &str) -> Vec<Vec<&'a str>> {
    let lines = text.lines().filter_map(|l| l.strip_prefix(kind)?.strip_prefix(' '));
    lines.map(|l| l.split('"').skip(1).step_by(2).collect()).collect()
}

fn terraform(directory: &Path, arguments: &[&str]) -> Option<std::process::Output> {
    let mut command = Command::new(find("terraform")?);
    command.arg(format!("-chdir={}", directory.display())).args(arguments).env("CHECKPOINT_DISABLE", "1");
    Some(command.output().expect("terraform starts"))
}

#[test]
fn it_is_formatted() {
    let Some(output) = terraform(&repository(), &["fmt", "-check", "-recursive", "-diff", "infra/terraform"]) else {
        return skipped("it_is_formatted", "terraform is not installed");
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn what_it_refers_to_is_there_and_nothing_else() {
    for module in MODULES {
        let text = code(module);
        let names = |kind: &str| blocks(&text, kind).into_iter().map(|labels| labels[0]).collect::<BTreeSet<_>>();
        assert_eq!(names("variable"), after(&text, "var."), "{module}: variables declared, and used");
        for kind in ["resource", "data"] {
            let declared: BTreeSet<(&str, &str)> = blocks(&text, kind).into_iter().map(|l| (l[0], l[1])).collect();
            assert_eq!(declared.is_empty(), kind == "resource" && !text.contains("resource \""), "{module}");
            for (provider_type, _) in &declared {
                let prefix = if kind == "data" { format!("data.{provider_type}.") } else { format!("{provider_type}.") };
                for name in after(&text, &prefix) {
                    assert!(declared.contains(&(*provider_type, name)), "{module}: there is no {prefix}{name}");
                }
            }
        }
        for block in ["variable", "output"] {
            let described =
                text.split(&format!("\n{block} \"")).skip(1).all(|b| b.split("\n}").next().unwrap().contains("description"));
            assert!(described, "{module}: every {block} says what it is");
        }
    }
}

#[test]
fn nothing_is_open_unencrypted_or_left_over() {
    let text = code("infra/terraform");
    for wanted in [
        "restrict_public_buckets = true",
        "block_public_policy     = true",
        "abort_incomplete_multipart_upload",
        "storage_encrypted     = true",
        "publicly_accessible    = false",
        "\"aws:SecureTransport\"",
        "enable_key_rotation     = true",
    ] {
        assert!(text.contains(wanted), "{wanted}");
    }
    assert!(!text.contains("0.0.0.0/0") && !text.contains("\"s3:*\"]\n    resources = [\"*\"]"));
}

#[test]
fn terraform_validates_it() {
    let test = "terraform_validates_it";
    let Some(plugins) = std::env::var_os(PLUGINS) else {
        return skipped(test, &format!("no providers are at hand; name a directory with them in {PLUGINS}"));
    };
    let directory = tempfile::tempdir().unwrap();
    for file in files("infra/terraform") {
        std::fs::copy(&file, directory.path().join(file.file_name().unwrap())).unwrap();
    }
    let plugins = format!("-plugin-dir={}", Path::new(&plugins).display());
    for arguments in [&["init", "-backend=false", "-input=false", &plugins][..], &["validate"]] {
        let Some(output) = terraform(directory.path(), arguments) else {
            return skipped(test, "terraform is not installed");
        };
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
