//! Prometheus metrics: what is counted, and the `/metrics` page.
//!
//! A method's counters are looked up once, when the server is built ([`Metrics::rpc`]); a call then touches a few atomics,
//! and a message of a stream none.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus::{
    Encoder as _, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::TelemetryError;

mod models;

/// From a cached read to a long generation, in seconds.
const BUCKETS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];
/// The canonical gRPC codes by number, as they are written in labels.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];
const CANCELLED: usize = 1;
const UNKNOWN: usize = 2;

/// The metrics of one process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Families>);

#[derive(Debug)]
struct Families {
    registry: Registry,
    requests: IntCounterVec,
    latency: HistogramVec,
    open: IntGaugeVec,
    rate_limited: IntCounterVec,
    limiting_alone: IntGauge,
    outbox_lag: GaugeVec,
    jobs: IntGaugeVec,
    job_lag: GaugeVec,
    redeliveries: IntCounter,
    catalogue: IntCounterVec,
    breakers: IntGaugeVec,
    model_cache: IntCounterVec,
    model_beside: IntCounterVec,
    models: models::Models,
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics::new()
    }
}

impl Metrics {
    /// An empty set of metrics, and those of the process itself.
    pub fn new() -> Metrics {
        let valid = "the names and labels are valid constants";
        let requests = Opts::new("slipway_requests_total", "Finished calls by service, method and gRPC code.");
        let latency = HistogramOpts::new("slipway_request_seconds", "How long calls took, to the end of their stream.");
        let open = Opts::new("slipway_streams_open", "Calls that are under way, by service and method.");
        let limited =
            Opts::new("slipway_gateway_rate_limited_total", "Calls refused because a caller's rate was used up, by class.");
        let alone = Opts::new(
            "slipway_gateway_rate_limit_alone",
            "1 while this gateway limits callers by itself because the bus that the gateways share does not answer.",
        );
        let outbox_lag =
            Opts::new("slipway_outbox_lag_seconds", "How long the oldest event has been waiting for the bus, by store.");
        let jobs = Opts::new("slipway_jobs", "Jobs by store, kind and state: queued, running, dead.");
        let job_lag =
            Opts::new("slipway_job_lag_seconds", "How long the oldest job that is due has been waiting for a worker, by kind.");
        let redeliveries = Opts::new("slipway_bus_redeliveries_total", "Events that were delivered to this process again.");
        let catalogue = Opts::new(
            "slipway_inference_catalogue_refreshes_total",
            "How often the operator's changed catalogue of models was read again, by outcome: ok, failed.",
        );
        let breakers = Opts::new(
            "slipway_inference_breaker",
            "How providers (key empty) and their keys stand: 0 in use, 1 being tried, 2 set aside.",
        );
        let model_cache = Opts::new(
            "slipway_inference_cache_total",
            "Calls of models that a kept answer could answer, by what came of it: exact, shared, semantic, miss; and \
             embedding_failed, where it could not be known whether a kept answer would do.",
        );
        let model_beside = Opts::new(
            "slipway_inference_beside_total",
            "What was done beside the answers that were asked for, by kind (quick, prefetch) and what came of it.",
        );
        let registry = Registry::new();
        let models = models::Models::register(&registry);
        let families = Families {
            registry,
            models,
            requests: IntCounterVec::new(requests, &["service", "method", "code"]).expect(valid),
            latency: HistogramVec::new(latency.buckets(BUCKETS.to_vec()), &["service", "method"]).expect(valid),
            open: IntGaugeVec::new(open, &["service", "method"]).expect(valid),
            rate_limited: IntCounterVec::new(limited, &["class"]).expect(valid),
            limiting_alone: IntGauge::with_opts(alone).expect(valid),
            outbox_lag: GaugeVec::new(outbox_lag, &["store"]).expect(valid),
            jobs: IntGaugeVec::new(jobs, &["store", "kind", "state"]).expect(valid),
            job_lag: GaugeVec::new(job_lag, &["store", "kind"]).expect(valid),
            redeliveries: IntCounter::with_opts(redeliveries).expect(valid),
            catalogue: IntCounterVec::new(catalogue, &["outcome"]).expect(valid),
            breakers: IntGaugeVec::new(breakers, &["provider", "key"]).expect(valid),
            model_cache: IntCounterVec::new(model_cache, &["result"]).expect(valid),
            model_beside: IntCounterVec::new(model_beside, &["kind", "result"]).expect(valid),
        };
        let once = "each family is registered once in a new registry";
        families.registry.register(Box::new(families.requests.clone())).expect(once);
        families.registry.register(Box::new(families.latency.clone())).expect(once);
        families.registry.register(Box::new(families.open.clone())).expect(once);
        families.registry.register(Box::new(families.rate_limited.clone())).expect(once);
        families.registry.register(Box::new(families.limiting_alone.clone())).expect(once);
        families.registry.register(Box::new(families.outbox_lag.clone())).expect(once);
        families.registry.register(Box::new(families.jobs.clone())).expect(once);
        families.registry.register(Box::new(families.job_lag.clone())).expect(once);
        families.registry.register(Box::new(families.redeliveries.clone())).expect(once);
        families.registry.register(Box::new(families.catalogue.clone())).expect(once);
        families.registry.register(Box::new(families.breakers.clone())).expect(once);
        families.registry.register(Box::new(families.model_cache.clone())).expect(once);
        families.registry.register(Box::new(families.model_beside.clone())).expect(once);
        #[cfg(target_os = "linux")]
        families.registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self())).expect(once);
        Metrics(Arc::new(families))
    }

    /// The recorder of one method; keep it, looking it up is not for every call.
    pub fn rpc(&self, service: &str, method: &str) -> Rpc {
        Rpc(Arc::new(Recorder {
            service: service.to_owned(),
            method: method.to_owned(),
            requests: self.0.requests.clone(),
            codes: Default::default(),
            latency: self.0.latency.with_label_values(&[service, method]),
            open: self.0.open.with_label_values(&[service, method]),
        }))
    }

    /// Counts a call that was refused because the caller's rate for `class` is used up.
    pub fn rate_limited(&self, class: &str) {
        self.0.rate_limited.with_label_values(&[class]).inc();
    }

    /// Whether this gateway limits callers by itself although it should do so together with the others.
    pub fn limiting_alone(&self, alone: bool) {
        self.0.limiting_alone.set(alone.into());
    }

    /// How long a store's oldest event has been waiting for the bus.
    pub fn outbox_lag(&self, store: &str, lag: Duration) {
        self.0.outbox_lag.with_label_values(&[store]).set(lag.as_secs_f64());
    }

    /// How many jobs of a kind are in a state, which is `queued`, `running` or `dead`.
    pub fn jobs(&self, store: &str, kind: &str, state: &str, count: u64) {
        self.0.jobs.with_label_values(&[store, kind, state]).set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// How long the oldest job of a kind that is due has been waiting for a worker.
    pub fn job_lag(&self, store: &str, kind: &str, lag: Duration) {
        self.0.job_lag.with_label_values(&[store, kind]).set(lag.as_secs_f64());
    }

    /// How many deliveries of events were not their first, up to now.
    pub fn redeliveries(&self, total: u64) {
        self.0.redeliveries.inc_by(total.saturating_sub(self.0.redeliveries.get()));
    }

    /// Counts that the catalogue of models was read again, well or not.
    pub fn catalogue_refreshed(&self, ok: bool) {
        self.0.catalogue.with_label_values(&[if ok { "ok" } else { "failed" }]).inc();
    }

    /// A call of a model met the cache of answers: `exact`, `shared`, `semantic` or `miss`, or `embedding_failed`.
    pub fn model_cache(&self, result: &str) {
        self.0.model_cache.with_label_values(&[result]).inc();
    }

    /// Something was done beside an answer that was asked for (`quick`, `prefetch`), and this came of it.
    pub fn model_beside(&self, kind: &str, result: &str) {
        self.0.model_beside.with_label_values(&[kind, result]).inc();
    }

    /// How a model provider or one of its keys stands: 0 in use, 1 being tried, 2 set aside.
    pub fn breaker(&self, provider: &str, key: &str, standing: i64) {
        self.0.breakers.with_label_values(&[provider, key]).set(standing);
    }

    /// Counts a call of a language model that has ended: its tokens, and its cost in micro-dollars.
    pub fn model_call(&self, provider: &str, model: &str, input: u64, output: u64, cost_micros: i64) {
        self.0.models.count(provider, model, input, output, cost_micros);
    }

    /// Everything, in Prometheus' text format.
    pub fn text(&self) -> Result<String, prometheus::Error> {
        let mut page = Vec::new();
        prometheus::TextEncoder::new().encode(&self.0.registry.gather(), &mut page)?;
        Ok(String::from_utf8_lossy(&page).into_owned())
    }
}

