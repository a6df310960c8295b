//! Parts of a prompt that came after the text: images, the reasoning's record and effort, the form of the answer.

use bytes::Bytes;
use slipway_proto::inference as pb;
use slipway_rpc::Check;

use super::is_tool_name;
use crate::model::{Effort, Image, JsonFormat, ReasoningState, Role};

pub(super) const MAX_IMAGES: usize = 20;
const MAX_IMAGE_BYTES: usize = 5 << 20;
const MAX_STATE_BYTES: usize = 1 << 20;
const MAX_SCHEMA_BYTES: usize = 256 << 10;

/// The images of a message. Their bytes must be what the media type says: a provider's refusal would name no field.
pub(super) fn images(check: &mut Check, role: Role, field: &str, images: Vec<pb::Image>) -> Vec<Image> {
    check.ensure(role == Role::User || images.is_empty(), field, "is for ROLE_USER only");
    let mut read = Vec::with_capacity(images.len());
    for (k, image) in images.into_iter().enumerate() {
        let field = |name: &str| format!("{field}[{k}].{name}");
        check.ensure(image.data.len() <= MAX_IMAGE_BYTES, &field("data"), "is larger than 5 MiB");
        let Some(media_type) = known(&image.media_type) else {
            check.fail(&field("media_type"), "is not image/png, image/jpeg, image/gif or image/webp");
            continue;
        };
        check.ensure(sniff(&image.data) == Some(media_type), &field("data"), format!("is no {media_type}"));
        read.push(Image { data: image.data, media_type });
    }
    read
}

fn known(media_type: &str) -> Option<&'static str> {
    ["image/png", "image/jpeg", "image/gif", "image/webp"].into_iter().find(|known| *known == media_type)
}

fn sniff(data: &[u8]) -> Option<&'static str> {
    match data {
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some("image/png"),
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some("image/gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("image/webp"),
        _ => None,
    }
}

/// The record of the reasoning behind an assistant's message.
pub(super) fn reasoning_state(check: &mut Check, role: Role, field: &str, bytes: &Bytes) -> Option<ReasoningState> {
    if bytes.is_empty() {
        return None;
    }
    check.ensure(role == Role::Assistant, field, "is for ROLE_ASSISTANT only");
    if bytes.len() > MAX_STATE_BYTES {
        check.fail(field, "is larger than 1 MiB");
        return None;
    }
    let state = ReasoningState::from_bytes(bytes);
    check.ensure(state.is_some(), field, "is not what a completion gave back");
    state
}

/// How much to reason.
pub(super) fn effort(check: &mut Check, effort: i32) -> Option<Effort> {
    match pb::ReasoningEffort::try_from(effort) {
        Ok(pb::ReasoningEffort::Unspecified) => None,
        Ok(pb::ReasoningEffort::None) => Some(Effort::None),
        Ok(pb::ReasoningEffort::Minimal) => Some(Effort::Minimal),
        Ok(pb::ReasoningEffort::Low) => Some(Effort::Low),
        Ok(pb::ReasoningEffort::Medium) => Some(Effort::Medium),
        Ok(pb::ReasoningEffort::High) => Some(Effort::High),
        Err(_) => {
            check.fail("prompt.reasoning_effort", "is not a known value");
            None
        }
    }
}

/// The form of the answer.
pub(super) fn json_format(check: &mut Check, format: Option<pb::JsonFormat>) -> Option<JsonFormat> {
    let format = format?;
    let name = if format.name.is_empty() { "answer".to_owned() } else { format.name };
    check.ensure(is_tool_name(&name), "prompt.json_format.name", "is not 1 to 64 of a-z, A-Z, 0-9, '_' and '-'");
    if format.schema_json.len() > MAX_SCHEMA_BYTES {
        check.fail("prompt.json_format.schema_json", "is larger than 256 KiB");
        return None;
    }
    let schema: serde_json::Value = serde_json::from_str(&format.schema_json).unwrap_or_default();
    let is_object = schema.get("type").and_then(|t| t.as_str()) == Some("object");
    check.ensure(is_object, "prompt.json_format.schema_json", "is not a JSON Schema of type object");
    Some(JsonFormat { name, schema, strict: format.strict })
}
