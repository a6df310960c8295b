//! What nearly is what was sought: candidates for a refusal, and rivals that forbid a tolerant match.

use std::collections::HashMap;
use std::fmt::Write as _;

use similar::TextDiff;

use super::block::Block;
use super::lines;
use super::refusal::{Candidate, Refusal};
use super::text::{Text, trim_end};
use super::work::Work;

/// How many candidates are named, how alike they must be, and how long their differences may be.
const MOST: usize = 3;
const LEAST: f32 = 0.5;
const MAX_DIFF: usize = 1_500;
/// Longer texts are compared by their lines alone.
const MAX_COMPARED: usize = 4_000;
/// So many lines of a text say where it nearly is, and so many are shown of what differs there.
const MAX_VOTERS: usize = 2_000;
const MAX_DIFFERING: usize = 200;
/// In larger files a line that is nowhere is not compared with every line.
const MAX_SCANNED: usize = 5_000;
/// Shorter lines say too little to be anyone's rival.
const LEAST_RIVAL: usize = 3;

/// The refusal of a block that is nowhere.
pub(super) fn not_found(path: &str, block: &Block, file: &Text<'_>, work: &Work) -> Refusal {
    let olds = block.olds();
    let lines = file.contents();
    let already = already(&block.news(), &olds, &lines, work);
    Refusal::NotFound { path: path.to_owned(), candidates: candidates(&olds, &lines, work), already }
}

/// The one place where the lines already are as they should become.
fn already(news: &[&str], olds: &[&str], lines: &[&str], work: &Work) -> Option<usize> {
    if news.iter().all(|l| l.trim().is_empty()) || news.len() > lines.len() || news == olds {
        return None;
    }
    let windows = lines.windows(news.len()).enumerate().take_while(|_| !work.is_spent());
    let mut at = windows.filter(|(_, there)| work.all_alike(news, there, |a, b| trim_end(a) == trim_end(b)));
    match (at.next(), at.next()) {
        (Some((start, _)), None) if !work.is_spent() => Some(start + 1),
        _ => None,
    }
}

/// The places that are most alike, the best first.
pub(super) fn candidates(olds: &[&str], lines: &[&str], work: &Work) -> Vec<Candidate> {
    let width = olds.len().min(lines.len());
    if width == 0 || work.is_spent() {
        return Vec::new();
    }
    let mut starts: Vec<(usize, usize)> = votes(olds, lines).into_iter().collect();
    starts.sort_by_key(|(start, votes)| (std::cmp::Reverse(*votes), *start));
    let mut found: Vec<Candidate> = Vec::new();
    for (start, _) in starts.into_iter().take(4 * MOST) {
        let start = start.min(lines.len() - width);
        let there = &lines[start..start + width];
        let similarity = similarity(olds, there);
        let near = |c: &Candidate| c.first_line.abs_diff(start + 1) < width;
        if similarity >= LEAST && !found.iter().any(near) {
            let diff = difference(olds, there, work);
            found.push(Candidate { first_line: start + 1, last_line: start + width, similarity, diff });
        }
    }
    found.sort_by(|a, b| b.similarity.total_cmp(&a.similarity).then(a.first_line.cmp(&b.first_line)));
    found.truncate(MOST);
    found
}

/// Where the sought lines would start for each line that is alike, and how many lines say so.
fn votes(olds: &[&str], lines: &[&str]) -> HashMap<usize, usize> {
    let mut by_content: HashMap<&str, Vec<usize>> = HashMap::new();
    for (at, line) in lines.iter().enumerate().filter(|(_, l)| !l.trim().is_empty()) {
        by_content.entry(line.trim()).or_default().push(at);
    }
    let mut votes: HashMap<usize, usize> = HashMap::new();
    for (offset, old) in olds.iter().enumerate().take(MAX_VOTERS) {
        let places = by_content.get(old.trim()).map(Vec::as_slice).unwrap_or_default();
        // A line that is everywhere says little.
        for at in places.iter().take(50).filter(|at| **at >= offset) {
            *votes.entry(at - offset).or_default() += 2;
        }
    }
    if lines.len() <= MAX_SCANNED {
        let longest = olds.iter().enumerate().max_by_key(|(_, l)| l.trim().len());
        if let Some((offset, old)) = longest {
            for (at, line) in lines.iter().enumerate().filter(|(at, _)| *at >= offset) {
                if roughly(old.trim(), line.trim()) {
                    *votes.entry(at - offset).or_default() += 1;
                }
            }
        }
    }
    votes
}