/// Counts the calls of one method. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Rpc(Arc<Recorder>);

#[derive(Debug)]
struct Recorder {
    service: String,
    method: String,
    requests: IntCounterVec,
    /// Made when first needed: a series for every code of every method would be mostly zeros.
    codes: [OnceLock<IntCounter>; CODES.len()],
    latency: Histogram,
    open: IntGauge,
}

impl Rpc {
    /// A call has begun.
    pub fn start(&self) -> Call {
        self.0.open.inc();
        Call { rpc: self.clone(), start: Instant::now(), done: false }
    }
}

/// A call under way. Dropped without [`Call::finish`] it counts as cancelled: the client has left.
#[derive(Debug)]
pub struct Call {
    rpc: Rpc,
    start: Instant,
    done: bool,
}

impl Call {
    /// The call has ended with this gRPC code. Only the first end counts.
    pub fn finish(&mut self, code: i32) {
        if std::mem::replace(&mut self.done, true) {
            return;
        }
        let code = usize::try_from(code).ok().filter(|c| *c < CODES.len()).unwrap_or(UNKNOWN);
        let recorder = &self.rpc.0;
        let counter = recorder.codes[code]
            .get_or_init(|| recorder.requests.with_label_values(&[&recorder.service, &recorder.method, &CODES[code].to_owned()]));
        counter.inc();
        recorder.latency.observe(self.start.elapsed().as_secs_f64());
        recorder.open.dec();
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.finish(CANCELLED as i32);
    }
}

