//! What snapshots hold, from a host that is this test to readers of the REST surface.
#![expect(clippy::unwrap_used, reason = "helpers of tests may")]

mod kit;

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream;
use kit::host::{agent, csr, host, join_token, news, pool, tell, url};
use kit::{Kit, code, until};
use rcgen::KeyPair;
use reqwest::{Body, Response, StatusCode};
use serde_json::json;
use tepui_client::DownloadProgress;
use tepui_types::agent::{
    PoolObserved, PoolState, SnapshotObserved, StorageObserved, StoredState, VolumeObserved, WantedSending,
};
use tepui_types::endpoint::{CopySnapshot, CreateSnapshot, CreateVolume, DownloadSnapshot, ShowSnapshot};
use tepui_types::frames::{Encoder, PIECE_BYTES, RAW_SIZE_HEADER};
use tepui_types::rest::{
    CopySnapshotRequest, CreateSnapshotRequest, CreateVolumeRequest, DownloadSnapshotRequest, Empty,
    Snapshot, SnapshotState,
};
use tokio::sync::Notify;

const BYTES: usize = 3 * PIECE_BYTES + 5;

/// A cloud with a snapshot, and its host.
struct Site {
    kit: Kit,
    agent: reqwest::Client,
    snapshot: Snapshot,
}

impl Site {
    async fn start() -> Self {
        let kit = Kit::start().await;
        let (agent, admin) = (host(&kit).await, kit.admin());
        let pool = pool(&kit, "node-1", "fast", "gp3").await;
        let ready = PoolState::Ready { total_bytes: 100 << 30, used_bytes: 0 };
        let mut seen = StorageObserved {
            pools: vec![PoolObserved { id: pool.id, state: ready }],
            ..StorageObserved::default()
        };
        let there = StoredState::Present { size_bytes: 1 << 30 };
        tell(&kit, &agent, 2, &[], Some(seen.clone())).await;
        let volume =
            CreateVolumeRequest { size_gib: Some(1), name: Some("data".into()), ..Default::default() };
        let volume = admin.call::<CreateVolume>(&[], &volume).await.unwrap();
        seen.volumes = vec![VolumeObserved { id: volume.id, state: there.clone() }];
        tell(&kit, &agent, 3, &[], Some(seen.clone())).await;
        let snapshot = CreateSnapshotRequest {
            volume: "data".into(),
            description: String::new(),
            freeze: false,
            name: Some("before".into()),
            tags: [].into(),
        };
        let snapshot = admin.call::<CreateSnapshot>(&[], &snapshot).await.unwrap();
        let site = Self { kit, agent, snapshot };
        assert_eq!(site.ask(0).await.status(), StatusCode::CONFLICT, "it is not taken yet");
        seen.snapshots = vec![SnapshotObserved { id: site.snapshot.id, state: there }];
        tell(&site.kit, &site.agent, 4, &[], Some(seen)).await;
        site
    }

    /// Asks for the content; answered once the host has.
    async fn ask(&self, offset: u64) -> Response {
        let url = format!("{}/v1/snapshots/before/content?offset={offset}", self.kit.url());
        reqwest::Client::new().get(url).bearer_auth(&self.kit.first.token).send().await.unwrap()
    }

    /// What the host is asked for.
    async fn order(&self) -> WantedSending {
        let asked = async || {
            let reply = news(&self.kit, &self.agent).await;
            let orders: Vec<WantedSending> = serde_json::from_value(reply["wanted_sendings"].clone()).ok()?;
            orders.into_iter().next()
        };
        let order = until(asked).await;
        assert_eq!((order.snapshot_id, order.pool_id.to_string().len()), (self.snapshot.id, 22));
        order
    }

    /// A second host.
    async fn other_host(&self) -> reqwest::Client {
        let key = KeyPair::generate().unwrap();
        let request = json!({
            "token": join_token(&self.kit).await, "machine_uuid": "7a2c1a52-4b0b-4b59-9a0f-0f4f4f0a7c12",
            "name": "node-2", "csr_pem": csr(&key), "underlay_address": "10.213.0.12",
            "capacity": { "vcpus": 4, "memory_mib": 8192, "disk_gib": 100 },
        });
        let path = url(&self.kit, "/agent/v1/enrol");
        let joined = agent(&self.kit, None).post(path).json(&request).send().await.unwrap();
        let joined: serde_json::Value = joined.json().await.unwrap();
        agent(&self.kit, Some((joined["certificate_pem"].as_str().unwrap(), &key)))
    }

    fn path(&self, order: &WantedSending) -> String {
        url(&self.kit, &format!("/agent/v1/sendings/{}", order.id))
    }

    async fn bring(
        &self,
        order: &WantedSending,
        raw_bytes: usize,
        body: impl Into<Body>,
    ) -> reqwest::Result<StatusCode> {
        let request = self.agent.post(self.path(order)).header(RAW_SIZE_HEADER, raw_bytes).body(body);
        request.send().await.map(|response| response.status())
    }
}

