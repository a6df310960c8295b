//! What leaves to a provider. Secrets are taken out of every text of a request before anything else is done with it, so that
//! neither the provider nor a log, a trace or a recording ever holds them; what was taken out stays out of the answer. What
//! the settings or the caller keep back is left out, and names become pseudonyms, which the answer has as names again.

use aho_corasick::BuildError;
use rand::RngCore as _;
use secrecy::ExposeSecret as _;
use slipway_secrets::{AllowError, Scanner};

use crate::error::Error;
use crate::model::{NameKind, Part, PartKind, PrivateName, Request, Wishes, Withheld};
use crate::settings::PrivacySettings;

mod found;
mod names;
mod pseudonyms;
mod restore;
mod texts;

use names::Names;
use pseudonyms::Key;

pub(crate) use restore::Restorer;

// A larger request is looked through on a thread of its own, so that other calls are not held up.
const INLINE_BYTES: usize = 64 << 10;

/// The rules in force.
pub(crate) struct Privacy {
    rules: Rules,
    withheld: Withheld,
    pseudonyms: bool,
    secret: [u8; 32],
}

/// Whose call it is: pseudonyms stay the same within it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Scope<'a> {
    /// The project.
    pub(crate) project: &'a str,
    /// The conversation; empty: none.
    pub(crate) conversation: &'a str,
}

/// A request as it may leave.
pub(crate) struct Screened {
    /// The request.
    pub(crate) request: Request,
    /// What gives the answer its names back.
    pub(crate) restorer: Option<Restorer>,
}

#[derive(Clone)]
struct Rules {
    redact: bool,
    scanner: Scanner,
}

impl Privacy {
    /// The rules of the settings.
    pub(crate) fn new(settings: &PrivacySettings) -> Result<Self, AllowError> {
        let secret = match &settings.pseudonym_key {
            Some(key) => *blake3::hash(key.expose_secret().as_bytes()).as_bytes(),
            None => {
                let mut secret = [0; 32];
                rand::rng().fill_bytes(&mut secret);
                secret
            }
        };
        let withheld = Withheld {
            cluster: !settings.send_cluster_metadata,
            resources: !settings.send_resource_names,
            pods: !settings.send_pod_names,
            logs: !settings.send_logs,
        };
        let rules = Rules { redact: settings.redact, scanner: Scanner::allowing(&settings.allow)? };
        Ok(Self { rules, withheld, pseudonyms: settings.pseudonyms, secret })
    }

    /// The request as it may leave.
    pub(crate) async fn screen(&self, request: Request, wishes: Wishes, scope: Scope<'_>) -> Result<Screened, Error> {
        let rules = Rules { redact: self.rules.redact || wishes.redact, ..self.rules.clone() };
        let wishes =
            Wishes { withheld: wishes.withheld.or(self.withheld), pseudonyms: wishes.pseudonyms || self.pseudonyms, ..wishes };
        let key = Key::of(&self.secret, scope.project, scope.conversation);
        let size = texts::size(&request) + wishes.parts.iter().map(|p| p.text.len()).sum::<usize>();
        if size <= INLINE_BYTES {
            return screened(&rules, request, wishes, key).map_err(|_| Error::Screening);
        }
        let screened = tokio::task::spawn_blocking(move || screened(&rules, request, wishes, key)).await;
        screened.map_err(|_| Error::Screening)?.map_err(|_| Error::Screening)
    }
}

/// The request with all of its context, for a model in this process: nothing leaves.
pub(crate) fn unscreened(mut request: Request, wishes: Wishes) -> Request {
    tell(&mut request, wishes.parts);
    request
}

fn screened(rules: &Rules, mut request: Request, wishes: Wishes, key: Key) -> Result<Screened, BuildError> {
    let Wishes { withheld, pseudonyms, names, parts, .. } = wishes;
    let names = all_names(names, &parts, &request, pseudonyms, withheld);
    let sent = |part: &Part| !(part.kind == PartKind::Log && withheld.logs || part.kind == PartKind::Cluster && withheld.cluster);
    tell(&mut request, parts.into_iter().filter(sent).collect());
    if rules.redact {
        texts::rewrite(&mut request, &mut |text, _| rules.scanner.redact(text));
    }
    if names.is_empty() {
        return Ok(Screened { request, restorer: None });
    }
    let names = Names::new(names, withheld, key, &mut request)?;
    texts::rewrite(&mut request, &mut |text, form| names.replace(text, form));
    Ok(Screened { request, restorer: names.into_restorer() })
}

/// The names that are replaced: those that the caller named, then those that are found as far as that is asked for.
fn all_names(
    mut names: Vec<PrivateName>,
    parts: &[Part],
    request: &Request,
    pseudonyms: bool,
    withheld: Withheld,
) -> Vec<PrivateName> {
    if !pseudonyms && withheld == Withheld::default() {
        return names;
    }
    let mut found = Vec::new();
    for part in parts {
        let kind = match part.kind {
            PartKind::Cluster => NameKind::Cluster,
            PartKind::Pod => NameKind::Pod,
            PartKind::Resource | PartKind::Log | PartKind::Other => NameKind::Resource,
        };
        found.extend(part.names.iter().map(|name| PrivateName { name: name.clone(), kind }));
    }
    let texts = parts.iter().map(|p| &p.text).chain(request.messages.iter().map(|m| &m.text));
    texts.for_each(|text| found::names(text, &mut found));
    let kept_back = |kind| match kind {
        NameKind::Cluster => withheld.cluster,
        NameKind::Resource => withheld.resources,
        NameKind::Pod => withheld.pods,
        _ => false,
    };
    names.extend(found.into_iter().filter(|n| pseudonyms || kept_back(n.kind)));
    names
}

/// Puts the context behind the texts of its messages.
fn tell(request: &mut Request, parts: Vec<Part>) {
    for part in parts {
        if let Some(message) = request.messages.get_mut(part.message) {
            if !message.text.is_empty() {
                message.text.push_str("\n\n");
            }
            message.text.push_str(&part.text);
        }
    }
}

#[cfg(test)]
mod tests;