/// Serves `/metrics`.
#[derive(Debug)]
pub struct Exporter {
    listener: TcpListener,
    metrics: Metrics,
}

impl Exporter {
    /// Binds `telemetry.metrics_listen`. `None` when it is empty, or when it is a loopback address whose port is taken.
    pub async fn bind(settings: &crate::Settings, metrics: &Metrics) -> Result<Option<Exporter>, TelemetryError> {
        let address = &settings.metrics_listen;
        if address.is_empty() {
            return Ok(None);
        }
        match TcpListener::bind(address).await {
            Ok(listener) => Ok(Some(Exporter { listener, metrics: metrics.clone() })),
            Err(error) if is_loopback(address) => {
                tracing::warn!(%error, "metrics are off: telemetry.metrics_listen {address} cannot be used");
                Ok(None)
            }
            Err(source) => Err(TelemetryError::Bind { address: address.clone(), source }),
        }
    }

    /// The address that was bound.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves `/metrics`, and `/healthz` and `/readyz` for probes that cannot speak gRPC, until `shutdown` is cancelled.
    pub async fn run(self, shutdown: CancellationToken) {
        // A process that serves this page is alive and has started; when it is asked to stop, the page is the first to go.
        let probes = Router::new().route("/healthz", get(alive)).route("/readyz", get(alive));
        let app = probes.route("/metrics", get(page)).with_state(self.metrics);
        let served = axum::serve(self.listener, app).with_graceful_shutdown(shutdown.cancelled_owned()).await;
        if let Err(error) = served {
            tracing::error!(%error, "the metrics page is no longer served");
        }
    }
}

