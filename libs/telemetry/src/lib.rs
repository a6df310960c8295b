//! What can be seen from outside: logs, traces and metrics, started by one [`init`].
//!
//! Every call has a span at level info, named and filled by libs/rpc and the gateway; spans carry W3C trace ids whether or
//! not they are exported, so that a log line and a client's `traceparent` can always be joined. Nothing here runs per
//! message of a stream.

mod logs;
pub mod metrics;
mod settings;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tracing::Subscriber;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer};

pub use metrics::Metrics;
pub use settings::{Format, Settings};

/// Crates that say much and seldom anything for the operator; a filter that names them still raises them.
const QUIET: &str = "h2=warn,hyper=warn,hyper_util=warn,tower=warn,tonic=warn,rustls=warn,sqlx=warn,sea_orm=warn,\
    sea_orm_migration=warn,async_nats=warn,reqwest=warn,tokenizers=warn,qdrant_edge=error,opentelemetry=warn,opentelemetry_sdk=warn,\
    opentelemetry_otlp=warn";
/// How long the last spans may take to leave.
const FLUSH: std::time::Duration = std::time::Duration::from_secs(2);

/// Why telemetry cannot start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// A setting that makes no sense.
    #[error("{0}")]
    Settings(String),
    /// The exporter could not be made.
    #[error("cannot export traces to telemetry.otlp_endpoint \"{endpoint}\"")]
    Exporter {
        /// The address in the settings.
        endpoint: String,
        /// What the exporter said.
        #[source]
        source: opentelemetry_otlp::ExporterBuildError,
    },
    /// Another subscriber was installed before.
    #[error("logging was started twice in one process")]
    Twice(#[source] tracing_subscriber::util::TryInitError),
    /// The metrics address cannot be listened on.
    #[error("cannot serve metrics on telemetry.metrics_listen \"{address}\"")]
    Bind {
        /// The address in the settings.
        address: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// Keeps the exporter alive; hand it to the end of `main`. Dropping it sends the last spans.
#[derive(Debug)]
#[must_use = "dropping the guard stops the export of traces"]
pub struct Guard {
    provider: SdkTracerProvider,
}

impl Drop for Guard {
    fn drop(&mut self) {
        // Nobody is left to tell, and the process must end: what could not be sent in time is lost.
        let _ = self.provider.shutdown_with_timeout(FLUSH);
    }
}

/// Starts logs and traces for the process. Call it once, inside the runtime (the exporter lives there).
///
/// `RUST_LOG`, when set, takes the place of `telemetry.filter`.
pub fn init(settings: &Settings) -> Result<Guard, TelemetryError> {
    settings.check().map_err(TelemetryError::Settings)?;
    let provider = provider(settings)?;
    let filter = std::env::var("RUST_LOG").ok().filter(|f| !f.trim().is_empty());
    let filter = env_filter(filter.as_deref().unwrap_or(&settings.filter)).map_err(TelemetryError::Settings)?;
    let logs = logs::Logs::new(settings.format, std::io::stderr);
    tracing_subscriber::registry()
        .with(filter)
        .with(traces(&provider, settings))
        .with(logs)
        .try_init()
        .map_err(TelemetryError::Twice)?;
    Ok(Guard { provider })
}

/// Gives every span its W3C ids and, when spans are exported, records them.
fn traces<S>(provider: &SdkTracerProvider, settings: &Settings) -> impl Layer<S> + use<S>
where
    S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
{
    let exporting = settings.exports();
    tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("slipway"))
        .with_location(false)
        .with_threads(false)
        .with_target(exporting)
        .with_tracked_inactivity(false)
        .with_context_activation(false)
}

fn provider(settings: &Settings) -> Result<SdkTracerProvider, TelemetryError> {
    let resource = Resource::builder().with_service_name(settings.service_name.clone()).build();
    let builder = SdkTracerProvider::builder().with_resource(resource);
    if !settings.exports() {
        // Ids without records: such a span costs next to nothing.
        return Ok(builder.with_sampler(Sampler::AlwaysOff).build());
    }
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_endpoint(&settings.otlp_endpoint)
        .build()
        .map_err(|source| TelemetryError::Exporter { endpoint: settings.otlp_endpoint.clone(), source })?;
    let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(settings.sample_ratio)));
    Ok(builder.with_sampler(sampler).with_batch_exporter(exporter).build())
}

fn env_filter(filter: &str) -> Result<EnvFilter, String> {
    EnvFilter::builder()
        .parse(format!("{QUIET},{filter}"))
        .map_err(|e| format!("telemetry.filter \"{filter}\" is not a log filter such as \"info,slipway_planner=debug\": {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_checked() {
        assert!(env_filter("info").is_ok());
        assert!(env_filter("info,slipway_planner=debug").is_ok());
        assert!(env_filter("slipway=loud").unwrap_err().contains("telemetry.filter"));
    }

    #[test]
    fn ids_exist_without_an_exporter() {
        use opentelemetry::trace::TraceContextExt as _;
        use tracing_opentelemetry::OpenTelemetrySpanExt as _;
        let settings = Settings::default();
        let provider = provider(&settings).unwrap();
        let subscriber = tracing_subscriber::registry().with(traces(&provider, &settings));
        tracing::subscriber::with_default(subscriber, || {
            let context = tracing::info_span!("call").context();
            let span = context.span();
            assert!(span.span_context().is_valid());
            assert!(!span.span_context().is_sampled());
        });
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn spans_leave_for_the_collector() {
        use tokio::io::AsyncReadExt as _;
        let collector = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let otlp_endpoint = format!("http://{}", collector.local_addr().unwrap());
        let settings = Settings { otlp_endpoint, ..Settings::default() };
        let guard = Guard { provider: provider(&settings).unwrap() };
        let subscriber = tracing_subscriber::registry().with(traces(&guard.provider, &settings));
        tracing::subscriber::with_default(subscriber, || drop(tracing::info_span!("call").entered()));
        let (ended, received) = tokio::join!(tokio::task::spawn_blocking(move || drop(guard)), async {
            let (mut stream, _) = collector.accept().await.unwrap();
            let mut preface = [0; 14];
            stream.read_exact(&mut preface).await.unwrap();
            preface
        });
        ended.unwrap();
        assert_eq!(&received, b"PRI * HTTP/2.0");
    }
}
