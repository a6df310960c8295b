//! Clients of the public API, as a test uses them: one of each service, over one connection.

use slipway_proto::conversation::conversation_service_client::ConversationServiceClient;
use slipway_proto::embedding::embedding_service_client::EmbeddingServiceClient;
use slipway_proto::filestore::file_store_service_client::FileStoreServiceClient;
use slipway_proto::filestore::overlay_service_client::OverlayServiceClient;
use slipway_proto::filestore::transfer_service_client::TransferServiceClient;
use slipway_proto::inference::budget_service_client::BudgetServiceClient;
use slipway_proto::inference::inference_service_client::InferenceServiceClient;
use slipway_proto::inference::usage_service_client::UsageServiceClient;
use slipway_proto::operations::operations_service_client::OperationsServiceClient;
use slipway_proto::planner::planner_service_client::PlannerServiceClient;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};

/// Puts the token into each call.
#[derive(Clone)]
pub struct Bearer(Option<MetadataValue<Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: tonic::Request<()>) -> Result<tonic::Request<()>, tonic::Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

/// A TCP channel to the gateway.
pub type Wire = InterceptedService<Channel, Bearer>;

/// One client of each public service.
#[derive(Clone)]
pub struct Client {
    /// Conversations.
    pub conversation: ConversationServiceClient<Wire>,
    /// Plans.
    pub planner: PlannerServiceClient<Wire>,
    /// Files.
    pub files: FileStoreServiceClient<Wire>,
    /// Overlays.
    pub overlays: OverlayServiceClient<Wire>,
    /// Uploads.
    pub transfer: TransferServiceClient<Wire>,
    /// Search.
    pub embedding: EmbeddingServiceClient<Wire>,
    /// Models.
    pub inference: InferenceServiceClient<Wire>,
    /// What calls cost.
    pub usage: UsageServiceClient<Wire>,
    /// What they may cost.
    pub budgets: BudgetServiceClient<Wire>,
    /// Dead letters.
    pub operations: OperationsServiceClient<Wire>,
    /// For calls that no generated client makes.
    pub wire: Wire,
}

impl Client {
    /// Clients of the gateway at `url`; they connect at the first call.
    pub fn connect(url: &str, token: Option<&str>) -> anyhow::Result<Self> {
        let bearer = token.map(|t| format!("Bearer {t}").parse()).transpose()?;
        let wire = InterceptedService::new(Endpoint::from_shared(url.to_owned())?.connect_lazy(), Bearer(bearer));
        Ok(Self {
            conversation: ConversationServiceClient::new(wire.clone()),
            planner: PlannerServiceClient::new(wire.clone()),
            files: FileStoreServiceClient::new(wire.clone()),
            overlays: OverlayServiceClient::new(wire.clone()),
            transfer: TransferServiceClient::new(wire.clone()),
            embedding: EmbeddingServiceClient::new(wire.clone()),
            inference: InferenceServiceClient::new(wire.clone()),
            usage: UsageServiceClient::new(wire.clone()),
            budgets: BudgetServiceClient::new(wire.clone()),
            operations: OperationsServiceClient::new(wire.clone()),
            wire,
        })
    }
}
