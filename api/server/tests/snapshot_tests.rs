//! Tests of snapshots through the REST surface, with a host that says what the test wants.
#![expect(clippy::unwrap_used, reason = "helpers of tests may")]

mod kit;

use kit::host::{host, news, pool, tell};
use kit::{Kit, code};
use tepui_client::Client;
use tepui_types::agent::{
    PoolObserved, PoolState, SnapshotObserved, StorageObserved, StoredState, TestObserved, TestOutcome,
    VolumeObserved,
};
use tepui_types::endpoint::{CreateSnapshot, CreateVolume, ListSnapshots, ShowSnapshot, TestSnapshot};
use tepui_types::rest::{CreateSnapshotRequest, CreateVolumeRequest, Empty, SnapshotState, SnapshotTest};
use tepui_types::{Digest, SnapshotTestId};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A cloud with one pool, its host, and a snapshot called `before`, as the host sees them.
struct Site {
    kit: Kit,
    agent: reqwest::Client,
    seen: StorageObserved,
}

impl Site {
    async fn start() -> Self {
        let kit = Kit::start().await;
        let agent = host(&kit).await;
        let id = pool(&kit, "node-1", "fast", "gp3").await.id;
        let state = PoolState::Ready { total_bytes: 100 << 30, used_bytes: 1 << 30 };
        let mut seen =
            StorageObserved { pools: vec![PoolObserved { id, state }], ..StorageObserved::default() };
        tell(&kit, &agent, 2, &[], Some(seen.clone())).await;
        let request = CreateVolumeRequest {
            size_gib: Some(1),
            name: Some("data".into()),
            ..CreateVolumeRequest::default()
        };
        let volume = kit.admin().call::<CreateVolume>(&[], &request).await.unwrap();
        let state = StoredState::Present { size_bytes: 1 << 30 };
        seen.volumes = vec![VolumeObserved { id: volume.id, state: state.clone() }];
        tell(&kit, &agent, 3, &[], Some(seen.clone())).await;
        let request = CreateSnapshotRequest {
            volume: "data".into(),
            description: String::new(),
            freeze: false,
            name: Some("before".into()),
            tags: [].into(),
        };
        let id = kit.admin().call::<CreateSnapshot>(&[], &request).await.unwrap().id;
        seen.snapshots = vec![SnapshotObserved { id, state }];
        Self { kit, agent, seen }
    }

    /// The host has carried out the test that it is told of.
    async fn ends(&self, sequence: u64, outcome: TestOutcome) {
        let reply = news(&self.kit, &self.agent).await;
        let mut parts = reply["parts"].as_array().unwrap().iter();
        let test =
            parts.find_map(|part| part.to_string().split("\"tests\":[{\"id\":\"").nth(1).map(id)).unwrap();
        let tests = vec![TestObserved { id: test, outcome }];
        tell(&self.kit, &self.agent, sequence, &[], Some(StorageObserved { tests, ..self.seen.clone() }))
            .await;
    }

    async fn metrics(&self) -> String {
        let mut stream = TcpStream::connect(self.kit.server.metrics_addr).await.unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }
}

/// An id is the text up to the next quotation mark.
fn id(text: &str) -> SnapshotTestId {
    text.split('"').next().unwrap().parse().unwrap()
}

/// What somebody is shown, alone and in the list.
async fn shown(client: &Client) -> Option<SnapshotTest> {
    let shown = client.call::<ShowSnapshot>(&["before"], &Empty {}).await.unwrap();
    let listed = client.call::<ListSnapshots>(&[], &Empty {}).await.unwrap().items.remove(0);
    assert_eq!(shown.test, listed.test);
    assert_ne!(shown.state, SnapshotState::Error);
    shown.test
}

#[tokio::test]
async fn a_test_is_ordered_and_its_outcome_shown_and_counted() {
    let site = Site::start().await;
    let admin = site.kit.admin();
    let test = async || admin.call::<TestSnapshot>(&["before"], &Empty {}).await;
    assert_eq!(code(test().await).0, 409, "it is not completed");
    tell(&site.kit, &site.agent, 4, &[], Some(site.seen.clone())).await;
    assert_eq!(shown(&admin).await, None);
    let ordered = test().await.unwrap().test.unwrap();
    assert!(ordered.ordered_at.is_some() && ordered.tested_at.is_none(), "{ordered:?}");
    assert!(site.metrics().await.contains("tepui_snapshot_tests{result=\"ordered\"} 1\n"));

    let digest = Digest::of(b"content");
    site.ends(5, TestOutcome::Read { digest }).await;
    let passed = shown(&admin).await.unwrap();
    assert!(passed.ordered_at.is_none() && passed.tested_at.is_some(), "{passed:?}");
    assert_eq!((passed.digest, passed.failure), (Some(digest), None));
    assert!(site.metrics().await.contains("tepui_snapshot_tests{result=\"passed\"} 1\n"));

    test().await.unwrap();
    let why = "/srv/fast/tmp/x: Input/output error (os error 5)".to_owned();
    site.ends(6, TestOutcome::Failed { message: why.clone() }).await;
    assert_eq!(shown(&admin).await.unwrap().failure, Some(why));
    let colleague = site.kit.colleague("mia").await;
    let told = shown(&colleague).await.unwrap().failure.unwrap();
    assert_eq!(
        told, "the snapshot could not be restored as it was: take a new one",
        "the rest is its host's"
    );
    assert!(site.metrics().await.contains("tepui_snapshot_tests{result=\"failed\"} 1\n"));
}
