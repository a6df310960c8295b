//! The connection to a server.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use slipway_proto::conversation::conversation_service_client::ConversationServiceClient;
use slipway_proto::embedding::audit_service_client::AuditServiceClient;
use slipway_proto::embedding::embedding_service_client::EmbeddingServiceClient;
use slipway_proto::filestore::document_service_client::DocumentServiceClient;
use slipway_proto::filestore::edit_service_client::EditServiceClient;
use slipway_proto::filestore::file_store_service_client::FileStoreServiceClient;
use slipway_proto::filestore::history_service_client::HistoryServiceClient;
use slipway_proto::filestore::overlay_service_client::OverlayServiceClient;
use slipway_proto::filestore::secret_service_client::SecretServiceClient;
use slipway_proto::filestore::transfer_service_client::TransferServiceClient;
use slipway_proto::inference::budget_service_client::BudgetServiceClient;
use slipway_proto::inference::cache_service_client::CacheServiceClient;
use slipway_proto::inference::inference_service_client::InferenceServiceClient;
use slipway_proto::inference::provider_key_service_client::ProviderKeyServiceClient;
use slipway_proto::inference::usage_service_client::UsageServiceClient;
use slipway_proto::operations::operations_service_client::OperationsServiceClient;
use slipway_proto::planner::planner_service_client::PlannerServiceClient;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic_health::pb::health_client::HealthClient;

use crate::args::Global;
use crate::error::Failure;

/// Larger than any response of the API: pages end at 2 to 3 MiB, and one item is always on them.
const MAX_MESSAGE: usize = 16 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// Where systems keep the certificates that they trust.
const SYSTEM_CERTIFICATES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// Puts the token into each call.
#[derive(Clone)]
pub(crate) struct Bearer(Option<MetadataValue<Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: tonic::Request<()>) -> Result<tonic::Request<()>, tonic::Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

type Wire = InterceptedService<Channel, Bearer>;

/// One client of each service.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) conversations: ConversationServiceClient<Wire>,
    pub(crate) plans: PlannerServiceClient<Wire>,
    pub(crate) files: FileStoreServiceClient<Wire>,
    pub(crate) overlays: OverlayServiceClient<Wire>,
    pub(crate) documents: DocumentServiceClient<Wire>,
    pub(crate) edits: EditServiceClient<Wire>,
    pub(crate) histories: HistoryServiceClient<Wire>,
    pub(crate) secrets: SecretServiceClient<Wire>,
    pub(crate) transfer: TransferServiceClient<Wire>,
    pub(crate) search: EmbeddingServiceClient<Wire>,
    pub(crate) audits: AuditServiceClient<Wire>,
    pub(crate) models: InferenceServiceClient<Wire>,
    pub(crate) usage: UsageServiceClient<Wire>,
    pub(crate) budgets: BudgetServiceClient<Wire>,
    pub(crate) keys: ProviderKeyServiceClient<Wire>,
    pub(crate) cache: CacheServiceClient<Wire>,
    pub(crate) health: HealthClient<Wire>,
    pub(crate) operations: OperationsServiceClient<Wire>,
}

impl Api {
    /// The server of the command line. Connects at the first call.
    pub(crate) fn new(global: &Global) -> anyhow::Result<Self> {
        Self::connect(&global.server, global.token.as_deref(), global.ca.as_deref())
    }

    /// A server at `url`.
    pub(crate) fn connect(url: &str, token: Option<&str>, ca: Option<&Path>) -> anyhow::Result<Self> {
        let invalid = || Failure::usage(format!("\"{url}\" is not a server; write it as http://host:port or https://host"));
        let url = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        let mut endpoint = Endpoint::from_shared(url.clone()).map_err(|_| invalid())?;
        match endpoint.uri().scheme_str() {
            Some("http") if endpoint.uri().host().is_some() => {}
            Some("https") if endpoint.uri().host().is_some() => endpoint = endpoint.tls_config(tls(ca)?)?,
            _ => return Err(invalid().into()),
        }
        let bearer = match token.map(str::trim).filter(|t| !t.is_empty()) {
            Some(token) => Some(
                format!("Bearer {token}").parse().map_err(|_| Failure::usage("the token has characters that no token has"))?,
            ),
            None => None,
        };
        let channel =
            endpoint.connect_timeout(CONNECT_TIMEOUT).http2_keep_alive_interval(KEEP_ALIVE).tcp_nodelay(true).connect_lazy();
        let wire = InterceptedService::new(channel, Bearer(bearer));
        Ok(Self {
            conversations: ConversationServiceClient::new(wire.clone()).max_decoding_message_size(MAX_MESSAGE),
            plans: PlannerServiceClient::new(wire.clone()).max_decoding_message_size(MAX_MESSAGE),
            files: FileStoreServiceClient::new(wire.clone()).max_decoding_message_size(MAX_MESSAGE),
            overlays: OverlayServiceClient::new(wire.clone()).max_decoding_message_size(MAX_MESSAGE),
            documents: DocumentServiceClient::new(wire.clone()).max_decoding_message_size(MAX_MESSAGE),
            edits: EditServiceClient::new(wire.clone()).max_decoding_message_size(MAX_MESSAGE),
            histories: HistoryServiceClient::new(wire.clone()).max_decoding_message_size(MAX_MESSAGE),
            secrets: SecretServiceClient::new(wire.clone()).max_decoding_message_size(MAX_MESSAGE),
            transfer: TransferServiceClient::new(wire.clone()),
            search: EmbeddingServiceClient::new(wire.clone()).max_decoding_message_size(MAX_MESSAGE),
            audits: AuditServiceClient::new(wire.clone()),
            health: HealthClient::new(wire.clone()),
            usage: UsageServiceClient::new(wire.clone()).max_decoding_message_size(MAX_MESSAGE),
            budgets: BudgetServiceClient::new(wire.clone()),
            keys: ProviderKeyServiceClient::new(wire.clone()),
            cache: CacheServiceClient::new(wire.clone()),
            models: InferenceServiceClient::new(wire.clone()).max_decoding_message_size(MAX_MESSAGE),
            operations: OperationsServiceClient::new(wire).max_decoding_message_size(MAX_MESSAGE),
        })
    }
}

fn tls(ca: Option<&Path>) -> anyhow::Result<ClientTlsConfig> {
    let file = match ca {
        Some(path) => path.to_owned(),
        None => system_certificates().context("no certificates to trust were found on this system; name a file with --ca")?,
    };
    let pem = std::fs::read(&file).with_context(|| format!("cannot read the certificates in {}", file.display()))?;
    Ok(ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)))
}

fn system_certificates() -> Option<PathBuf> {
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    named.into_iter().chain(SYSTEM_CERTIFICATES.iter().map(PathBuf::from)).find(|p| p.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Exit, explain};

    fn refusal(url: &str) -> (Exit, String) {
        let error = Api::connect(url, None, None).err().unwrap();
        explain(&error, url)
    }

    #[tokio::test]
    async fn addresses_are_checked() {
        assert!(Api::connect("http://127.0.0.1:1", Some("abc"), None).is_ok());
        assert!(Api::connect("127.0.0.1:1", None, None).is_ok());
        for url in ["ftp://x", "http://", "http://a b"] {
            let (exit, text) = refusal(url);
            assert_eq!(exit, Exit::Usage, "{text}");
            assert!(text.contains(url), "{text}");
        }
    }

    #[tokio::test]
    async fn a_token_is_checked() {
        assert!(Api::connect("http://x:1", Some("a\nb"), None).is_err());
    }
}