/// Whether two lines have most of their bytes in common, in whichever order: quick, and never wrong about what is alike.
fn roughly(a: &str, b: &str) -> bool {
    if a.len() > 2 * b.len() || b.len() > 2 * a.len() {
        return false;
    }
    let mut counts = [0_i32; 256];
    a.bytes().for_each(|byte| counts[usize::from(byte)] += 1);
    b.bytes().for_each(|byte| counts[usize::from(byte)] -= 1);
    let differ: usize = counts.iter().map(|c| c.unsigned_abs() as usize).sum();
    2 * differ <= a.len() + b.len()
}

fn similarity(olds: &[&str], there: &[&str]) -> f32 {
    if olds.iter().chain(there).map(|line| line.len() + 1).sum::<usize>() <= MAX_COMPARED {
        let (a, b) = (olds.join("\n"), there.join("\n"));
        return TextDiff::from_chars(a.as_str(), b.as_str()).ratio();
    }
    let alike = olds.iter().zip(there).filter(|(a, b)| a.trim() == b.trim()).count();
    alike as f32 / olds.len().max(1) as f32
}

/// What was sought against what is there, line by line.
fn difference(olds: &[&str], there: &[&str], work: &Work) -> String {
    let (olds, there) = (&olds[..olds.len().min(MAX_DIFFERING)], &there[..there.len().min(MAX_DIFFERING)]);
    let mut text = String::new();
    let runs = lines::runs(olds, there, work).unwrap_or_default();
    let signed = runs.into_iter().flat_map(|run| {
        let sign = |sign: char, lines: &[&str]| lines.iter().map(|line| format!("{sign}{line}")).collect::<Vec<_>>();
        match run.same {
            true => sign(' ', &there[run.new]),
            false => [sign('-', &olds[run.old]), sign('+', &there[run.new])].concat(),
        }
    });
    for line in signed {
        let _ = writeln!(text, "{line}");
        if text.len() > MAX_DIFF {
            let cut = (0..=MAX_DIFF).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            text.truncate(cut);
            text.push_str("…\n");
            break;
        }
    }
    text
}

/// Another place whose lines are as sought but for one character of one line.
pub(super) fn rival(olds: &[&str], lines: &[&str], found: usize, work: &Work) -> Option<usize> {
    let starts = (0..(lines.len() + 1).saturating_sub(olds.len())).take_while(|_| !work.is_spent());
    starts.filter(|start| *start != found).find(|start| {
        let mut differs = olds.iter().zip(&lines[*start..]).filter(|(a, b)| !work.alike(a, b, |a, b| a == b));
        match (differs.next(), differs.next()) {
            (Some((a, b)), None) => !work.is_spent() && a.trim().len() >= LEAST_RIVAL && one_apart(a, b),
            _ => false,
        }
    })
}

/// True when one character was added, taken away or changed.
fn one_apart(a: &str, b: &str) -> bool {
    if a.len().abs_diff(b.len()) > 4 {
        return false;
    }
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let lead = a.iter().zip(&b).take_while(|(x, y)| x == y).count();
    let (a, b) = (&a[lead..], &b[lead..]);
    let trail = a.iter().rev().zip(b.iter().rev()).take_while(|(x, y)| x == y).count();
    a.len().max(b.len()) - trail <= 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_comes_first_with_what_differs() {
        let work = Work::new(1 << 20);
        let lines = ["a: 1", "name: “gateway”", "image: nginx", "name: \"gatewaz\"", "image: nginz"];
        let found = candidates(&["name: \"gateway\"", "image: nginx"], &lines, &work);
        assert_eq!((found[0].first_line, found[0].last_line), (2, 3));
        assert!(found[0].diff.contains("-name: \"gateway\"\n+name: “gateway”\n image: nginx\n"), "{}", found[0].diff);
        assert!(found.iter().all(|c| c.similarity < 1.0 && c.similarity >= LEAST));
        assert!(candidates(&["completely different words"], &lines, &work).is_empty());
        assert!(candidates(&["x"], &[], &work).is_empty());
    }

    #[test]
    fn one_character_makes_a_rival() {
        let lines = ["  port: 80", "port: 81", "x"];
        let work = Work::new(1 << 20);
        assert_eq!(rival(&["port: 80"], &lines, 0, &work), Some(1));
        assert_eq!(rival(&["port: 800"], &lines, 0, &work), None);
        assert!(one_apart("abc", "abd") && one_apart("abc", "ab") && one_apart("ab", "xab") && !one_apart("abc", "acb"));
    }
}