fn content() -> Vec<u8> {
    let mut content = vec![0; BYTES];
    content[..100].fill(1);
    content[2 * PIECE_BYTES..].fill(2);
    content
}

fn frames(content: &[u8]) -> Vec<u8> {
    let (mut encoder, mut frames) = (Encoder::new().unwrap(), Vec::new());
    for piece in content.chunks(PIECE_BYTES) {
        encoder.piece(piece, &mut frames).unwrap();
    }
    frames
}

/// Bytes that come, and then, once they were read, nothing more: the line breaks.
fn breaking(bytes: Vec<u8>, once_read: &Arc<Notify>) -> Body {
    let once_read = Arc::clone(once_read);
    let end = async move {
        once_read.notified().await;
        Err(std::io::Error::other("the host died"))
    };
    Body::wrap_stream(stream::iter([Ok(Bytes::from(bytes))]).chain(stream::once(end)))
}

#[tokio::test]
async fn content_goes_from_its_host_to_its_reader() {
    let site = Site::start().await;
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("data.raw");
    let admin = site.kit.admin();
    let read = Arc::<Notify>::default();
    let tell = |at: DownloadProgress| {
        if at.received == 3 * PIECE_BYTES as u64 {
            read.notify_one();
        }
    };
    let reader = admin.download_snapshot(site.snapshot.id, &to, tell);
    let host = async {
        let order = site.order().await;
        assert_eq!(order.offset, 0);
        let all = frames(&content());
        assert!(site.bring(&order, BYTES, breaking(all[..all.len() - 9].to_vec(), &read)).await.is_err());
        let order = site.order().await;
        assert_eq!(order.offset, 3 * PIECE_BYTES as u64, "it goes on behind the last whole piece");
        let rest = frames(&content()[3 * PIECE_BYTES..]);
        assert_eq!(site.bring(&order, BYTES, rest).await.unwrap(), StatusCode::OK);
    };
    let (done, ()) = tokio::join!(reader, host);
    assert_eq!(done.unwrap(), BYTES as u64);
    assert!(std::fs::read(&to).unwrap() == content());
}

#[tokio::test]
async fn the_reply_is_what_it_says_and_its_end_comes_last() {
    let site = Site::start().await;
    let host = async {
        let order = site.order().await;
        site.bring(&order, BYTES, frames(&content())).await.unwrap()
    };
    let reader = async {
        let response = site.ask(0).await;
        assert_eq!(response.headers()["content-type"], "application/zstd");
        assert_eq!(response.headers()[RAW_SIZE_HEADER], BYTES.to_string());
        response.bytes().await.unwrap()
    };
    let (read, brought) = tokio::join!(reader, host);
    assert!(read == frames(&content()));
    assert_eq!(brought, StatusCode::OK);
}

#[tokio::test]
async fn content_is_its_projects_and_what_a_host_was_not_asked_for_is_not_taken() {
    let site = Site::start().await;
    let id = site.snapshot.id.to_string();
    let stranger = site.kit.member("mia").await;
    let download = stranger.call::<DownloadSnapshot>(&[&id], &DownloadSnapshotRequest::default()).await;
    assert_eq!(code(download).0, 404);

    let other = site.other_host().await;
    let host = async {
        let order = site.order().await;
        assert_eq!(news(&site.kit, &other).await["wanted_sendings"], json!(null));
        let lies = other.post(site.path(&order)).header(RAW_SIZE_HEADER, 5).body("lies").send().await;
        assert_eq!(lies.unwrap().status(), StatusCode::NOT_FOUND);
        let refusal = other.delete(site.path(&order)).send().await.unwrap().status();
        assert_eq!(refusal, StatusCode::NOT_FOUND);
        let nobody = agent(&site.kit, None).post(site.path(&order)).body("lies").send().await.unwrap();
        assert_eq!(nobody.status(), StatusCode::UNAUTHORIZED);
        let unsaid = site.agent.post(site.path(&order)).body("…").send().await.unwrap().status();
        assert_eq!(unsaid, StatusCode::BAD_REQUEST);
        assert_eq!(site.bring(&order, 3, frames(b"abc")).await.unwrap(), StatusCode::OK);
        assert_eq!(site.bring(&order, 3, frames(b"abc")).await.unwrap(), StatusCode::NOT_FOUND, "once");
    };
    let (response, ()) = tokio::join!(async { site.ask(0).await.bytes().await.unwrap() }, host);
    assert!(response == frames(b"abc"));
}

