//! Answers: the lines of the given sources that have most to do with the question, quoted with where they stand.

use std::collections::{BTreeMap, HashMap};

use super::prompt::{self, Source};
use crate::model::{Message, Role};
use question::{about_files, is_talk, parts_of, terms, words_of};

mod question;

const MOST_LINES: usize = 6;
const MOST_SOURCES: usize = 3;
const MOST_QUOTED: usize = 10;
const MOST_CHILDREN: usize = 6;

/// The answer to a conversation: its last message decides.
pub(super) fn answer(messages: &[Message]) -> String {
    let last = messages.iter().rev().find(|m| m.role == Role::User).map(|m| m.text.as_str()).unwrap_or_default();
    let sources = prompt::sources(last);
    let Some(question) = prompt::question(last) else { return introduction(false) };
    if is_talk(question) {
        return introduction(false);
    }
    if sources.is_empty() {
        return introduction(true);
    }
    let (sources, question) = about_files(sources, question);
    let lines: Vec<Line<'_>> = sources.iter().flat_map(lines_of).collect();
    let mut parts: Vec<Vec<usize>> =
        parts_of(&question).iter().map(|terms| rank(&lines, terms)).filter(|best| !best.is_empty()).collect();
    if parts.is_empty() && terms(&question).is_empty() && !lines.is_empty() {
        // Nothing but a file was named: it speaks for itself.
        parts = vec![(0..lines.len().min(MOST_LINES)).collect()];
    }
    if parts.is_empty() { nothing_found(&sources) } else { quote(&sources, &lines, &parts) }
}

/// What the engine says when it has nothing to quote.
fn introduction(searched: bool) -> String {
    let found = if searched { "Nothing that was found has to do with this question.\n\n" } else { "" };
    format!(
        "{found}I am `builtin/rules`, a small rule engine without a language model. I can:\n\n\
         - answer questions about a workspace by quoting the lines that match them;\n\
         - plan and make changes to Helm charts and Kubernetes YAML: replicas, images and tags, resources, environment \
         variables, ports, ingress hosts, autoscaling, probes, service types, labels, annotations, and any values key by its path.\n\n\
         I cannot hold a conversation. For that, configure a language model: set `ANTHROPIC_API_KEY`, `OPENAI_API_KEY` or another provider's key, or \
         add `[inference.providers.<name>]` with a `base_url` to `slipway.toml`, and name the model in `inference.default_model`.\n"
    )
}

fn nothing_found(sources: &[Source<'_>]) -> String {
    let mut answer = "No line of what was found matches the question. The nearest places are:\n\n".to_owned();
    for source in sources.iter().take(MOST_SOURCES) {
        let last = source.start_line + source.text.lines().count().saturating_sub(1);
        answer.push_str(&format!("- `{}`, lines {}–{last} [{}]\n", source.path, source.start_line, source.index));
    }
    answer.push_str("\nI match words and am not a language model; asking with the words of the files helps.\n");
    answer
}

/// A line of a source with the words that it, and the keys above it, say.
struct Line<'a> {
    index: u32,
    path: &'a str,
    number: usize,
    text: &'a str,
    /// For YAML: the keys above and its own, and its value.
    keys: Vec<String>,
    value: Option<&'a str>,
    own: Vec<String>,
    above: Vec<String>,
}

fn lines_of<'a>(source: &Source<'a>) -> Vec<Line<'a>> {
    let yaml = super::project::is_yaml(source.path) && !source.text.contains("{{");
    let mut open: Vec<(usize, String)> = Vec::new();
    let mut lines = Vec::new();
    // Words of comments belong to the key below them.
    let mut comment: Vec<String> = Vec::new();
    for (n, text) in source.text.lines().enumerate() {
        let trimmed = text.trim();
        if trimmed.is_empty() {
            comment.clear();
            continue;
        }
        let is_comment = yaml && trimmed.starts_with('#');
        let (keys, value) = if yaml && !is_comment { keys_of(text, &mut open) } else { (Vec::new(), None) };
        let own_key = keys.last().map(|k| words_of(k)).unwrap_or_default();
        let mut own = if value.is_some() || !keys.is_empty() { own_key } else { words_of(trimmed) };
        own.extend(value.map(words_of).unwrap_or_default());
        let above = keys
            .iter()
            .rev()
            .skip(1)
            .flat_map(|k| words_of(k))
            .chain(comment.iter().cloned())
            .chain(words_of(source.path))
            .collect();
        if is_comment {
            comment.extend(words_of(trimmed));
        } else {
            comment.clear();
        }
        lines.push(Line { index: source.index, path: source.path, number: source.start_line + n, text, keys, value, own, above });
    }
    lines
}

