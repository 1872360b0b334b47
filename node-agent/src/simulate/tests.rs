//! A simulated node against a control plane on loopback: the whole agent in one process.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::{Path as UrlPath, State};
use axum::routing::{post, put};
use axum::{Json, Router};
use tepui_types::agent::{
    CONSOLE_PATH, ENROL_PATH, EnrolReply, EnrolRequest, POLL_PATH, Part, PlacementState, PollReply,
    PollRequest, REPORT_PATH, Report, ReportReply,
};
use tepui_types::{Digest, Epoch};
use tokio::sync::watch;

use super::*;
use crate::testing::control_plane::{Issuer, authority, certify, control_plane};
use crate::testing::{node_id, node_part, placement, running, vpc_part};

const PATIENCE: Duration = Duration::from_secs(20);

struct Cloud {
    issuer: Issuer,
    parts: watch::Sender<Vec<Part>>,
    reports: watch::Sender<Option<Report>>,
    console: watch::Sender<Option<String>>,
    wants_console: Mutex<bool>,
    uploads_hang: AtomicBool,
}

impl Cloud {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            issuer: authority(),
            parts: watch::channel(Vec::new()).0,
            reports: watch::channel(None).0,
            console: watch::channel(None).0,
            wants_console: Mutex::new(true),
            uploads_hang: AtomicBool::new(false),
        })
    }

    async fn listen(self: &Arc<Self>) -> url::Url {
        let router = Router::new()
            .route(ENROL_PATH, post(enrol))
            .route(POLL_PATH, post(poll))
            .route(REPORT_PATH, post(report))
            .route(CONSOLE_PATH, put(console));
        control_plane(&self.issuer, router.with_state(Arc::clone(self))).await
    }

    async fn reported(&self, state: &PlacementState) -> Report {
        let mut reports = self.reports.subscribe();
        let is_there = |report: &Option<Report>| {
            let placements = report.iter().flat_map(|report| &report.observed.placements);
            placements.into_iter().any(|placement| placement.state == *state)
        };
        let waited = tokio::time::timeout(PATIENCE, reports.wait_for(is_there)).await;
        waited.expect("in time").unwrap().clone().unwrap()
    }
}

async fn enrol(State(cloud): State<Arc<Cloud>>, Json(request): Json<EnrolRequest>) -> Json<EnrolReply> {
    Json(EnrolReply { node_id: node_id(), certificate_pem: certify(&cloud.issuer, &request.csr_pem) })
}

async fn poll(State(cloud): State<Arc<Cloud>>, Json(request): Json<PollRequest>) -> Json<PollReply> {
    let mut parts = cloud.parts.subscribe();
    let is_news = |part: &Part| !request.have.iter().any(|have| have.key == part.key);
    let wait = parts.wait_for(|parts| parts.iter().any(is_news));
    let parts = match tokio::time::timeout(Duration::from_millis(300), wait).await {
        Ok(parts) => parts.unwrap().iter().filter(|part| is_news(part)).cloned().collect(),
        Err(_) => Vec::new(),
    };
    let wants = *cloud.wants_console.lock().unwrap() && !request.have.is_empty();
    let wanted_consoles = if wants { vec![placement(1)] } else { Vec::new() };
    let wants_report = request.reported > 0 && cloud.reports.borrow().is_none();
    Json(PollReply { epoch: Epoch(1), parts, wanted_consoles, wanted_sendings: Vec::new(), wants_report })
}

async fn report(State(cloud): State<Arc<Cloud>>, Json(report): Json<Report>) -> Json<ReportReply> {
    cloud.reports.send_replace(Some(report));
    Json(ReportReply { epoch: Epoch(1) })
}

async fn console(State(cloud): State<Arc<Cloud>>, UrlPath(id): UrlPath<PlacementId>, text: String) {
    if cloud.uploads_hang.load(Ordering::SeqCst) {
        std::future::pending::<()>().await;
    }
    assert_eq!(id, placement(1));
    if !text.is_empty() {
        *cloud.wants_console.lock().unwrap() = false;
        cloud.console.send_replace(Some(text));
    }
}

fn chance(run: u64) -> Chance {
    Chance { clock: || Timestamp::UNIX_EPOCH, run, boot_id: "boot-1".to_owned() }
}

