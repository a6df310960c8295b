//! What a prompt says of privacy.

use slipway_proto::inference as pb;
use slipway_rpc::Check;

use crate::model::{NameKind, Part, PartKind, PrivateName, Wishes, Withheld};

const MAX_PARTS: usize = 200;
const MAX_NAMES: usize = 1_000;
const MAX_NAME: usize = 253;

/// The wishes of a prompt; its messages give their context away.
pub(super) fn wishes(check: &mut Check, prompt: &mut pb::Prompt) -> Wishes {
    let asked = prompt.privacy.take().unwrap_or_default();
    let names = std::mem::take(&mut prompt.private_names);
    check.ensure(names.len() <= MAX_NAMES, "prompt.private_names", format!("has more than {MAX_NAMES} names"));
    let names = names.into_iter().take(MAX_NAMES).enumerate().map(|(n, name)| private_name(check, n, name)).collect();
    let mut parts = Vec::new();
    for (n, message) in prompt.messages.iter_mut().enumerate() {
        let field = format!("prompt.messages[{n}].context");
        check.ensure(message.context.len() <= MAX_PARTS, &field, format!("has more than {MAX_PARTS} parts"));
        for (k, part) in std::mem::take(&mut message.context).into_iter().take(MAX_PARTS).enumerate() {
            parts.push(self::part(check, n, &format!("{field}[{k}]"), part));
        }
    }
    Wishes {
        redact: asked.redact,
        withheld: Withheld {
            cluster: asked.withhold_cluster_metadata,
            resources: asked.withhold_resource_names,
            pods: asked.withhold_pod_names,
            logs: asked.withhold_logs,
        },
        pseudonyms: asked.pseudonyms,
        names,
        parts,
    }
}

fn private_name(check: &mut Check, n: usize, name: pb::PrivateName) -> PrivateName {
    let field = |key: &str| format!("prompt.private_names[{n}].{key}");
    let length = name.name.chars().count();
    let legal = (2..=MAX_NAME).contains(&length) && !name.name.contains(|c: char| c.is_whitespace() || c.is_control());
    check.ensure(legal, &field("name"), "is not 2 to 253 characters without spaces");
    let kind = match pb::NameKind::try_from(name.kind) {
        Ok(pb::NameKind::Unspecified) => NameKind::Any,
        Ok(pb::NameKind::Cluster) => NameKind::Cluster,
        Ok(pb::NameKind::Namespace) => NameKind::Namespace,
        Ok(pb::NameKind::Resource) => NameKind::Resource,
        Ok(pb::NameKind::Pod) => NameKind::Pod,
        Ok(pb::NameKind::Host) => NameKind::Host,
        Err(_) => {
            check.fail(&field("kind"), "is not a known value");
            NameKind::Any
        }
    };
    PrivateName { name: name.name, kind }
}

fn part(check: &mut Check, message: usize, field: &str, part: pb::ContextPart) -> Part {
    let kind = match pb::ContextKind::try_from(part.kind) {
        Ok(pb::ContextKind::Unspecified) => PartKind::Other,
        Ok(pb::ContextKind::ClusterMetadata) => PartKind::Cluster,
        Ok(pb::ContextKind::Resource | pb::ContextKind::Event | pb::ContextKind::Manifest) => PartKind::Resource,
        Ok(pb::ContextKind::Pod) => PartKind::Pod,
        Ok(pb::ContextKind::Log) => PartKind::Log,
        Err(_) => {
            check.fail(&format!("{field}.kind"), "is not a known value");
            PartKind::Other
        }
    };
    check.ensure(!part.text.contains('\0'), &format!("{field}.text"), "holds the control character U+0000");
    check.ensure(part.names.len() <= MAX_NAMES, &format!("{field}.names"), format!("has more than {MAX_NAMES} names"));
    for (k, name) in part.names.iter().enumerate().take(MAX_NAMES) {
        check.ensure(
            (1..=MAX_NAME).contains(&name.chars().count()),
            &format!("{field}.names[{k}]"),
            "is not 1 to 253 characters",
        );
    }
    Part { message, kind, text: part.text, names: part.names }
}

/// How many bytes the context of a message has.
pub(super) fn context_bytes(message: &pb::Message) -> usize {
    message.context.iter().map(|p| p.text.len() + p.names.iter().map(String::len).sum::<usize>()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(mut prompt: pb::Prompt) -> (Wishes, Vec<String>) {
        let mut check = Check::new();
        let wishes = wishes(&mut check, &mut prompt);
        let fields = check.finish().err().map(|f| f.violations().iter().map(|v| v.field.clone()).collect());
        (wishes, fields.unwrap_or_default())
    }

    #[test]
    fn wishes_and_context_are_read() {
        let part = pb::ContextPart { kind: pb::ContextKind::Log.into(), text: "t".into(), names: vec!["n".into()] };
        let privacy = pb::Privacy { redact: true, withhold_logs: true, ..Default::default() };
        let name = pb::PrivateName { name: "prod".into(), kind: pb::NameKind::Cluster.into() };
        let (wishes, bad) = read(pb::Prompt {
            messages: vec![pb::Message::default(), pb::Message { context: vec![part], ..Default::default() }],
            privacy: Some(privacy),
            private_names: vec![name],
            ..Default::default()
        });
        assert!(bad.is_empty() && wishes.redact && wishes.withheld.logs && !wishes.withheld.pods, "{bad:?}");
        assert_eq!((wishes.parts[0].message, wishes.parts[0].kind, wishes.names[0].kind), (1, PartKind::Log, NameKind::Cluster));
    }

    #[test]
    fn bad_names_and_parts_name_their_fields() {
        let name = |name: &str, kind| pb::PrivateName { name: name.into(), kind };
        let part = pb::ContextPart { kind: 77, text: "\0".into(), names: vec![String::new()] };
        let (_, bad) = read(pb::Prompt {
            messages: vec![pb::Message { context: vec![part], ..Default::default() }],
            private_names: vec![name("x", 0), name("two words", 0), name("fine", 77)],
            ..Default::default()
        });
        let expected = [
            "prompt.private_names[0].name",
            "prompt.private_names[1].name",
            "prompt.private_names[2].kind",
            "prompt.messages[0].context[0].kind",
            "prompt.messages[0].context[0].text",
            "prompt.messages[0].context[0].names[0]",
        ];
        assert_eq!(bad, expected);
    }
}
