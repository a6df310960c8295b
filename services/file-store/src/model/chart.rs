//! Where charts are: what an index of a chart repository says, and how an artifact of a registry is named.

use saphyr_parser::{Event, Parser};
use semver::{Version, VersionReq};

/// The most versions of one chart that are looked at.
const MAX_VERSIONS: usize = 100_000;
const MAX_DEPTH: usize = 64;

/// A version of a chart, as an index has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ChartVersion {
    pub(crate) version: String,
    pub(crate) url: String,
    /// SHA-256 in hex, with or without `sha256:`.
    pub(crate) digest: String,
}

/// The index of a chart repository. It is read event by event: nobody knows how large it is, nor whether it is a trap.
pub(crate) struct ChartIndex;

/// A mapping or sequence that the parser is in.
struct Level {
    mapping: bool,
    /// In a mapping: the key whose value comes; `None`: a key comes.
    key: Option<String>,
}

impl ChartIndex {
    /// The newest version of a chart that fits: an exact one, a requirement such as `^1.2`, or any that is no pre-release.
    pub(crate) fn find(text: &str, chart: &str, wanted: &str) -> Result<ChartVersion, String> {
        let versions = versions(text, chart)?;
        if versions.is_empty() {
            return Err(format!("the repository has no chart {chart:?}"));
        }
        let found = choose(versions, wanted).ok_or_else(|| format!("no version of the chart {chart:?} is {wanted:?}"))?;
        if found.url.is_empty() {
            return Err(format!("the index has no address for version {}", found.version));
        }
        if found.digest.is_empty() {
            return Err(format!("the index has no digest for version {}, so that nothing tells what should come", found.version));
        }
        Ok(found)
    }
}

fn versions(text: &str, chart: &str) -> Result<Vec<ChartVersion>, String> {
    let broken = || "the repository's index is not YAML that can be read".to_owned();
    let (mut found, mut levels): (Vec<ChartVersion>, Vec<Level>) = (Vec::new(), Vec::new());
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        match event.map_err(|_| broken())?.0 {
            // A small text with aliases may stand for an endless one.
            Event::Alias(_) => return Err("the repository's index has aliases, which is not supported".to_owned()),
            Event::MappingStart(..) => {
                if is_at(&levels, &["entries", chart]) && found.len() < MAX_VERSIONS {
                    found.push(ChartVersion::default());
                }
                levels.push(Level { mapping: true, key: None });
            }
            Event::SequenceStart(..) => levels.push(Level { mapping: false, key: None }),
            Event::MappingEnd | Event::SequenceEnd => {
                levels.pop();
                leave(&mut levels);
            }
            Event::Scalar(value, ..) => scalar(&mut levels, &value, chart, &mut found),
            _ => {}
        }
        if levels.len() > MAX_DEPTH {
            return Err(broken());
        }
    }
    Ok(found)
}

fn scalar(levels: &mut [Level], value: &str, chart: &str, found: &mut [ChartVersion]) {
    if let Some(top) = levels.last_mut().filter(|top| top.mapping && top.key.is_none()) {
        top.key = Some(value.to_owned());
        return;
    }
    if let Some(version) = found.last_mut() {
        if is_at(levels, &["entries", chart, "version"]) {
            value.clone_into(&mut version.version);
        } else if is_at(levels, &["entries", chart, "digest"]) {
            value.clone_into(&mut version.digest);
        } else if is_at(levels, &["entries", chart, "urls"]) && version.url.is_empty() {
            value.clone_into(&mut version.url);
        }
    }
    leave(levels);
}

/// Whether the node that comes is at the end of these keys. Sequences on the way do not count.
fn is_at(levels: &[Level], keys: &[&str]) -> bool {
    let mut at = levels.iter().filter(|level| level.mapping).map(|level| level.key.as_deref());
    keys.iter().all(|key| at.next() == Some(Some(*key))) && at.next().is_none()
}

/// A node has ended: in a mapping its value is there.
fn leave(levels: &mut [Level]) {
    if let Some(top) = levels.last_mut() {
        top.key = None;
    }
}

