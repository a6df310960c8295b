//! Names that nobody has named: those in the metadata of Kubernetes manifests, in YAML and in JSON.

use crate::model::{NameKind, PrivateName};

// Names that everybody's cluster has, and words that are names as well as words.
const COMMON: [&str; 7] = ["default", "kube-system", "kube-public", "kube-node-lease", "kubernetes", "name", "namespace"];

/// The names in the metadata of the manifests in a text.
pub(super) fn names(text: &str, found: &mut Vec<PrivateName>) {
    if text.contains("metadata:") {
        yaml(text, found);
    }
    if text.contains("metadata\"") {
        json(text, found);
    }
}

fn yaml(text: &str, found: &mut Vec<PrivateName>) {
    let lines: Vec<&str> = text.lines().collect();
    for (n, line) in lines.iter().enumerate() {
        let content = line.trim_start_matches([' ', '-']);
        if content.trim_end() != "metadata:" {
            continue;
        }
        let indent = line.len() - content.len();
        let is_pod = names_a_pod(&lines, n, indent);
        let below = lines[n + 1..].iter().take_while(|l| l.trim().is_empty() || column(l) > indent);
        let first = below.clone().find(|l| !l.trim().is_empty()).map_or(0, |l| column(l));
        for line in below.filter(|l| column(l) == first) {
            if let Some((key, value)) = line.trim().split_once(':') {
                add(key.trim_matches('"'), value.trim().trim_matches(['"', '\'']), is_pod, found);
            }
        }
    }
}

fn column(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

/// Whether the object around its `metadata` on line `n` is a pod: its `kind` stands beside it.
fn names_a_pod(lines: &[&str], n: usize, indent: usize) -> bool {
    let beside = |l: &&&str| {
        l.trim_start_matches([' ', '-']).starts_with("kind:") && l.len() - l.trim_start_matches([' ', '-']).len() == indent
    };
    let ends = |l: &&&str| !l.starts_with("---");
    let above = lines[..n].iter().rev().take_while(ends).take(20).find(beside);
    let kind = above.or_else(|| lines[n..].iter().take_while(ends).take(400).find(beside));
    kind.is_some_and(|l| l.trim().trim_start_matches("- ").trim_start_matches("kind:").trim().trim_matches('"') == "Pod")
}

fn json(text: &str, found: &mut Vec<PrivateName>) {
    let is_pod = |before: &str| {
        before
            .rfind("kind\"")
            .is_some_and(|k| before[k..].trim_start_matches("kind\"").trim_start_matches([':', ' ']).starts_with("\"Pod\""))
    };
    for (at, _) in text.match_indices("metadata\"") {
        let rest = &text[at + "metadata\"".len()..];
        let Some(open) = rest.find('{').filter(|n| rest[..*n].trim_matches([':', ' ', '\n', '\t']).is_empty()) else { continue };
        let mut depth = 0;
        let mut parts = rest[open..].split_inclusive(['{', '}', '"']).take(2_000);
        while let Some(part) = parts.next() {
            match part.as_bytes().last() {
                Some(b'{') => depth += 1,
                Some(b'}') => depth -= 1,
                _ if depth == 1 && matches!(part, "name\"" | "namespace\"") => {
                    let colon = parts.next().is_some_and(|p| p.trim_end_matches('"').trim() == ":");
                    if let (true, Some(value)) = (colon, parts.next()) {
                        add(part.trim_end_matches('"'), value.trim_end_matches('"'), is_pod(&text[..at]), found);
                    }
                }
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
    }
}

fn add(key: &str, value: &str, is_pod: bool, found: &mut Vec<PrivateName>) {
    let legal = value.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.'));
    let edges = value.starts_with(|c: char| c.is_ascii_alphanumeric()) && value.ends_with(|c: char| c.is_ascii_alphanumeric());
    if !legal
        || !edges
        || !(2..=253).contains(&value.len())
        || COMMON.contains(&value)
        || value.bytes().all(|b| b.is_ascii_digit())
    {
        return;
    }
    let kind = match key {
        "namespace" => NameKind::Namespace,
        "name" if is_pod => NameKind::Pod,
        "name" => NameKind::Resource,
        _ => return,
    };
    found.push(PrivateName { name: value.to_owned(), kind });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_found_and_other_names_are_not() {
        let text = "apiVersion: v1\nkind: Pod\nmetadata:\n  labels:\n    name: not-this\n  name: shop-0\n  namespace: retail\nspec:\n  containers:\n  - name: http\n---\nkind: Service\nmetadata:\n  name: \"shop\"\n";
        let mut found = Vec::new();
        names(text, &mut found);
        let found: Vec<_> = found.iter().map(|n| (n.name.as_str(), n.kind)).collect();
        assert_eq!(found, [("shop-0", NameKind::Pod), ("retail", NameKind::Namespace), ("shop", NameKind::Resource)]);
    }

    #[test]
    fn metadata_in_json_is_found() {
        let text =
            r#"{"kind":"Pod","metadata":{"labels":{"name":"no"},"name":"shop-0","namespace": "default"},"spec":{"name":"no"}}"#;
        let mut found = Vec::new();
        names(text, &mut found);
        assert_eq!(found, [PrivateName { name: "shop-0".into(), kind: NameKind::Pod }]);
    }
}