/// The keys that lead to a line of YAML, by its indentation, and its value.
fn keys_of<'a>(text: &'a str, open: &mut Vec<(usize, String)>) -> (Vec<String>, Option<&'a str>) {
    let body = text.trim_start().trim_start_matches("- ");
    let indent = text.len() - body.len();
    open.retain(|(at, _)| *at < indent);
    let Some((key, value)) =
        body.split_once(':').filter(|(k, v)| !k.contains(char::is_whitespace) && (v.is_empty() || v.starts_with(' ')))
    else {
        return (open.iter().map(|(_, k)| k.clone()).collect(), None);
    };
    open.push((indent, key.trim_matches('"').to_owned()));
    let value = value.split(" #").next().map(str::trim).filter(|v| !v.is_empty());
    (open.iter().map(|(_, k)| k.clone()).collect(), value)
}

/// The best lines by number, best first: rare words count more, a line's own words more than those above it, and a
/// line with a value more than one without.
fn rank(lines: &[Line<'_>], terms: &[String]) -> Vec<usize> {
    let mut frequency: HashMap<&str, usize> = HashMap::new();
    for term in terms {
        let holds = |l: &&Line<'_>| l.own.contains(term) || l.above.contains(term);
        frequency.insert(term, lines.iter().filter(holds).count());
    }
    let weight = |term: &String| match frequency.get(term.as_str()) {
        Some(&n) if n > 0 => (1.0 + lines.len() as f64 / n as f64).ln(),
        _ => 0.0,
    };
    // A mapping that is called as the question says is worth more than a key that only has the word in it.
    let opens = |n: usize| {
        let line = &lines[n];
        line.value.is_none() && !line.text.trim_start().starts_with('#') && children(lines, n).next().is_some()
    };
    let score = |n: usize, line: &Line<'_>| {
        let mut score = 0.0;
        let mut own = 0;
        for term in terms {
            if line.own.contains(term) {
                own += 1;
                score += weight(term) * 2.0;
            } else if line.above.contains(term) {
                score += weight(term);
            }
        }
        if own == 0 {
            return 0.0;
        }
        let whole = line.keys.last().is_some_and(|k| words_of(k).iter().all(|w| terms.contains(w)));
        score
            * if line.value.is_some() && whole {
                1.6
            } else if whole && opens(n) {
                1.4
            } else if line.value.is_some() {
                1.2
            } else {
                1.0
            }
            / (1.0 + line.own.len() as f64 / 40.0)
    };
    let mut scored: Vec<(f64, usize)> =
        lines.iter().enumerate().map(|(n, l)| (score(n, l), n)).filter(|(s, _)| *s > 0.0).collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let least = scored.first().map_or(0.0, |(s, _)| s * 0.7);
    let mut seen: Vec<(&str, usize)> = Vec::new();
    let mut best = Vec::new();
    for (score, n) in scored {
        let place = (lines[n].path, lines[n].number);
        if score >= least && !seen.contains(&place) && best.len() < MOST_LINES {
            seen.push(place);
            best.push(n);
        }
    }
    best
}

