//! Canonical proto3 JSON of any message, both ways, by the descriptors of `proto/`.

use anyhow::Context as _;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, SerializeOptions};

/// Prints messages as JSON.
pub(crate) struct Json {
    pool: DescriptorPool,
}

impl Json {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let pool = DescriptorPool::decode(slipway_proto::DESCRIPTORS).context("the built-in descriptors are damaged")?;
        Ok(Self { pool })
    }

    /// One line. `name` is the message's full name without `slipway.`, for example `filestore.v1.Workspace`. Fields that
    /// have their default value are printed too, so that programs need not know the defaults.
    pub(crate) fn print<M: Message>(&self, name: &str, message: &M) -> anyhow::Result<String> {
        let descriptor = self.descriptor(name)?;
        let dynamic = DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice())?;
        let mut line = Vec::new();
        let options = SerializeOptions::new().skip_default_fields(false);
        dynamic.serialize_with_options(&mut serde_json::Serializer::new(&mut line), &options)?;
        Ok(String::from_utf8(line)?)
    }

    /// Reads a message. A field that it does not have is an error.
    pub(crate) fn read<M: Message + Default>(&self, name: &str, text: &str) -> anyhow::Result<M> {
        let mut reader = serde_json::Deserializer::from_str(text);
        let dynamic = DynamicMessage::deserialize(self.descriptor(name)?, &mut reader)?;
        reader.end()?;
        Ok(M::decode(dynamic.encode_to_vec().as_slice())?)
    }

    fn descriptor(&self, name: &str) -> anyhow::Result<MessageDescriptor> {
        let name = format!("slipway.{name}");
        self.pool.get_message_by_name(&name).with_context(|| format!("no message is called {name}"))
    }
}

#[cfg(test)]
mod tests {
    use slipway_proto::filestore::{FileStatus, Workspace};
    use slipway_proto::planner::{Heartbeat, Plan, PlanEvent, PlanState, plan_event};

    use super::*;

    fn print<M: Message>(name: &str, message: &M) -> serde_json::Value {
        serde_json::from_str(&Json::new().unwrap().print(name, message).unwrap()).unwrap()
    }

    #[test]
    fn names_numbers_and_times_are_canonical() {
        let workspace = Workspace {
            name: "shop".into(),
            head_number: 3,
            create_time: Some(prost_types::Timestamp { seconds: 0, nanos: 0 }),
            ..Default::default()
        };
        let json = print("filestore.v1.Workspace", &workspace);
        assert_eq!(json["name"], "shop");
        assert_eq!(json["headNumber"], "3", "64-bit numbers are strings");
        assert_eq!(json["headRevisionId"], "", "defaults are printed");
        assert_eq!(json["createTime"], "1970-01-01T00:00:00Z");
    }

    #[test]
    fn enums_are_names_and_a_oneof_is_its_member() {
        let plan = Plan { state: PlanState::Ready.into(), ..Default::default() };
        let event = PlanEvent { event: Some(plan_event::Event::Ready(plan)), ..Default::default() };
        let json = print("planner.v1.PlanEvent", &event);
        assert_eq!(json["ready"]["state"], "PLAN_STATE_READY");
        assert!(json.get("failed").is_none());
        let beat = PlanEvent { event: Some(plan_event::Event::Heartbeat(Heartbeat {})), ..Default::default() };
        assert_eq!(print("planner.v1.PlanEvent", &beat)["heartbeat"], serde_json::json!({}));
        assert_eq!(FileStatus::Added.as_str_name(), "FILE_STATUS_ADDED");
    }

    #[test]
    fn what_is_printed_can_be_read() {
        let (json, workspace) = (Json::new().unwrap(), Workspace { name: "shop".into(), head_number: 3, ..Default::default() });
        let text = json.print("filestore.v1.Workspace", &workspace).unwrap();
        assert_eq!(json.read::<Workspace>("filestore.v1.Workspace", &text).unwrap(), workspace);
        for wrong in [r#"{"nam": "shop"}"#, r#"{"name": 1}"#, "{} {}"] {
            assert!(json.read::<Workspace>("filestore.v1.Workspace", wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_wrong_name_is_an_error() {
        assert!(Json::new().unwrap().print("filestore.v1.Nothing", &Workspace::default()).is_err());
    }
}