#[tokio::test]
async fn a_host_that_breaks_off_or_sends_too_much_breaks_its_reader_off() {
    let site = Site::start().await;
    let has_come = Arc::<Notify>::default();
    let read = async || {
        let mut response = site.ask(0).await;
        response.chunk().await.unwrap().unwrap();
        has_come.notify_one();
        response.bytes().await
    };
    let broken = async {
        let order = site.order().await;
        site.bring(&order, BYTES, breaking(frames(&content()), &has_come)).await
    };
    let (read_of_broken, brought) = tokio::join!(read(), broken);
    assert!(read_of_broken.is_err() && brought.is_err());
    let endless = async {
        let order = site.order().await;
        let ones = stream::repeat(Bytes::from_static(&[1; 4096])).map(Ok::<_, std::io::Error>);
        site.bring(&order, BYTES, Body::wrap_stream(ones)).await
    };
    let (read_of_endless, brought) = tokio::join!(read(), endless);
    assert!(read_of_endless.is_err());
    assert!(brought.is_err() || brought.unwrap() == StatusCode::CONFLICT);
}

#[tokio::test]
async fn a_reader_that_goes_ends_its_host() {
    let site = Site::start().await;
    let reader = async {
        let mut response = site.ask(0).await;
        response.chunk().await.unwrap().unwrap();
    };
    let host = async {
        let order = site.order().await;
        let ones = stream::repeat(Bytes::from_static(&[1; 4096])).map(Ok::<_, std::io::Error>);
        site.bring(&order, 1 << 40, Body::wrap_stream(ones)).await
    };
    let ((), brought) = tokio::join!(reader, host);
    assert!(brought.is_err() || brought.unwrap() == StatusCode::CONFLICT);
}

#[tokio::test]
async fn what_a_host_cannot_send_and_an_offset_behind_the_end_are_refused() {
    let site = Site::start().await;
    let refusing = async {
        let order = site.order().await;
        assert_eq!(site.agent.delete(site.path(&order)).send().await.unwrap().status(), StatusCode::OK);
    };
    let (response, ()) = tokio::join!(site.ask(0), refusing);
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    let body: serde_json::Value = response.json().await.unwrap();
    let why = format!("'{}' cannot be read now: its host cannot open it", site.snapshot.id);
    assert_eq!(body["message"], why);
    let behind = async {
        let order = site.order().await;
        site.bring(&order, BYTES, "").await
    };
    let (response, _) = tokio::join!(site.ask(BYTES as u64 + 1), behind);
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    let body: serde_json::Value = response.json().await.unwrap();
    let why = format!("offset '{}': is at most {BYTES}, the snapshot's size", BYTES + 1);
    assert_eq!(body["message"], why);
}

#[tokio::test]
async fn a_copy_to_another_host_is_brought_to_that_host_and_to_no_other() {
    let site = Site::start().await;
    let (admin, other) = (site.kit.admin(), site.other_host().await);
    let path = url(&site.kit, &format!("/agent/v1/snapshots/{}/content", site.snapshot.id));
    let read = async |agent: &reqwest::Client| agent.get(&path).send().await.unwrap();
    assert_eq!(read(&other).await.status(), StatusCode::NOT_FOUND, "it has nothing to copy");
    tell(&site.kit, &other, 1, &[], None).await;
    let far = pool(&site.kit, "node-2", "far", "st1").await;
    let ready = PoolState::Ready { total_bytes: 100 << 30, used_bytes: 0 };
    let seen = StorageObserved {
        pools: vec![PoolObserved { id: far.id, state: ready }],
        ..StorageObserved::default()
    };
    tell(&site.kit, &other, 2, &[], Some(seen.clone())).await;
    let request = CopySnapshotRequest { class: Some("st1".into()), ..CopySnapshotRequest::default() };
    let copy = admin.call::<CopySnapshot>(&["before"], &request).await.unwrap();
    assert_eq!((copy.copy_of, copy.state), (Some(site.snapshot.id), SnapshotState::Pending));
    assert_eq!(read(&site.agent).await.status(), StatusCode::NOT_FOUND, "its own host does not copy it");
    let host = async {
        let order = site.order().await;
        site.bring(&order, BYTES, frames(&content())).await.unwrap()
    };
    let copying = async {
        let response = read(&other).await;
        assert_eq!(response.headers()[RAW_SIZE_HEADER], BYTES.to_string());
        response.bytes().await.unwrap()
    };
    let (read_by_other, brought) = tokio::join!(copying, host);
    assert!(read_by_other == frames(&content()));
    assert_eq!(brought, StatusCode::OK);
    let there = StoredState::Present { size_bytes: BYTES as u64 };
    let seen = StorageObserved { snapshots: vec![SnapshotObserved { id: copy.id, state: there }], ..seen };
    tell(&site.kit, &other, 3, &[], Some(seen)).await;
    let made = admin.call::<ShowSnapshot>(&[&copy.id.to_string()], &Empty {}).await.unwrap();
    assert_eq!(made.state, SnapshotState::Completed);
    assert_eq!(read(&other).await.status(), StatusCode::NOT_FOUND, "it has it");
}
