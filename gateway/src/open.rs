//! What everyone who can reach the port may ask: which public methods there are (reflection), and whether the services
//! behind them are up (health).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use prost::Message as _;
use prost_types::FileDescriptorSet;
use slipway_rpc::{BuildError, Channel};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus as Wire;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::server::HealthReporter;

use crate::Deps;
use crate::policy::{Policies, split, upstream};

/// How soon a service that could not be asked is asked again: at first, and at most.
const ASK_AGAIN: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// The health that the gateway reports: its own under the empty name, and each public service's as that service says.
pub(crate) struct Health {
    reporter: HealthReporter,
    services: BTreeMap<String, Channel>,
    /// Public services that calls are spread from here: as healthy as the gateway.
    addressed: BTreeSet<String>,
}

impl Health {
    /// Follows the services until `shutdown`; then nothing is serving any more.
    pub(crate) async fn run(&self, shutdown: CancellationToken) {
        for service in &self.addressed {
            self.reporter.set_service_status(service, ServingStatus::Serving).await;
        }
        let followers = TaskTracker::new();
        for (service, channel) in &self.services {
            let follower = follow(self.reporter.clone(), service.clone(), channel.clone());
            let shutdown = shutdown.clone();
            followers.spawn(async move { shutdown.run_until_cancelled(follower).await });
        }
        followers.close();
        followers.wait().await;
        shutdown.cancelled().await;
        for service in self.services.keys().chain(&self.addressed).map(String::as_str).chain([""]) {
            self.reporter.set_service_status(service, ServingStatus::NotServing).await;
        }
    }
}

/// Repeats what a service says about itself, for ever.
async fn follow(reporter: HealthReporter, service: String, channel: Channel) {
    let mut pause = ASK_AGAIN.0;
    let mut client = HealthClient::new(channel);
    loop {
        if let Ok(answer) = client.watch(HealthCheckRequest { service: service.clone() }).await {
            let mut statuses = answer.into_inner();
            while let Ok(Some(said)) = statuses.message().await {
                let up = said.status == Wire::Serving as i32;
                let status = if up { ServingStatus::Serving } else { ServingStatus::NotServing };
                reporter.set_service_status(&service, status).await;
                if !up {
                    // It is about to stop, and would wait for this stream to end.
                    break;
                }
                pause = ASK_AGAIN.0;
            }
        }
        reporter.set_service_status(&service, ServingStatus::NotServing).await;
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(ASK_AGAIN.1);
    }
}

/// The routes of reflection (v1 and v1alpha) and health, for the public methods of the services that are there.
pub(crate) async fn routes(policies: &Policies, descriptors: &[u8], deps: &Deps) -> Result<(Routes, Health), BuildError> {
    let (mut services, mut addressed) = (BTreeMap::new(), BTreeSet::new());
    for (path, policy) in policies.iter().filter(|(_, p)| p.public) {
        let (service, _) = split(path);
        if policy.addressed && !deps.addressed.is_empty() {
            addressed.insert(service.to_owned());
        } else if let Some(channel) = deps.upstreams.get(upstream(service)) {
            services.insert(service.to_owned(), channel.clone());
        }
    }
    let reporter = HealthReporter::new();
    for service in services.keys().chain(&addressed) {
        reporter.set_service_status(service, ServingStatus::NotServing).await;
    }
    let health = tonic_health::server::HealthService::from_health_reporter(reporter.clone());
    let health = tonic_health::pb::health_server::HealthServer::new(health);

    let here = |service: &str| services.contains_key(service) || addressed.contains(service);
    let listed = |path: &str| policies.get(path).is_some_and(|p| p.public) && here(split(path).0);
    let public = public(descriptors, listed)?;
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_file_descriptor_set(public.clone())
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let failed = |e| BuildError::of("the compiled-in descriptor set cannot be served by reflection", e);
    let v1 = reflection().build_v1().map_err(failed)?;
    let v1alpha = reflection().build_v1alpha().map_err(failed)?;
    let routes = Routes::new(health).add_service(v1).add_service(v1alpha).prepare();
    Ok((routes, Health { reporter, services, addressed }))
}

/// The descriptor set with nothing but the methods that are `listed`. Comments go from a file that lost something: they are
/// addressed by position.
fn public(descriptors: &[u8], listed: impl Fn(&str) -> bool) -> Result<FileDescriptorSet, BuildError> {
    let mut set =
        FileDescriptorSet::decode(descriptors).map_err(|e| BuildError::of("the compiled-in descriptor set cannot be read", e))?;
    for file in set.file.iter_mut() {
        let package = file.package().to_owned();
        let count = |services: &[prost_types::ServiceDescriptorProto]| services.iter().map(|s| 1 + s.method.len()).sum::<usize>();
        let before = count(&file.service);
        for service in file.service.iter_mut() {
            let name = service.name().to_owned();
            service.method.retain(|m| listed(&format!("/{package}.{name}/{}", m.name())));
        }
        file.service.retain(|s| !s.method.is_empty());
        if count(&file.service) != before {
            file.source_code_info = None;
        }
    }
    Ok(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_listed_is_shown() {
        let one = "/slipway.planner.v1.PlannerService/GetPlan";
        let set = public(slipway_proto::DESCRIPTORS, |path| path == one).unwrap();
        let services: Vec<_> = set.file.iter().flat_map(|f| f.service.iter()).collect();
        assert_eq!(services.len(), 1);
        assert_eq!(services[0].method.len(), 1);
        let all = public(slipway_proto::DESCRIPTORS, |_| true).unwrap();
        assert!(all.file.iter().any(|f| f.source_code_info.is_some()), "comments are kept");
    }
}
