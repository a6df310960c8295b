//! `str_replace`: a text that is in a file just once, or each time that it is there. It is sought as it is, then but for
//! line ends, anywhere in a line; after that as whole lines, up the ladder.

use super::apply::MAX_EDITED;
use super::block::{Block, lines_of};
use super::ladder::{self, Rung};
use super::lines;
use super::nearest;
use super::refusal::Refusal;
use super::text::{self, BOM, Endings, Splice, Text, unix};
use super::work::Work;

/// Where the text is, as offsets of the stored file.
#[derive(Clone, Copy)]
struct Hit {
    start: usize,
    end: usize,
}

/// The places of a text, and what comes there; its line ends are not yet those of the file.
struct Found {
    hits: Vec<Hit>,
    rung: Rung,
    new: String,
}

/// The changes, and the rung on which the text was found.
pub(super) fn replace(
    path: &str,
    file: &Text<'_>,
    old: &str,
    new: &str,
    all: bool,
    work: &Work,
) -> Result<(Vec<Splice>, Rung), Refusal> {
    let (old, new) = (old.strip_prefix(BOM).unwrap_or(old), new.strip_prefix(BOM).unwrap_or(new));
    if old.is_empty() {
        return Err(Refusal::malformed(1, "the text to replace is empty; give it, or insert after a line"));
    }
    if old == new {
        return Err(Refusal::NothingChanges { path: path.to_owned() });
    }
    let exact = occurrences(file.body(), old, work)?;
    let Found { hits, rung, new: put } = if exact.is_empty() {
        but_for_line_ends(file, old, new, work)?
    } else {
        let hit = |at: usize| Hit { start: file.body_start() + at, end: file.body_start() + at + old.len() };
        Found { hits: exact.into_iter().map(hit).collect(), rung: Rung::Exact, new: new.to_owned() }
    };
    match hits.as_slice() {
        [] => whole_lines(path, file, old, new, all, work),
        [hit] => {
            whole(path, file, *hit, old, &put)?;
            Ok((vec![splice(file, *hit, &put, work)?], rung))
        }
        many if all => {
            let bytes = many.len().saturating_mul(put.len());
            if bytes > MAX_EDITED {
                return Err(Refusal::TooLarge { path: path.to_owned(), bytes, limit: MAX_EDITED });
            }
            if let Some(pair) = many.windows(2).find(|pair| pair[1].start < pair[0].end) {
                let lines = vec![file.line_number(pair[0].start), file.line_number(pair[1].start)];
                return Err(Refusal::Ambiguous { path: path.to_owned(), count: many.len(), lines });
            }
            let splices: Result<_, _> = many.iter().map(|hit| splice(file, *hit, &put, work)).collect();
            Ok((splices?, rung))
        }
        many => {
            let lines = many.iter().map(|hit| file.line_number(hit.start)).collect();
            Err(Refusal::Ambiguous { path: path.to_owned(), count: many.len(), lines })
        }
    }
}

/// Every occurrence, those that overlap, too: they are not unique either.
fn occurrences(text: &str, wanted: &str, work: &Work) -> Result<Vec<usize>, Refusal> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(at) = text[from..].find(wanted) {
        // Each search looks at the wanted text first, and then at what it passes.
        if !work.spend_bytes(wanted.len() + at) {
            return Err(Refusal::Exhausting);
        }
        found.push(from + at);
        from += at + text[from + at..].chars().next().map_or(1, char::len_utf8);
    }
    Ok(found)
}

fn but_for_line_ends(file: &Text<'_>, old: &str, new: &str, work: &Work) -> Result<Found, Refusal> {
    let (seen, old, new) = (unix(file.body()), unix(old), unix(new));
    // Each CRLF is one byte less in what is seen.
    let shorter: Vec<usize> = seen_crlf(file.body());
    let stored = |at: usize| file.body_start() + at + shorter.partition_point(|crlf| *crlf < at);
    let hit = |at: usize, len: usize| Hit { start: stored(at), end: stored(at + len) };
    let rung = Rung::LineEndings;
    let found = occurrences(&seen, &old, work)?;
    if !found.is_empty() {
        return Ok(Found { hits: found.into_iter().map(|at| hit(at, old.len())).collect(), rung, new });
    }
    // The last line of the file may have no end.
    Ok(match old.strip_suffix('\n') {
        Some(open) if !open.is_empty() && !seen.ends_with('\n') && seen.ends_with(open) => {
            let hits = vec![hit(seen.len() - open.len(), open.len())];
            Found { hits, rung, new: new.strip_suffix('\n').unwrap_or(&new).to_owned() }
        }
        _ => Found { hits: Vec::new(), rung, new },
    })
}

/// Where the line ends are, in the text with one byte for each, that are CRLF.
fn seen_crlf(body: &str) -> Vec<usize> {
    body.match_indices("\r\n").enumerate().map(|(before, (at, _))| at - before).collect()
}

