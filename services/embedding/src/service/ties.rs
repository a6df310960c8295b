//! Who uses what a search has found: the templates that refer to a subtree of values, the files that include a define.

use super::choose::{Chooser, Corpus};
use crate::error::Error;
use crate::index::Found;
use crate::model::select::Tie;

/// Of a chart with more templates than this the first ones are looked at.
const MAX_READ: usize = 500;
/// So many users are named, the first by name.
const MAX_NAMED: usize = 20;
const TEMPLATES: &str = "templates/";

impl Chooser {
    /// For each hit the files of its chart that use it, by name; none of what nothing can refer to.
    pub(super) async fn users(&self, corpus: &Corpus<'_>, hits: &[Found]) -> Result<Vec<Vec<String>>, Error> {
        let mut users = Vec::with_capacity(hits.len());
        for hit in hits {
            let used = Tie::of(&hit.point.title).and_then(|tie| Some((chart_of(&hit.point.path, &tie)?, tie)));
            users.push(match used {
                Some((chart, tie)) => self.users_of(corpus, &hit.point.path, chart, &tie).await?,
                None => Vec::new(),
            });
        }
        Ok(users)
    }

    async fn users_of(&self, corpus: &Corpus<'_>, own: &str, chart: &str, tie: &Tie) -> Result<Vec<String>, Error> {
        let is_template = |path: &&str| path.strip_prefix(chart).is_some_and(|p| p.starts_with(TEMPLATES));
        let mut paths: Vec<&str> = corpus.manifest.keys().map(String::as_str).filter(is_template).collect();
        paths.sort_unstable();
        paths.retain(|path| *path != own);
        paths.truncate(MAX_READ);
        let digests = self.digests.of(&self.index, corpus, &paths).await?;
        let using = paths.into_iter().zip(digests).filter(|(_, digest)| digest.uses(tie));
        Ok(using.map(|(path, _)| path.to_owned()).take(MAX_NAMED).collect())
    }
}

/// The directory of the chart that a file of values, or one with defines, is in.
fn chart_of<'a>(path: &'a str, tie: &Tie) -> Option<&'a str> {
    match tie {
        Tie::Values(_) => Some(&path[..path.rfind('/').map_or(0, |at| at + 1)]),
        Tie::Define(_) => {
            let at = path.match_indices(TEMPLATES).map(|(at, _)| at).find(|at| *at == 0 || path[..*at].ends_with('/'))?;
            Some(&path[..at])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chart_is_what_the_values_or_the_templates_are_in() {
        let (values, define) = (Tie::Values("a".to_owned()), Tie::Define("a".to_owned()));
        for (path, tie, chart) in [
            ("values.yaml", &values, Some("")),
            ("deploy/shop/values.yaml", &values, Some("deploy/shop/")),
            ("templates/_helpers.tpl", &define, Some("")),
            ("shop/templates/lib/_a.tpl", &define, Some("shop/")),
            ("mytemplates/_a.tpl", &define, None),
        ] {
            assert_eq!(chart_of(path, tie), chart, "{path}");
        }
    }
}
