//! Which of the retrieved places an answer really cites.

use std::collections::BTreeSet;

use super::Citation;

/// The citations that `text` names, as `[1]`, `[1, 3]` or `[2-4]`. Code is passed over: `hosts[0]` is no citation.
pub(crate) fn cited(text: &str, offered: &[Citation]) -> Vec<Citation> {
    if offered.is_empty() {
        return Vec::new();
    }
    let mut named = BTreeSet::new();
    let mut fenced = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            continue;
        }
        if !fenced {
            // Every other piece between back quotes is code.
            line.split('`').step_by(2).for_each(|prose| marks(prose, &mut named));
        }
    }
    offered.iter().filter(|c| named.contains(&c.index)).cloned().collect()
}

fn marks(prose: &str, named: &mut BTreeSet<u32>) {
    for piece in prose.split('[').skip(1) {
        let Some((inside, _)) = piece.split_once(']') else { continue };
        if let Some(indexes) = indexes(inside) {
            named.extend(indexes);
        }
    }
}

/// The numbers of one pair of brackets; `None` when there is anything else in it.
fn indexes(inside: &str) -> Option<Vec<u32>> {
    let mut all = Vec::new();
    for part in inside.split(',') {
        match part.trim().split_once(['-', '–']) {
            None => all.push(part.trim().parse().ok()?),
            Some((first, last)) => {
                let (first, last): (u32, u32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
                if first > last || last - first > 100 {
                    return None;
                }
                all.extend(first..=last);
            }
        }
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(count: u32) -> Vec<Citation> {
        let one = |index| Citation {
            index,
            revision_id: "r".into(),
            path: format!("f{index}.yaml"),
            start_line: 1,
            end_line: 2,
            score: 1.0,
        };
        (1..=count).map(one).collect()
    }

    fn indexes_of(text: &str) -> Vec<u32> {
        cited(text, &offered(5)).iter().map(|c| c.index).collect()
    }

    #[test]
    fn only_what_is_cited_is_kept_once_and_in_order() {
        assert_eq!(indexes_of("Three replicas[3]. The ingress is off [1] [3]."), [1, 3]);
        assert_eq!(indexes_of("Both [1, 2] and [4-5]."), [1, 2, 4, 5]);
        assert_eq!(indexes_of("Nothing cited."), Vec::<u32>::new());
    }

    #[test]
    fn what_was_not_offered_is_not_a_citation() {
        assert_eq!(indexes_of("See [9], [0], [x], [], [1"), Vec::<u32>::new());
        assert_eq!(indexes_of("[4294967296] [1-99999999] [5-1]"), Vec::<u32>::new());
    }

    #[test]
    fn code_cites_nothing() {
        assert_eq!(indexes_of("Use `hosts[1]` [2]\n```yaml\na: x[3]\n```\nand [4]"), [2, 4]);
    }
}