async fn alive() -> &'static str {
    "ok\n"
}

async fn page(State(metrics): State<Metrics>) -> impl IntoResponse {
    let kind = [(header::CONTENT_TYPE, HeaderValue::from_static(prometheus::TEXT_FORMAT))];
    match metrics.text() {
        Ok(text) => (StatusCode::OK, kind, text),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, kind, error.to_string()),
    }
}

fn is_loopback(address: &str) -> bool {
    address.parse::<SocketAddr>().is_ok_and(|a| a.ip().is_loopback())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::Settings;

    #[test]
    fn calls_are_counted_by_how_they_end() {
        let metrics = Metrics::new();
        let rpc = metrics.rpc("a.B", "C");
        let mut ok = rpc.start();
        ok.finish(0);
        ok.finish(13);
        drop(ok);
        drop(rpc.start());
        rpc.start().finish(99);
        let open = rpc.start();
        metrics.rate_limited("api");
        let text = metrics.text().unwrap();
        for line in [
            r#"slipway_requests_total{code="OK",method="C",service="a.B"} 1"#,
            r#"slipway_requests_total{code="CANCELLED",method="C",service="a.B"} 1"#,
            r#"slipway_requests_total{code="UNKNOWN",method="C",service="a.B"} 1"#,
            r#"slipway_request_seconds_count{method="C",service="a.B"} 3"#,
            r#"slipway_streams_open{method="C",service="a.B"} 1"#,
            r#"slipway_gateway_rate_limited_total{class="api"} 1"#,
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("INTERNAL"));
        drop(open);
    }

    #[test]
    fn what_waits_is_a_gauge() {
        let metrics = Metrics::new();
        metrics.outbox_lag("file_store", Duration::from_millis(2500));
        metrics.jobs("planner", "apply", "dead", 3);
        metrics.job_lag("planner", "apply", Duration::from_secs(7));
        metrics.redeliveries(4);
        metrics.redeliveries(6);
        let text = metrics.text().unwrap();
        for line in [
            r#"slipway_outbox_lag_seconds{store="file_store"} 2.5"#,
            r#"slipway_jobs{kind="apply",state="dead",store="planner"} 3"#,
            r#"slipway_job_lag_seconds{kind="apply",store="planner"} 7"#,
            "slipway_bus_redeliveries_total 6",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }

    #[tokio::test]
    async fn the_page_is_served_until_shutdown() {
        let metrics = Metrics::new();
        let settings = Settings { metrics_listen: "127.0.0.1:0".into(), ..Settings::default() };
        let exporter = Exporter::bind(&settings, &metrics).await.unwrap().unwrap();
        let address = exporter.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let server = tokio::spawn(exporter.run(shutdown.clone()));
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        #[cfg(target_os = "linux")]
        assert!(answer.contains("process_resident_memory_bytes"), "{answer}");
        shutdown.cancel();
        server.await.unwrap();
    }

    #[tokio::test]
    async fn a_taken_port_is_no_reason_not_to_start_on_loopback() {
        let metrics = Metrics::new();
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let settings = |listen: String| Settings { metrics_listen: listen, ..Settings::default() };
        let local = settings(taken.local_addr().unwrap().to_string());
        assert!(Exporter::bind(&local, &metrics).await.unwrap().is_none());
        let taken = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let open = settings(taken.local_addr().unwrap().to_string());
        assert!(Exporter::bind(&open, &metrics).await.unwrap_err().to_string().contains("telemetry.metrics_listen"));
        assert!(Exporter::bind(&settings(String::new()), &metrics).await.unwrap().is_none());
    }
}
