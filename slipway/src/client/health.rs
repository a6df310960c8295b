//! `slipway health`

use std::time::Duration;

use tonic::Request;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;

use super::Api;
use crate::error::{Exit, Failure};
use crate::output::Out;

/// A probe that hangs says nothing: no answer is an answer, too.
const PATIENCE: Duration = Duration::from_secs(5);

/// Succeeds when the server serves.
pub(crate) async fn health(api: &Api, out: &Out) -> anyhow::Result<()> {
    let mut request = Request::new(HealthCheckRequest { service: String::new() });
    request.set_timeout(PATIENCE);
    let status = api.health.clone().check(request).await?.into_inner().status();
    if status != ServingStatus::Serving {
        return Err(Failure::new(Exit::Unreachable, "the server is there, and does not serve: it is stopping").into());
    }
    if out.is_json() {
        return out.line(serde_json::json!({ "status": status.as_str_name() }).to_string());
    }
    out.line("it serves")
}