/// What a line of YAML says, as a sentence.
fn sentence(lines: &[Line<'_>], n: usize) -> Option<String> {
    let line = &lines[n];
    let place = format!("(`{}`, line {}) [{}]", line.path, line.number, line.index);
    let name = line.keys.join(".");
    if let Some(value) = line.value {
        let value = value.trim_matches(['"', '\'']);
        let value = if value.is_empty() { "empty".to_owned() } else { format!("`{value}`") };
        return Some(format!("`{name}` is {value} {place}."));
    }
    let has: Vec<String> = children(lines, n).map(|n| format!("`{}`", lines[n].text.trim())).collect();
    (!line.keys.is_empty() && !has.is_empty()).then(|| format!("`{name}` has {} {place}.", has.join(", ")))
}

/// The values right below a key.
fn children(lines: &[Line<'_>], n: usize) -> impl Iterator<Item = usize> {
    let line = &lines[n];
    let below = move |m: &usize| {
        let l = &lines[*m];
        l.index == line.index
            && l.keys.len() == line.keys.len() + 1
            && l.keys[..line.keys.len()] == line.keys[..]
            && l.value.is_some()
    };
    (n + 1..lines.len()).filter(below).take(MOST_CHILDREN)
}

fn quote(sources: &[Source<'_>], lines: &[Line<'_>], parts: &[Vec<usize>]) -> String {
    let mut said: Vec<String> = parts.iter().filter_map(|best| sentence(lines, best[0])).collect();
    said.dedup();
    let mut answer: String = said.iter().map(|s| format!("{s}\n\n")).collect();
    // Each part's best lines first.
    let longest = parts.iter().map(Vec::len).max().unwrap_or(0);
    let mut best: Vec<usize> = (0..longest).flat_map(|k| parts.iter().filter_map(move |p| p.get(k).copied())).collect();
    best.truncate(MOST_LINES.max(parts.len()));
    // By source, in the order of the best line of each.
    let mut order: Vec<u32> = Vec::new();
    let mut by_source: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for &n in &best {
        if !order.contains(&lines[n].index) {
            order.push(lines[n].index);
        }
        by_source.entry(lines[n].index).or_default().push(n);
    }
    for index in order.into_iter().take(MOST_SOURCES) {
        let Some(source) = sources.iter().find(|s| s.index == index) else { continue };
        let mut wanted: Vec<usize> =
            by_source.remove(&index).unwrap_or_default().into_iter().flat_map(|n| in_context(lines, n)).collect();
        wanted.sort_unstable();
        wanted.dedup();
        wanted.truncate(MOST_QUOTED);
        let (Some(first), Some(last)) = (wanted.first(), wanted.last()) else { continue };
        let (first, last) = (lines[*first].number, lines[*last].number);
        let range = if first == last { format!("line {first}") } else { format!("lines {first}–{last}") };
        let language = if super::project::is_yaml(source.path) { "yaml" } else { "" };
        answer.push_str(&format!("From `{}`, {range} [{index}]:\n\n```{language}\n", source.path));
        let mut before = None;
        for n in wanted {
            if before.is_some_and(|b| lines[n].number > b + 1) {
                answer.push_str(&format!("{}…\n", " ".repeat(lines[n].text.len() - lines[n].text.trim_start().len())));
            }
            before = Some(lines[n].number);
            answer.push_str(lines[n].text.trim_end());
            answer.push('\n');
        }
        answer.push_str("```\n\n");
    }
    answer.push_str("Quoted by `builtin/rules`, which matches words and is not a language model.\n");
    answer
}

/// A line of YAML with the lines of the keys above it and the values right below it, as far as its source has them.
fn in_context(lines: &[Line<'_>], n: usize) -> Vec<usize> {
    let line = &lines[n];
    let mut found = vec![n];
    if line.value.is_none() && !line.keys.is_empty() {
        found.extend(children(lines, n));
    }
    for depth in 1..line.keys.len() {
        let is_key = |m: &usize| {
            let l = &lines[*m];
            l.index == line.index
                && l.number < line.number
                && l.keys.len() == depth
                && l.keys[..] == line.keys[..depth]
                && l.value.is_none()
        };
        found.extend((0..n).rev().find(is_key));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(context: &str, question: &str) -> String {
        let text = format!("<context>\n{context}\n</context>\n<question>\n{question}\n</question>");
        answer(&[Message::new(Role::User, text)])
    }

    const VALUES: &str = "<source index=\"1\" path=\"values.yaml\" start_line=\"20\" end_line=\"30\">\n# The front door\ngateway:\n  # -- How many gateways run\n  replicas: 1\n  service:\n    type: ClusterIP\n    port: 50051\n  ingress:\n    host: \"\"\nplanner:\n  replicas: 4\n</source>\n<source index=\"2\" path=\"README.md\" start_line=\"1\" end_line=\"3\">\n# Chart\nThe gateway listens on a port.\nNothing else.\n</source>";

    #[test]
    fn the_line_in_question_is_quoted() {
        let answer = ask(VALUES, "How many gateway replicas run?");
        assert!(answer.starts_with("`gateway.replicas` is `1` (`values.yaml`, line 23) [1]."), "{answer}");
        assert!(answer.contains("gateway:\n  …\n  replicas: 1\n"), "{answer}");
        assert!(answer.contains("not a language model"));
        assert!(ask(VALUES, "How many replicas does the planner have?").contains("`planner.replicas` is `4`"));
        assert!(ask(VALUES, "which port does the service use?").contains("`gateway.service.port` is `50051`"));
    }

    #[test]
    fn two_questions_get_two_answers() {
        let answer = ask(VALUES, "How many gateway replicas run, and is there an ingress?");
        assert!(answer.starts_with("`gateway.replicas` is `1`"), "{answer}");
        assert!(answer.contains("`gateway.ingress` has `host: \"\"` (`values.yaml`, line 27) [1]."), "{answer}");
    }

    #[test]
    fn a_mapping_of_that_name_comes_before_keys_that_hold_the_word() {
        let source = "<source index=\"1\" path=\"values.yaml\" start_line=\"1\" end_line=\"6\">\nimage:\n  repository: nginx\n  # The policy for images.\n  pullPolicy: IfNotPresent\nimagePullSecrets: []\n</source>";
        let answer = ask(source, "What image does it use?");
        assert!(
            answer.starts_with("`image` has `repository: nginx`, `pullPolicy: IfNotPresent` (`values.yaml`, line 1)"),
            "{answer}"
        );
        assert!(answer.contains("```yaml\nimage:\n  repository: nginx\n"), "{answer}");
    }

    #[test]
    fn a_question_about_a_file_is_answered_from_it() {
        let other = "<source index=\"1\" path=\"templates/deployment.yaml\" start_line=\"1\" end_line=\"1\">\n  {{- toYaml . }}\n</source>";
        let hpa = "<source index=\"2\" path=\"templates/hpa.yaml\" start_line=\"1\" end_line=\"2\">\nkind: HorizontalPodAutoscaler\nspec: {}\n</source>";
        for question in ["what does templates/hpa.yaml do?", "what is in `hpa.yaml`?"] {
            let answer = ask(&format!("{other}\n{hpa}"), question);
            assert!(answer.contains("HorizontalPodAutoscaler") && !answer.contains("toYaml"), "{answer}");
        }
    }

    #[test]
    fn the_version_of_a_chart_is_no_tag() {
        let values = "<source index=\"1\" path=\"values.yaml\" start_line=\"1\" end_line=\"3\">\nimage:\n  # The default is the chart appVersion.\n  tag: \"\"\n</source>";
        let chart =
            "<source index=\"2\" path=\"Chart.yaml\" start_line=\"1\" end_line=\"2\">\nname: shop\nversion: 0.1.0\n</source>";
        let answer = ask(&format!("{values}\n{chart}"), "what version is the chart?");
        assert!(answer.starts_with("`version` is `0.1.0`"), "{answer}");
        assert!(ask(values, "which version of the image?").contains("`image.tag` is empty"));
    }

    #[test]
    fn talk_is_not_looked_up() {
        for question in ["hello!", "thank you very much", "what can you do?"] {
            let answer = ask(VALUES, question);
            assert!(answer.starts_with("I am `builtin/rules`"), "{question}: {answer}");
        }
        assert!(ask(VALUES, "tell me about the kafka settings").contains("No line"));
    }

    #[test]
    fn prose_is_quoted_too() {
        assert!(ask(VALUES, "what listens?").contains("The gateway listens on a port."));
    }

    #[test]
    fn without_a_match_it_says_so() {
        let answer = ask(VALUES, "who wrote hamlet?");
        assert!(answer.contains("No line") && answer.contains("values.yaml"), "{answer}");
    }

    #[test]
    fn without_sources_it_says_what_it_is() {
        let plain = answer(&[Message::new(Role::User, "hi")]);
        assert!(plain.contains("without a language model") && plain.contains("OPENAI_API_KEY"), "{plain}");
        assert!(ask("", "x?").contains("Nothing that was found"));
    }
}