fn choose(versions: Vec<ChartVersion>, wanted: &str) -> Option<ChartVersion> {
    if let Some(exact) = versions.iter().find(|v| !wanted.is_empty() && v.version == wanted) {
        return Some(exact.clone());
    }
    let parse = |text: &str| Version::parse(text.trim_start_matches('v')).ok();
    if let Some(version) = parse(wanted) {
        return versions.into_iter().find(|v| parse(&v.version).as_ref() == Some(&version));
    }
    let requirement = if wanted.is_empty() { VersionReq::STAR } else { VersionReq::parse(wanted).ok()? };
    let fitting = versions.into_iter().filter_map(|v| Some((parse(&v.version)?, v)));
    fitting.filter(|(version, _)| requirement.matches(version)).max_by(|a, b| a.0.cmp(&b.0)).map(|(_, v)| v)
}

/// An artifact of an OCI registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OciReference {
    /// A host, and a port if it is another than usual.
    pub(crate) registry: String,
    pub(crate) repository: String,
    /// The tag; empty when there is only a digest.
    pub(crate) version: String,
    /// `sha256:` and hex.
    pub(crate) digest: Option<String>,
    /// Asks without TLS, where that is allowed.
    pub(crate) plain: bool,
}

impl OciReference {
    /// Reads `oci://registry/repository:tag`, `…@sha256:…`, or both.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (plain, rest) = match text.strip_prefix("oci+http://") {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix("oci://")?),
        };
        let (registry, rest) = rest.split_once('/')?;
        let (rest, digest) = match rest.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.to_owned()).filter(|digest| Self::is_digest(digest)).map(Some)?),
            None => (rest, None),
        };
        let (repository, tag) = rest.rsplit_once(':').unwrap_or((rest, ""));
        let is_part = |part: &str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b))
        };
        let is_tag = |tag: &str| tag.len() <= 128 && tag.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        let is_host = |host: &str| !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:[]".contains(&b));
        let parts = repository.split('/').all(|part| is_part(part) && part != "..");
        let named = !tag.is_empty() || digest.is_some();
        let good = is_host(registry) && parts && is_tag(tag) && named && repository.len() <= 255;
        let (registry, repository, version) = (registry.to_owned(), repository.to_owned(), tag.replace('_', "+"));
        good.then_some(Self { registry, repository, version, digest, plain })
    }

    /// What the manifest is asked for by: the digest if there is one. Tags have no `+`, for which Helm writes `_`.
    pub(crate) fn target(&self) -> String {
        self.digest.clone().unwrap_or_else(|| self.version.replace('+', "_"))
    }

    pub(crate) fn is_digest(text: &str) -> bool {
        text.strip_prefix("sha256:")
            .is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)))
    }

    /// Where a guest gets a token, as a challenge says: `Bearer realm="…",service="…",scope="…"`.
    pub(crate) fn token_url(&self, challenge: &str) -> Option<String> {
        let facts = challenge.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case("bearer ")).map(|_| &challenge[7..])?;
        let fact = |name: &str| {
            let (_, rest) = facts.split_once(&format!("{name}=\""))?;
            rest.split_once('"').map(|(value, _)| value)
        };
        let realm = fact("realm")?;
        let join = if realm.contains('?') { '&' } else { '?' };
        let service = fact("service").filter(|service| service.bytes().all(|b| b.is_ascii_graphic() && !b"&#?".contains(&b)));
        let service = service.map(|service| format!("service={service}&")).unwrap_or_default();
        Some(format!("{realm}{join}{service}scope=repository:{}:pull", self.repository))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INDEX: &str = "apiVersion: v1\nentries:\n  other:\n  - version: 9.0.0\n    urls: [o.tgz]\n    digest: aa\n  shop:\n  - name: shop\n    version: 1.2.0\n    urls:\n    - charts/shop-1.2.0.tgz\n    - mirror.tgz\n    digest: bb\n    dependencies:\n    - name: x\n      version: 7.0.0\n      urls: [no]\n  - version: 2.0.0-rc.1\n    urls: [rc.tgz]\n    digest: cc\n  - version: 1.10.0\n    urls: [new.tgz]\n    digest: sha256:dd\n  - version: 0.1.0\n    urls: [old.tgz]\n";

    #[test]
    fn versions_are_chosen_by_their_order_and_not_their_spelling() {
        let find = |wanted: &str| ChartIndex::find(INDEX, "shop", wanted).map(|v| v.version);
        assert_eq!(find("").unwrap(), "1.10.0");
        assert_eq!(find("1.2.0").unwrap(), "1.2.0");
        assert_eq!(find("v1.2.0").unwrap(), "1.2.0");
        assert_eq!(find("~1.2").unwrap(), "1.2.0");
        assert_eq!(find("^1").unwrap(), "1.10.0");
        assert_eq!(find("2.0.0-rc.1").unwrap(), "2.0.0-rc.1");
        assert!(find("3").unwrap_err().contains("\"3\""));
        assert!(find("0.1.0").unwrap_err().contains("digest"));
        assert!(ChartIndex::find(INDEX, "none", "").unwrap_err().contains("\"none\""));
        let found = ChartIndex::find(INDEX, "shop", "1.2.0").unwrap();
        assert_eq!((found.url.as_str(), found.digest.as_str()), ("charts/shop-1.2.0.tgz", "bb"));
    }

    #[test]
    fn an_index_that_is_a_trap_is_refused() {
        let aliases = "a: &a [x]\nb: [*a, *a]\n";
        assert!(ChartIndex::find(aliases, "shop", "").unwrap_err().contains("aliases"));
        assert!(ChartIndex::find(&"[".repeat(10_000), "shop", "").is_err());
        for nonsense in ["", "- a\n- b", "entries: 1", "\0", "entries: {shop: [", "%%%"] {
            assert!(ChartIndex::find(nonsense, "shop", "").is_err(), "{nonsense:?}");
        }
    }

    #[test]
    fn an_index_that_was_mangled_is_an_answer() {
        let mut dice = blake3::Hasher::new().finalize_xof();
        for _ in 0..2_000 {
            let mut roll = [0; 4];
            dice.fill(&mut roll);
            let mut text = INDEX.as_bytes().to_vec();
            let at = usize::from(u16::from_le_bytes([roll[0], roll[1]])) % text.len();
            match roll[2] % 3 {
                0 => text[at] = roll[3],
                1 => text.truncate(at),
                _ => text.insert(at, b"[]{}&*!|>%\t'\"#"[usize::from(roll[3]) % 14]),
            }
            let text = String::from_utf8_lossy(&text);
            if let Ok(found) = ChartIndex::find(&text, "shop", "") {
                assert!(!found.url.is_empty() && !found.digest.is_empty());
            }
        }
    }

    #[test]
    fn artifacts_are_named_in_one_way() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let parse = |text: &str| OciReference::parse(text);
        let found = parse("oci://ghcr.io:443/a/b-c/d:1.2.3_build").unwrap();
        assert_eq!((found.registry.as_str(), found.repository.as_str()), ("ghcr.io:443", "a/b-c/d"));
        assert_eq!((found.version.as_str(), found.target().as_str()), ("1.2.3+build", "1.2.3_build"));
        assert_eq!(parse(&format!("oci://h/r@{digest}")).unwrap().target(), digest);
        assert_eq!(parse(&format!("oci://h/r:1@{digest}")).unwrap().target(), digest);
        for wrong in [
            "ghcr.io/a:1",
            "oci://h",
            "oci://h/",
            "oci://h/r",
            "oci://h/../r:1",
            "oci://h/R:1",
            "oci://h/r@sha256:x",
            "oci://h/r:a/b",
            "oci://u@h/r:1",
            "oci:///r:1",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_challenge_says_where_tokens_are() {
        let reference = OciReference::parse("oci://h/a/b:1").unwrap();
        let url = reference.token_url("Bearer realm=\"https://auth.h/token\",service=\"registry.h\",scope=\"x\"").unwrap();
        assert_eq!(url, "https://auth.h/token?service=registry.h&scope=repository:a/b:pull");
        assert_eq!(reference.token_url("Basic realm=\"x\""), None);
        assert_eq!(reference.token_url(""), None);
    }
}