fn config(api_url: url::Url, dir: &Path, tokens: Vec<String>) -> SimulationConfig {
    SimulationConfig {
        api_url,
        data_dir: dir.to_owned(),
        count: 1,
        join_tokens: tokens,
        join_tokens_file: None,
        start_ms: 0,
        failure_percent: 0,
        seed: 1,
        vcpus: 8,
        memory_mib: 1024,
        disk_gib: 10,
    }
}

#[tokio::test]
async fn a_simulated_node_joins_runs_a_guest_shows_its_console_and_survives_its_process() {
    let cloud = Cloud::new();
    let url = cloud.listen().await;
    let dir = tempfile::tempdir().unwrap();
    let token = format!("secret.{}", Digest::of(cloud.issuer.der()));
    let agents = start(&config(url.clone(), dir.path(), vec![token]), &chance(1)).await.unwrap();
    assert_eq!(agents[0].node_id(), node_id());
    cloud.parts.send_replace(vec![vpc_part(1), node_part(1, vec![running(placement(1), 1, 0)])]);
    let state = PlacementState::Running { start_seq: 1, reboot_seq: 0 };
    let first = cloud.reported(&state).await;
    assert_eq!((first.epoch, first.agent_run), (Epoch(1), 1));
    let mut console = cloud.console.subscribe();
    let waited = tokio::time::timeout(PATIENCE, console.wait_for(Option::is_some)).await;
    let text = waited.expect("in time").unwrap().clone().unwrap();
    assert_eq!(text, format!("simulated console of {}\n", tepui_types::InstanceId::from_random(1)));
    drop(agents);
    cloud.reports.send_replace(None);
    let _agents = start(&config(url, dir.path(), Vec::new()), &chance(2)).await.unwrap();
    assert_eq!(cloud.reported(&state).await.agent_run, 2);
}

#[tokio::test]
async fn a_control_plane_that_lost_the_report_is_told_again() {
    let cloud = Cloud::new();
    let url = cloud.listen().await;
    let dir = tempfile::tempdir().unwrap();
    let token = format!("secret.{}", Digest::of(cloud.issuer.der()));
    let _agents = start(&config(url, dir.path(), vec![token]), &chance(1)).await.unwrap();
    let mut reports = cloud.reports.subscribe();
    let is_settled = |report: &Option<Report>| report.is_some();
    tokio::time::timeout(PATIENCE, reports.wait_for(is_settled)).await.expect("in time").unwrap();
    cloud.reports.send_replace(None);
    tokio::time::timeout(PATIENCE, reports.wait_for(is_settled)).await.expect("told again").unwrap();
}

#[tokio::test]
async fn a_console_that_cannot_be_sent_holds_up_no_start() {
    let cloud = Cloud::new();
    cloud.uploads_hang.store(true, Ordering::SeqCst);
    let url = cloud.listen().await;
    let dir = tempfile::tempdir().unwrap();
    let token = format!("secret.{}", Digest::of(cloud.issuer.der()));
    let _agents = start(&config(url, dir.path(), vec![token]), &chance(1)).await.unwrap();
    cloud.parts.send_replace(vec![vpc_part(1)]);
    let has_network = |report: &Option<Report>| report.iter().any(|one| one.observed.applied.len() == 1);
    let mut reports = cloud.reports.subscribe();
    tokio::time::timeout(PATIENCE, reports.wait_for(has_network)).await.expect("in time").unwrap();
    cloud.parts.send_replace(vec![vpc_part(1), node_part(1, vec![running(placement(1), 1, 0)])]);
    cloud.reported(&PlacementState::Running { start_seq: 1, reboot_seq: 0 }).await;
}

#[tokio::test]
async fn nodes_without_tokens_are_counted_before_any_joins() {
    let dir = tempfile::tempdir().unwrap();
    let config = SimulationConfig {
        count: 3,
        ..config("https://127.0.0.1:1".parse().unwrap(), dir.path(), Vec::new())
    };
    let Err(error) = start(&config, &chance(1)).await else { panic!("started") };
    assert_eq!(error.to_string(), "join_tokens has 0 tokens; 3 nodes have not joined yet");
}
