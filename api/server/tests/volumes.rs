//! Volumes and snapshots through the REST surface, with a host that says what the test wants.
#![expect(clippy::unwrap_used, reason = "helpers of tests may")]

mod kit;

use kit::host::{host, pool, tell};
use kit::{Kit, code};
use tepui_types::agent::{
    PoolObserved, PoolState, SnapshotObserved, StorageObserved, StoredState, VolumeObserved,
};
use tepui_types::endpoint::{
    CopySnapshot, CreateSnapshot, CreateSnapshotSchedule, CreateVolume, DeleteSnapshot,
    DeleteSnapshotSchedule, DeleteVolume, DetachVolume, ListSnapshotSchedules, ListSnapshots, ModifyVolume,
    ShowSnapshot, ShowSnapshotSchedule, ShowVolume,
};
use tepui_types::rest::{
    CopySnapshotRequest, CreateSnapshotRequest, CreateSnapshotScheduleRequest, CreateVolumeRequest,
    DetachVolumeRequest, Empty, ModifyVolumeRequest, Pool, Snapshot, SnapshotConsistency, SnapshotState,
    Volume, VolumeState,
};

/// A cloud with one pool, and its host.
struct Site {
    kit: Kit,
    agent: reqwest::Client,
    pool: Pool,
}

impl Site {
    async fn start() -> Self {
        let kit = Kit::start().await;
        let agent = host(&kit).await;
        let pool = pool(&kit, "node-1", "fast", "gp3").await;
        let site = Self { kit, agent, pool };
        site.says(2, &[], &[]).await;
        site
    }

    async fn says(&self, sequence: u64, volumes: &[VolumeObserved], snapshots: &[SnapshotObserved]) {
        let ready = PoolState::Ready { total_bytes: 100 << 30, used_bytes: 1 << 30 };
        let storage = StorageObserved {
            pools: vec![PoolObserved { id: self.pool.id, state: ready }],
            volumes: volumes.to_vec(),
            snapshots: snapshots.to_vec(),
            exports: Vec::new(),
            leftovers: Vec::new(),
            tests: Vec::new(),
        };
        tell(&self.kit, &self.agent, sequence, &[], Some(storage)).await;
    }

    async fn volume(&self, name: &str) -> Volume {
        let request = CreateVolumeRequest {
            size_gib: Some(1),
            name: Some(name.into()),
            ..CreateVolumeRequest::default()
        };
        self.kit.admin().call::<CreateVolume>(&[], &request).await.unwrap()
    }

    /// A snapshot of a volume that the host has made.
    async fn snapshot(&self, name: &str) -> (VolumeObserved, Snapshot) {
        let volume = self.volume("data").await;
        let made = VolumeObserved { id: volume.id, state: StoredState::Present { size_bytes: 1 << 30 } };
        self.says(3, std::slice::from_ref(&made), &[]).await;
        let request = CreateSnapshotRequest {
            volume: "data".into(),
            description: String::new(),
            freeze: false,
            name: Some(name.into()),
            tags: [].into(),
        };
        (made, self.kit.admin().call::<CreateSnapshot>(&[], &request).await.unwrap())
    }
}

#[tokio::test]
async fn a_name_is_free_while_its_volume_or_snapshot_is_being_deleted() {
    let site = Site::start().await;
    let admin = site.kit.admin();
    let (made, snapshot) = site.snapshot("before").await;
    let taken = SnapshotObserved { id: snapshot.id, state: StoredState::Present { size_bytes: 0 } };
    site.says(4, &[made], &[taken]).await;
    let id = snapshot.id.to_string();
    admin.call::<DeleteSnapshot>(&["before"], &Empty {}).await.unwrap();
    assert_eq!(code(admin.call::<ShowSnapshot>(&["before"], &Empty {}).await).0, 404);
    assert_eq!(code(admin.call::<ShowSnapshot>(&[&id[..12]], &Empty {}).await).0, 404);
    let shown = admin.call::<ShowSnapshot>(&[&id], &Empty {}).await.unwrap();
    assert_eq!(shown.state, SnapshotState::Deleting);

    let id = snapshot.volume_id.unwrap().to_string();
    admin.call::<DeleteVolume>(&["data"], &Empty {}).await.unwrap();
    assert_eq!(code(admin.call::<ShowVolume>(&["data"], &Empty {}).await).0, 404);
    assert_eq!(code(admin.call::<ShowVolume>(&[&id[..12]], &Empty {}).await).0, 404);
    let shown = admin.call::<ShowVolume>(&[&id], &Empty {}).await.unwrap();
    assert_eq!(shown.state, VolumeState::Deleting);
    let next = site.volume("data").await;
    assert_eq!(admin.call::<ShowVolume>(&["data"], &Empty {}).await.unwrap().id, next.id);
}

#[tokio::test]
async fn a_volume_is_made_read_only_of_a_snapshot_and_switched() {
    let site = Site::start().await;
    let admin = site.kit.admin();
    let (made, snapshot) = site.snapshot("before").await;
    let taken = SnapshotObserved { id: snapshot.id, state: StoredState::Present { size_bytes: 0 } };
    site.says(4, std::slice::from_ref(&made), std::slice::from_ref(&taken)).await;
    let empty = CreateVolumeRequest { size_gib: Some(1), read_only: true, ..CreateVolumeRequest::default() };
    assert_eq!(code(admin.call::<CreateVolume>(&[], &empty).await).0, 400);
    let golden = CreateVolumeRequest {
        snapshot: Some("before".into()),
        name: Some("golden".into()),
        read_only: true,
        ..CreateVolumeRequest::default()
    };
    let volume = admin.call::<CreateVolume>(&[], &golden).await.unwrap();
    assert!(volume.read_only && volume.attachments.is_empty());
    let there = VolumeObserved { id: volume.id, ..made.clone() };
    site.says(5, &[made, there], &[taken]).await;
    let off = ModifyVolumeRequest { read_only: Some(false), ..ModifyVolumeRequest::default() };
    let volume = admin.call::<ModifyVolume>(&["golden"], &off).await.unwrap();
    let change = volume.modification.unwrap();
    assert_eq!((volume.read_only, change.original_read_only, change.target_read_only), (false, true, false));
    let of_nobody = DetachVolumeRequest { instance: Some("nobody".into()), force: false };
    assert_eq!(code(admin.call::<DetachVolume>(&["golden"], &of_nobody).await).0, 404);
}

