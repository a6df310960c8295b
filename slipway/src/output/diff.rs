//! Differences as `git diff` shows them.

use slipway_proto::filestore::{FileDiff, FileStatus};

use super::Paint;

/// The files' differences, painted.
pub(crate) fn unified(files: &[FileDiff], paint: Paint) -> String {
    let mut out = String::new();
    for file in files {
        let path = match file.status() {
            FileStatus::Renamed => format!("{} -> {}", file.old_path, file.path),
            _ => file.path.clone(),
        };
        out.push_str(&paint.bold(format!("{} {path}", what(file))));
        out.push_str(&format!(
            "  {} {}\n",
            paint.green(format!("+{}", file.additions)),
            paint.red(format!("-{}", file.deletions))
        ));
        if file.binary {
            out.push_str(&paint.dim("binary, or too large to show\n"));
        }
        for line in file.unified.lines() {
            out.push_str(&painted(line, paint));
            out.push('\n');
        }
    }
    out
}

fn what(file: &FileDiff) -> &'static str {
    match file.status() {
        FileStatus::Added => "added",
        FileStatus::Deleted => "deleted",
        FileStatus::Renamed => "renamed",
        _ => "modified",
    }
}

fn painted(line: &str, paint: Paint) -> String {
    if line.starts_with("+++") || line.starts_with("---") || line.starts_with("diff ") || line.starts_with('\\') {
        paint.dim(line)
    } else if line.starts_with("@@") {
        paint.cyan(line)
    } else if line.starts_with('+') {
        paint.green(line)
    } else if line.starts_with('-') {
        paint.red(line)
    } else {
        line.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_shown() {
        let file = FileDiff {
            path: "values.yaml".into(),
            status: FileStatus::Modified.into(),
            unified: "--- a/values.yaml\n+++ b/values.yaml\n@@ -1 +1 @@\n-a: 1\n+a: 2\n".into(),
            additions: 1,
            deletions: 1,
            ..Default::default()
        };
        let text = unified(&[file], Paint::new(false));
        assert_eq!(text, "modified values.yaml  +1 -1\n--- a/values.yaml\n+++ b/values.yaml\n@@ -1 +1 @@\n-a: 1\n+a: 2\n");
    }
}
