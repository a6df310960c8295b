//! A request, as somebody would put it: the subject line of a commit without what gives the answer away.

/// Endings of names that are files whatever stands before them.
const ENDINGS: [&str; 24] = [
    ".yaml", ".yml", ".json", ".md", ".tpl", ".txt", ".lock", ".gotmpl", ".toml", ".go", ".py", ".sh", ".rs", ".ts", ".tsx",
    ".js", ".jsx", ".java", ".c", ".h", ".cc", ".cpp", ".html", ".css",
];

/// The subject without names in brackets, scopes, paths, file names, numbers, versions, references and the package's name;
/// `None` when nothing is left to go by.
pub(crate) fn scrub(subject: &str, package: &str) -> Option<String> {
    let name = package.rsplit('/').next().unwrap_or(package).to_lowercase();
    let subject = without_scope(&without_brackets(subject));
    let kept: Vec<&str> = subject.split_whitespace().filter(|word| !is_telling(word, &name)).collect();
    let says = |word: &&str| word.chars().filter(|c| c.is_alphanumeric()).count() >= 2;
    kept.iter().any(says).then(|| kept.join(" "))
}

fn without_brackets(subject: &str) -> String {
    let mut kept = String::with_capacity(subject.len());
    let mut rest = subject;
    while let Some((before, inside)) = rest.split_once('[') {
        let Some((_, after)) = inside.split_once(']') else { break };
        kept.push_str(before);
        kept.push(' ');
        rest = after;
    }
    kept.push_str(rest);
    kept
}

/// `fix(gateway)!: …` is `fix!: …`.
fn without_scope(subject: &str) -> String {
    let subject = subject.trim_start();
    let parts = subject.split_once('(').and_then(|(kind, rest)| Some((kind, rest.split_once(')')?)));
    match parts {
        Some((kind, (_, after)))
            if !kind.is_empty()
                && kind.chars().all(char::is_alphanumeric)
                && (after.starts_with(':') || after.starts_with("!:")) =>
        {
            format!("{kind}{after}")
        }
        _ => subject.to_owned(),
    }
}

fn is_telling(word: &str, package: &str) -> bool {
    let core = word.trim_matches(|c: char| "`'\"(),;:!".contains(c));
    let lower = core.to_lowercase();
    core.contains('/')
        || lower == package
        || ENDINGS.iter().any(|ending| lower.len() > ending.len() && lower.ends_with(ending))
        || core.strip_prefix('#').is_some_and(|n| n.chars().all(|c| c.is_ascii_digit()))
        || is_version(&lower)
}

/// `3`, `v1.2.3-rc.1`, `7.*`.
fn is_version(word: &str) -> bool {
    let digits = word.strip_prefix('v').unwrap_or(word);
    digits.starts_with(|c: char| c.is_ascii_digit()) && digits.chars().all(|c| c.is_alphanumeric() || ".+-*_".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_gives_the_answer_away_is_taken_out() {
        let cases = [
            ("[bitnami/redis] Add `loadBalancerClass` to service (#1234)", "bitnami/redis", "Add `loadBalancerClass` to service"),
            ("feat(argo-cd)!: Upgrade dex to v2.44.0", "charts/argo-cd", "feat!: Upgrade dex to"),
            ("Fix templates/ingress.yaml and values.yaml for TLS", "charts/x", "Fix and for TLS"),
            ("grafana: bump image 11.2.* #88", "charts/grafana", "bump image"),
            ("Set a[0] to 3", "x", "Set a to"),
            ("Keep an open [bracket", "x", "Keep an open [bracket"),
        ];
        for (subject, package, expected) in cases {
            assert_eq!(scrub(subject, package).as_deref(), Some(expected), "{subject}");
        }
    }

    #[test]
    fn a_subject_that_says_nothing_is_no_request() {
        for subject in ["[x] v1.2.3 (#1)", "", "charts/x/values.yaml", "x: 1"] {
            assert_eq!(scrub(subject, "charts/x"), None, "{subject}");
        }
    }
}