#[tokio::test]
async fn what_a_host_says_of_a_snapshot_that_failed_is_for_administrators() {
    let site = Site::start().await;
    let (made, snapshot) = site.snapshot("before").await;
    let why = "reflink of /srv/fast/volumes/1: no space left".to_owned();
    let state = StoredState::Failed { message: why.clone(), permanent: true };
    site.says(4, &[made], &[SnapshotObserved { id: snapshot.id, state }]).await;
    let told = async |client: tepui_client::Client| {
        let shown = client.call::<ShowSnapshot>(&["before"], &Empty {}).await.unwrap();
        let listed = client.call::<ListSnapshots>(&[], &Empty {}).await.unwrap().items.remove(0);
        assert_eq!((shown.state, &shown.trouble), (SnapshotState::Error, &listed.trouble));
        shown.trouble
    };
    assert_eq!(told(site.kit.admin()).await, Some(why));
    let colleague = site.kit.colleague("mia").await;
    assert_eq!(told(colleague).await.as_deref(), Some("the snapshot could not be taken"));
}

#[tokio::test]
async fn a_snapshot_is_copied_to_a_class_or_by_administrators_to_a_pool() {
    let site = Site::start().await;
    let (made, snapshot) = site.snapshot("before").await;
    let taken = SnapshotObserved { id: snapshot.id, state: StoredState::Present { size_bytes: 0 } };
    site.says(4, &[made], &[taken]).await;
    let (class, pool) = (Some("gp3".to_owned()), Some("fast".to_owned()));
    let to = |class: &Option<String>, pool: &Option<String>| CopySnapshotRequest {
        class: class.clone(),
        pool: pool.clone(),
        name: Some("kept".into()),
        ..CopySnapshotRequest::default()
    };
    let admin = site.kit.admin();
    let copy = async |request| admin.call::<CopySnapshot>(&["before"], &request).await;
    for request in [to(&None, &None), to(&class, &None), to(&None, &pool)] {
        let copy = copy(request).await.unwrap();
        assert_eq!((copy.volume_id, copy.copy_of), (None, Some(snapshot.id)));
        assert_eq!((copy.name.as_deref(), copy.state), (Some("kept"), SnapshotState::Pending));
    }
    assert_eq!(code(copy(to(&class, &pool)).await).0, 400);
    assert_eq!(code(copy(to(&None, &Some("slow".into()))).await).0, 404);
    let colleague = site.kit.colleague("mia").await;
    let refused = colleague.call::<CopySnapshot>(&["before"], &to(&None, &pool)).await;
    assert_eq!(code(refused).0, 403);
    colleague.call::<CopySnapshot>(&["before"], &to(&class, &None)).await.unwrap();
}

#[tokio::test]
async fn a_schedule_of_snapshots_is_created_found_and_deleted_by_its_project() {
    let site = Site::start().await;
    let admin = site.kit.admin();
    let daily = CreateSnapshotScheduleRequest {
        tag_key: "backup".into(),
        tag_value: "daily".into(),
        every_seconds: 86_400,
        keep: 7,
        test_every_seconds: Some(604_800),
        freeze: true,
    };
    let made = admin.call::<CreateSnapshotSchedule>(&[], &daily).await.unwrap();
    assert_eq!((made.tag_value.as_str(), made.every_seconds, made.keep), ("daily", 86_400, 7));
    let first_test = made.next_test_at.unwrap().duration_since(made.created_at).as_secs();
    assert_eq!((made.test_every_seconds, first_test), (Some(604_800), 604_800));
    assert_eq!((made.freeze, made.freeze_failure), (true, None));
    let id = made.id.to_string();
    let shown = admin.call::<ShowSnapshotSchedule>(&[&id[..10]], &Empty {}).await.unwrap();
    assert_eq!(shown.id, made.id);
    let never = CreateSnapshotScheduleRequest { keep: 0, ..daily };
    assert_eq!(code(admin.call::<CreateSnapshotSchedule>(&[], &never).await).0, 400);
    admin.call::<DeleteSnapshotSchedule>(&[&id], &Empty {}).await.unwrap();
    assert_eq!(admin.call::<ListSnapshotSchedules>(&[], &Empty {}).await.unwrap().items, []);
    assert_eq!(code(admin.call::<DeleteSnapshotSchedule>(&[&id], &Empty {}).await).0, 404);
}

#[tokio::test]
async fn a_snapshot_says_what_it_holds_and_one_with_a_freeze_is_refused_where_no_guest_runs() {
    let site = Site::start().await;
    let admin = site.kit.admin();
    let (_, snapshot) = site.snapshot("before").await;
    assert_eq!(snapshot.consistency, SnapshotConsistency::Crash);
    let request = CreateSnapshotRequest {
        volume: "data".into(),
        description: String::new(),
        freeze: true,
        name: None,
        tags: [].into(),
    };
    assert_eq!(code(admin.call::<CreateSnapshot>(&[], &request).await).0, 400);
    assert_eq!(admin.call::<ListSnapshots>(&[], &Empty {}).await.unwrap().items.len(), 1);
}
