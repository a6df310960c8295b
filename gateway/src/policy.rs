//! The access policies of `proto/`, read from the compiled descriptor set: an RPC added there changes nothing here.

use std::collections::BTreeMap;
use std::time::Duration;

use prost_reflect::{DescriptorPool, Value};
use slipway_proto::api;
use slipway_rpc::{BuildError, Scope};

const OPTION: &str = "slipway.api.v1.policy";

/// Which of a caller's buckets a call is taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateClass {
    /// Ordinary calls.
    Api,
    /// Calls that carry files.
    Upload,
    /// Calls that a language model answers.
    Generate,
}

impl RateClass {
    /// The name in settings, metrics and errors.
    pub fn name(self) -> &'static str {
        match self {
            RateClass::Api => "api",
            RateClass::Upload => "upload",
            RateClass::Generate => "generate",
        }
    }
}

/// Who may call a method, how often, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Served by the gateway; else only between the services.
    pub public: bool,
    /// What the caller's token must allow.
    pub scope: Scope,
    /// Which rate the call counts against.
    pub class: RateClass,
    /// The deadline of a call that brings none; `None` for streams that follow something.
    pub deadline: Option<Duration>,
    /// Several services have it, and the call names the one it means.
    pub addressed: bool,
}

/// The policies of all methods, by path: `/slipway.planner.v1.PlannerService/GetPlan`.
#[derive(Debug)]
pub struct Policies(BTreeMap<String, Policy>);

impl Policies {
    /// Reads an encoded `FileDescriptorSet`. Every method of a `slipway.` package must have a whole policy.
    pub fn read(descriptors: &[u8]) -> Result<Policies, BuildError> {
        let pool = DescriptorPool::decode(descriptors)
            .map_err(|e| BuildError::of("the compiled-in descriptor set cannot be read", e))?;
        let option = pool
            .get_extension_by_name(OPTION)
            .ok_or_else(|| BuildError::new(format!("the descriptor set does not define {OPTION}")))?;
        let mut policies = BTreeMap::new();
        for service in pool.services().filter(|s| s.package_name().starts_with("slipway.")) {
            for method in service.methods() {
                let options = method.options();
                let policy = policy(options.get_extension(&option).as_ref())
                    .ok_or_else(|| BuildError::new(format!("{} has no whole ({OPTION}) option", method.full_name())))?;
                policies.insert(format!("/{}/{}", service.full_name(), method.name()), policy);
            }
        }
        Ok(Policies(policies))
    }

    /// The policy of the method with this path.
    pub fn get(&self, path: &str) -> Option<&Policy> {
        self.0.get(path)
    }

    /// All methods, by path.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Policy)> {
        self.0.iter().map(|(path, policy)| (path.as_str(), policy))
    }
}

fn policy(value: &Value) -> Option<Policy> {
    let policy = value.as_message()?.transcode_to::<api::MethodPolicy>().ok()?;
    Some(Policy {
        public: match policy.visibility() {
            api::Visibility::Public => true,
            api::Visibility::Internal => false,
            api::Visibility::Unspecified => return None,
        },
        scope: match policy.scope() {
            api::Scope::Read => Scope::Read,
            api::Scope::Write => Scope::Write,
            api::Scope::Admin => Scope::Admin,
            api::Scope::Unspecified => return None,
        },
        class: match policy.rate_class() {
            api::RateClass::Api => RateClass::Api,
            api::RateClass::Upload => RateClass::Upload,
            api::RateClass::Generate => RateClass::Generate,
            api::RateClass::Unspecified => return None,
        },
        deadline: (policy.default_deadline_ms > 0).then(|| Duration::from_millis(policy.default_deadline_ms.into())),
        addressed: policy.addressed,
    })
}

/// `/slipway.planner.v1.PlannerService/GetPlan` as `("slipway.planner.v1.PlannerService", "GetPlan")`.
pub(crate) fn split(path: &str) -> (&str, &str) {
    path.trim_start_matches('/').split_once('/').unwrap_or((path, ""))
}

/// The package segment that names the service to call: `planner` of `slipway.planner.v1.PlannerService`.
pub(crate) fn upstream(service: &str) -> &str {
    service.split('.').nth(1).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    #[test]
    fn every_method_has_a_policy() {
        let policies = Policies::read(slipway_proto::DESCRIPTORS).unwrap();
        let set = prost_types::FileDescriptorSet::decode(slipway_proto::DESCRIPTORS).unwrap();
        let mut methods = 0;
        for file in set.file.iter().filter(|f| f.package().starts_with("slipway.")) {
            for service in &file.service {
                for method in &service.method {
                    let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                    assert!(policies.get(&path).is_some(), "{path}");
                    methods += 1;
                }
            }
        }
        assert!(methods > 30);
        assert_eq!(policies.iter().count(), methods);
    }

    #[test]
    fn policies_are_what_proto_says() {
        let policies = Policies::read(slipway_proto::DESCRIPTORS).unwrap();
        let send = policies.get("/slipway.conversation.v1.ConversationService/SendMessage").unwrap();
        let expected = Policy { public: true, scope: Scope::Write, class: RateClass::Generate, deadline: None, addressed: false };
        assert_eq!(*send, expected);
        let letters = policies.get("/slipway.operations.v1.OperationsService/ListDeadLetters").unwrap();
        assert!(letters.addressed && letters.scope == Scope::Admin);
        let import = policies.get("/slipway.filestore.v1.FileStoreService/ImportArchive").unwrap();
        assert_eq!((import.class, import.deadline), (RateClass::Upload, Some(Duration::from_secs(600))));
        let get = policies.get("/slipway.planner.v1.PlannerService/GetPlan").unwrap();
        assert_eq!((get.scope, get.class), (Scope::Read, RateClass::Api));
        assert!(policies.get("/slipway.planner.v1.PlannerService/NoSuch").is_none());
    }

    #[test]
    fn paths_name_their_upstream() {
        let (service, method) = split("/slipway.filestore.v1.FileStoreService/ReadFile");
        assert_eq!((upstream(service), method), ("filestore", "ReadFile"));
    }

    #[test]
    fn a_descriptor_set_without_policies_is_refused() {
        assert!(Policies::read(b"nonsense").is_err());
        assert!(Policies::read(tonic_health::pb::FILE_DESCRIPTOR_SET).is_err());
    }
}