/// A text of several lines must be whole lines, and one within a line must not be cut out of a word: what was asked for
/// would be done, but hardly be what was meant.
fn whole(path: &str, file: &Text<'_>, hit: Hit, old: &str, new: &str) -> Result<(), Refusal> {
    let body = file.body();
    let (start, end) = (hit.start - file.body_start(), hit.end - file.body_start());
    let before = &body[body[..start].rfind('\n').map_or(0, |at| at + 1)..start];
    let after = text::content(body[end..].split_inclusive('\n').next().unwrap_or_default());
    let refuse = |why| Err(Refusal::Partial { path: path.to_owned(), line: file.line_number(hit.start), why });
    let (lead, rest) = (before.trim(), after.trim());
    if old.contains('\n') {
        if !lead.is_empty() && !old.starts_with(['\n', '\r']) {
            return refuse("where it begins within a line");
        }
        if !rest.is_empty() && !old.ends_with('\n') {
            return refuse("where it ends within a line");
        }
        return Ok(());
    }
    let word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let blank = |c: Option<char>| c.is_some_and(char::is_whitespace);
    let (first, last) = (old.chars().next(), old.chars().next_back());
    if word(before.chars().next_back()) && word(first) || word(after.chars().next()) && word(last) {
        return refuse("as part of a longer word");
    }
    if blank(first) && !lead.is_empty() || blank(last) && !rest.is_empty() {
        return refuse("where a blank parts it from the rest of the line");
    }
    let doubled = |whole: &str, part: &str| !part.is_empty() && whole.ends_with(part) && !old.trim_end().ends_with(part);
    let repeats = |whole: &str, part: &str| !part.is_empty() && whole.starts_with(part) && !old.trim_start().starts_with(part);
    let (new_first, new_last) = (new.lines().next().unwrap_or_default(), new.lines().last().unwrap_or_default());
    if doubled(new_last.trim_end(), rest) || repeats(new_first.trim_start(), lead) {
        return refuse("and the new text repeats what is beside it");
    }
    Ok(())
}

/// What is written for a hit: with the file's line ends, and without the loss of its last one.
fn splice(file: &Text<'_>, hit: Hit, new: &str, work: &Work) -> Result<Splice, Refusal> {
    let span = hit.start..hit.end;
    let mut with = match file.endings() {
        Endings::Mixed => as_mixed(file, hit, new, work).ok_or(Refusal::Exhausting)?,
        _ => file.with_my_endings(new),
    };
    let left = hit.start > file.body_start() || !with.is_empty();
    if hit.end == file.stored().len() && file.ends_with_newline() && left && !with.ends_with('\n') {
        let closed = with.is_empty() && file.stored()[..hit.start].ends_with('\n');
        if !closed {
            with.push_str(file.ending_at(file.len() - 1));
        }
    }
    Ok(Splice { span, with })
}

/// Where the file's lines end this way and that, lines that stay keep their ends.
fn as_mixed(file: &Text<'_>, hit: Hit, new: &str, work: &Work) -> Option<String> {
    let there: Vec<&str> = file.stored()[hit.start..hit.end].split_inclusive('\n').collect();
    let new: Vec<&str> = new.split_inclusive('\n').collect();
    let (olds, news): (Vec<&str>, Vec<&str>) =
        (there.iter().map(|l| text::content(l)).collect(), new.iter().map(|l| text::content(l)).collect());
    let first = file.line_number(hit.start) - 1;
    let mut with = String::new();
    for run in lines::runs(&olds, &news, work)? {
        for (offset, at) in run.new.enumerate() {
            let old = run.old.start + offset;
            let same = run.same && there[old].ends_with('\n') == new[at].ends_with('\n');
            if same {
                with.push_str(there[old]);
                continue;
            }
            with.push_str(news[at]);
            if new[at].ends_with('\n') {
                let line = first + old.min(run.old.end.saturating_sub(1).max(run.old.start));
                with.push_str(file.ending_at(line));
            }
        }
    }
    Some(with)
}

/// The rungs that know lines only.
fn whole_lines(
    path: &str,
    file: &Text<'_>,
    old: &str,
    new: &str,
    all: bool,
    work: &Work,
) -> Result<(Vec<Splice>, Rung), Refusal> {
    let mut news = lines_of(new);
    match (old.ends_with('\n'), new.ends_with('\n')) {
        (false, true) => news.push(""),
        (false, false) if new.is_empty() => news.push(""),
        _ => {}
    }
    let block = Block::between(&lines_of(old), &news, 1, work)?;
    // A text that ended its last line, and now would have the next one follow in it, is nothing that lines can tell.
    let joins = old.ends_with('\n') && !new.ends_with('\n') && !new.is_empty();
    if all || joins {
        return Err(nearest::not_found(path, &block, file, work));
    }
    let found = ladder::find(path, &block, file, work)?;
    let fit = |line: &str| found.reindent.as_ref().map_or_else(|| Some(line.to_owned()), |rule| rule.fit(line));
    match block.splices(file, &found.lines, fit) {
        Some(splices) => Ok((splices, found.rung)),
        None => Err(nearest::not_found(path, &block, file, work)),
    }
}
