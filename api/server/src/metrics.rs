//! What the control plane counts, as OpenMetrics.

mod pools;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use tepui_core::{Cloud, Error};
use tepui_db::Db;
use tepui_db_sqlite::SqliteDb;
use tokio::sync::Mutex;

use self::pools::Pools;
use crate::app::App;

/// Put into a response's extensions by whoever knows the operation's name.
#[derive(Debug, Clone)]
pub(crate) struct Action(pub(crate) Cow<'static, str>);

/// Put into a response's extensions where it is a refusal.
#[derive(Debug, Clone)]
pub(crate) struct Code(pub(crate) Cow<'static, str>);

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    surface: &'static str,
    action: String,
    code: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ActionLabels {
    surface: &'static str,
    action: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    state: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    result: &'static str,
}

/// The surface of the hosts.
pub(crate) const AGENTS: &str = "agents";

/// Upper bounds in seconds. A durable change takes a few milliseconds, a poll a minute.
const BUCKETS: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 60.0];

/// The counters, and where the rest is read from at each scrape.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    seconds: Family<ActionLabels, Histogram>,
    instances: Family<StateLabels, Gauge>,
    nodes: Family<StateLabels, Gauge>,
    ending: Family<StateLabels, Gauge>,
    snapshot_tests: Family<ResultLabels, Gauge>,
    unfrozen: Gauge,
    pools: Pools,
    commits: Counter,
    db: Arc<SqliteDb>,
    /// One scrape at a time: it fills gauges before it reads them.
    scrape: Mutex<()>,
}

fn empty_histogram() -> Histogram {
    Histogram::new(BUCKETS)
}

impl Metrics {
    pub(crate) fn new(db: Arc<SqliteDb>) -> Self {
        let mut registry = Registry::with_prefix("tepui");
        let requests = Family::default();
        let seconds = Family::new_with_constructor(empty_histogram as fn() -> Histogram);
        let (instances, nodes, commits) = (Family::default(), Family::default(), Counter::default());
        registry.register("requests", "Requests by surface, action and outcome", requests.clone());
        registry.register("request_seconds", "Time until the answer", seconds.clone());
        registry.register("instances", "Instances by state", instances.clone());
        registry.register("nodes", "Nodes by state", nodes.clone());
        let ending = Family::default();
        let help = "Volumes whose owners are warned of their deletion, and those whose time has come";
        registry.register("volumes_ending", help, ending.clone());
        let snapshot_tests = Family::default();
        let help = "Snapshots whose last test passed or failed, and those of which one is ordered";
        registry.register("snapshot_tests", help, snapshot_tests.clone());
        let unfrozen = Gauge::default();
        let help = "Schedules of snapshots with a freeze whose guests did not all hold still the last time";
        registry.register("snapshot_schedules_unfrozen", help, unfrozen.clone());
        let pools = Pools::register(&mut registry);
        registry.register("db_commits", "Commits of the database", commits.clone());
        let version = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The running program", version);
        Self {
            registry,
            requests,
            seconds,
            instances,
            nodes,
            ending,
            snapshot_tests,
            unfrozen,
            pools,
            commits,
            db,
            scrape: Mutex::default(),
        }
    }

    fn count(&self, surface: &'static str, response: &Response, took: Duration) {
        let extensions = response.extensions();
        let action = extensions.get::<Action>().map_or("none", |action| action.0.as_ref()).to_owned();
        let code = extensions.get::<Code>().map_or("ok", |code| code.0.as_ref()).to_owned();
        let (status, ms) = (response.status().as_u16(), took.as_secs_f64() * 1e3);
        // Thousands of hosts poll and report all the time; what goes well is counted, not told.
        if surface == AGENTS && response.status().is_success() {
            tracing::debug!(surface, action, code, status, ms);
        } else {
            tracing::info!(surface, action, code, status, ms);
        }
        let labels = ActionLabels { surface, action: action.clone() };
        self.seconds.get_or_create(&labels).observe(took.as_secs_f64());
        self.requests.get_or_create(&RequestLabels { surface, action, code }).inc();
    }

    /// The whole exposition.
    async fn text(&self, cloud: &Cloud) -> Result<String, Error> {
        let _alone = self.scrape.lock().await;
        let db: &dyn Db = self.db.as_ref();
        let (instances, nodes) = (db.instance_counts().await?, db.nodes().await?);
        let state = |state: &dyn std::fmt::Debug| StateLabels { state: format!("{state:?}").to_lowercase() };
        self.instances.clear();
        for (name, count) in &instances {
            self.instances.get_or_create(&state(name)).set(i64::try_from(*count).unwrap_or(i64::MAX));
        }
        self.nodes.clear();
        for load in &nodes {
            self.nodes.get_or_create(&state(&load.node.state)).inc();
        }
        self.ending.clear();
        for (_, ends) in &cloud.warned_volumes().await? {
            self.ending.get_or_create(&state(ends)).inc();
        }
        let tests = db.snapshot_test_counts().await?;
        for (result, count) in
            [("ordered", tests.ordered), ("passed", tests.passed), ("failed", tests.failed)]
        {
            let labels = ResultLabels { result };
            self.snapshot_tests.get_or_create(&labels).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        self.unfrozen.set(i64::try_from(db.unfrozen_schedules().await?).unwrap_or(i64::MAX));
        self.pools.fill(&cloud.pool_views().await?);
        let commits = self.db.commits();
        self.commits.inc_by(commits.saturating_sub(self.commits.get()));
        let mut text = String::new();
        encode(&mut text, &self.registry)
            .map_err(|error| Error::Internal { what: format!("the metrics cannot be written: {error}") })?;
        Ok(text)
    }
}

/// Middleware: counts and logs a request of one surface.
pub(crate) async fn measure(
    State((metrics, surface)): State<(Arc<Metrics>, &'static str)>,
    request: Request,
    next: Next,
) -> Response {
    let begun = Instant::now();
    let response = next.run(request).await;
    metrics.count(surface, &response, begun.elapsed());
    response
}

/// `GET /metrics`.
pub(crate) async fn serve(State(app): State<Arc<App>>) -> Response {
    const TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match app.metrics.text(&app.cloud).await {
        Ok(text) => ([(header::CONTENT_TYPE, TYPE)], text).into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()).into_response(),
    }
}
