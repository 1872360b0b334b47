//! Moves of volumes to other pools, as an administrator and a user see them.

use tepui_core::{CreateSnapshots, Error, Severity};
use tepui_db::AuditFilter;
use tepui_db::model::{HeldBy, MoveStage, VolumeState};
use tepui_types::agent::{PoolObserved, PoolState, StoredState, VolumePart};
use tepui_types::{Epoch, PoolId, VolumeId};

use crate::harness::GIB;
use crate::volumes::{Site, done, request};

impl Site {
    /// Another pool of the class on the same host.
    async fn second(&self) -> PoolId {
        let request = request(&self.storage, "second", "gp3");
        let pool = self.t.cloud.create_pool(&self.t.admin, request).await.unwrap();
        self.serve().await;
        pool.load.pool.id
    }

    async fn stage(&self, id: VolumeId) -> Option<MoveStage> {
        let moves = self.t.cloud.moves(&self.t.admin).await.unwrap();
        moves.iter().find(|one| one.volume_id == id).map(|one| one.stage)
    }

    async fn moving_part(&self, id: VolumeId) -> (PoolId, VolumePart) {
        let volumes = self.part().await.volumes;
        let mut own = volumes.into_iter().filter(|one| one.id == id);
        let one = own.next().unwrap();
        assert_eq!(own.next(), None, "it is named once");
        (one.pool_id, one.wanted)
    }

    /// Until the copy is whole.
    async fn copied(&self) {
        for _ in 0..2 {
            self.serve().await;
        }
    }

    async fn doctor_tells(&self, object: &str) -> Vec<String> {
        let findings = self.t.cloud.doctor(&self.t.admin).await.unwrap();
        findings.into_iter().filter(|one| one.object == object).map(|one| one.what).collect()
    }
}

#[tokio::test]
async fn a_part_names_a_volume_that_moves_once_and_as_its_stage_wants_it() {
    let site = Site::new().await;
    let (cloud, admin) = (&site.t.cloud, &site.t.admin);
    let (id, second) = (site.available().await, site.second().await);
    let before = site.volume(id).await;
    let begun = cloud.move_volume(admin, id, second).await.unwrap().unwrap();
    assert_eq!((begun.stage, begun.from_pool, begun.to_pool), (MoveStage::Copying, site.pool, second));
    assert!(matches!(site.moving_part(id).await.1, VolumePart::Present { made: true, .. }));
    site.copied().await;
    assert_eq!(site.moving_part(id).await, (site.pool, VolumePart::Absent));
    let refused = site.attach(id, "/dev/sdf").await.unwrap_err();
    assert!(matches!(refused, Error::Moving { .. }), "{refused:?}");
    assert_eq!(site.volume(id).await, before, "it is shown as before");
    site.serve().await;
    let (pool, wanted) = site.moving_part(id).await;
    let VolumePart::Present { snapshot_id, made, image, .. } = wanted else { panic!("it is absent") };
    assert_eq!((pool, snapshot_id, made, image), (second, Some(begun.target_id), false, None));
    // Something of an earlier time is in its way there for now.
    let mut seen = done(&site.part().await);
    seen.volumes[0].state = StoredState::Failed { message: "it was removed".into(), permanent: true };
    site.tell(seen).await;
    assert_eq!(
        (site.stage(id).await, site.volume(id).await.state),
        (Some(MoveStage::Arriving), VolumeState::Available)
    );
    site.serve().await;
    assert_eq!((site.stage(id).await, site.volume(id).await), (None, before));
    assert!(matches!(site.moving_part(id).await.1, VolumePart::Present { made: true, .. }));
    site.serve().await;
    assert_eq!(site.part().await.snapshots, [], "nothing of the move is left");
    site.attach(id, "/dev/sdf").await.unwrap();
}

#[tokio::test]
async fn a_drained_pool_gives_away_what_nobody_uses_and_what_becomes_free() {
    let site = Site::new().await;
    let (cloud, admin) = (&site.t.cloud, &site.t.admin);
    let (used, _) = site.in_use().await;
    let free = site.available().await;
    cloud.empty_pool(admin, site.pool).await.unwrap();
    assert_eq!(cloud.run_moves().await.unwrap(), 0);
    let waits = site.doctor_tells("pool fast").await;
    assert!(waits[0].contains("1 volumes wait for another pool"), "{waits:?}");
    let second = site.second().await;
    assert_eq!((cloud.run_moves().await.unwrap(), cloud.run_moves().await.unwrap()), (1, 0), "run twice");
    let leaving = cloud.pool(admin, site.pool).await.unwrap().leaving.unwrap();
    assert_eq!((leaving.moving, leaving.waiting), (1, 0));
    assert_eq!(leaving.held, [(used, HeldBy::Instance(site.instance))]);
    let stays = site.doctor_tells("pool fast").await;
    assert!(stays[0].contains(&format!("{used} ({} has it)", site.instance)), "{stays:?}");
    for _ in 0..5 {
        site.serve().await;
    }
    assert_eq!(site.moving_part(free).await.0, second);
    site.let_go(used).await;
    assert_eq!(cloud.run_moves().await.unwrap(), 1);
    for _ in 0..5 {
        site.serve().await;
    }
    assert_eq!((site.moving_part(used).await.0, site.stage(used).await), (second, None));
    let empty = site.doctor_tells("pool fast").await;
    assert_eq!(empty, ["is drained and empty"]);
    cloud.delete_pool(admin, site.pool).await.unwrap();
    let findings = cloud.doctor(admin).await.unwrap();
    assert!(findings.iter().all(|one| one.severity != Severity::Failure), "{findings:?}");
}

#[tokio::test]
async fn a_drain_begins_a_few_at_once_and_goes_on_after_each() {
    let site = Site::new().await;
    let cloud = &site.t.cloud;
    for _ in 0..6 {
        site.available().await;
    }
    site.second().await;
    cloud.empty_pool(&site.t.admin, site.pool).await.unwrap();
    assert_eq!((cloud.run_moves().await.unwrap(), cloud.run_moves().await.unwrap()), (4, 0));
    for _ in 0..5 {
        site.serve().await;
    }
    assert_eq!(cloud.run_moves().await.unwrap(), 2);
    cloud.set_pool_draining(&site.t.admin, site.pool, false).await.unwrap();
    assert_eq!(cloud.moves(&site.t.admin).await.unwrap(), []);
    assert_eq!(cloud.run_moves().await.unwrap(), 0);
}

#[tokio::test]
async fn a_drain_turns_from_a_pool_that_has_become_full_to_one_that_is_open() {
    let site = Site::new().await;
    let (cloud, admin) = (&site.t.cloud, &site.t.admin);
    let (id, second) = (site.available().await, site.second().await);
    cloud.empty_pool(admin, site.pool).await.unwrap();
    assert_eq!(cloud.run_moves().await.unwrap(), 1);
    let mut seen = done(&site.part().await);
    seen.snapshots.clear();
    let full = PoolState::Ready { total_bytes: 100 * GIB, used_bytes: 95 * GIB };
    seen.pools.iter_mut().filter(|one| one.id == second).for_each(|one| one.state = full.clone());
    site.tell(seen.clone()).await;
    assert_eq!(cloud.run_moves().await.unwrap(), 0, "no other pool is open");
    let request = request(&site.storage, "third", "gp3");
    let third = cloud.create_pool(admin, request).await.unwrap().load.pool.id;
    let ready = PoolState::Ready { total_bytes: 100 * GIB, used_bytes: 10 * GIB };
    seen.pools.push(PoolObserved { id: third, state: ready });
    site.tell(seen).await;
    assert_eq!((cloud.run_moves().await.unwrap(), cloud.run_moves().await.unwrap()), (1, 0));
    assert_eq!(cloud.moves(admin).await.unwrap()[0].to_pool, third);
    for _ in 0..5 {
        site.serve().await;
    }
    assert_eq!((site.moving_part(id).await.0, site.stage(id).await), (third, None));
}

#[tokio::test]
async fn after_a_restored_backup_nothing_leaves_its_pool_before_that_is_asked_again() {
    let site = Site::new().await;
    let (cloud, admin) = (&site.t.cloud, &site.t.admin);
    let (leaves, copied) = (site.available().await, site.available().await);
    let second = site.second().await;
    cloud.empty_pool(admin, site.pool).await.unwrap();
    assert_eq!(cloud.run_moves().await.unwrap(), 2);
    let moves = cloud.moves(admin).await.unwrap();
    let slow = moves.iter().find(|one| one.volume_id == copied).unwrap().source_id;
    for _ in 0..2 {
        let mut seen = done(&site.part().await);
        seen.snapshots.retain(|one| one.id != slow);
        site.tell(seen).await;
    }
    assert_eq!(site.moving_part(leaves).await, (site.pool, VolumePart::Absent));
    assert_eq!(site.stage(copied).await, Some(MoveStage::Copying));
    site.t.db.begin_epoch_after(Epoch(1)).await.unwrap();
    assert_eq!(cloud.run_moves().await.unwrap(), 0);
    for id in [leaves, copied] {
        assert_eq!(site.stage(id).await, Some(MoveStage::Failed));
        let (pool, wanted) = site.moving_part(id).await;
        assert!(pool == site.pool && matches!(wanted, VolumePart::Present { made: true, .. }), "{wanted:?}");
        let told = site.doctor_tells(&format!("volume {id}")).await;
        assert!(told[0].contains("a backup of the control plane was restored"), "{told:?}");
    }
    site.serve().await;
    assert_eq!(site.part().await.snapshots, [], "nothing of the moves is left");
    assert!(cloud.pool(admin, site.pool).await.unwrap().load.pool.draining);
    cloud.empty_pool(admin, site.pool).await.unwrap();
    assert_eq!(cloud.run_moves().await.unwrap(), 2, "asked again it goes on");
    for _ in 0..5 {
        site.serve().await;
    }
    assert_eq!((site.moving_part(leaves).await.0, site.moving_part(copied).await.0), (second, second));
}

#[tokio::test]
async fn a_volume_between_two_pools_is_told_of_when_it_stays_there() {
    let site = Site::new().await;
    let (cloud, admin) = (&site.t.cloud, &site.t.admin);
    let (id, second) = (site.available().await, site.second().await);
    cloud.move_volume(admin, id, second).await.unwrap();
    site.copied().await;
    assert_eq!(site.doctor_tells(&format!("volume {id}")).await, Vec::<String>::new());
    site.t.clock.advance(301);
    let told = site.doctor_tells(&format!("volume {id}")).await;
    assert!(told[0].contains("from pool fast to pool second"), "{told:?}");
    // Its host has not heard of it yet, and keeps it.
    cloud.move_volume(admin, id, site.pool).await.unwrap();
    for _ in 0..3 {
        site.serve().await;
    }
    assert_eq!((site.moving_part(id).await.0, site.stage(id).await), (site.pool, None));
}

#[tokio::test]
async fn what_a_move_copies_takes_none_of_the_downloads_of_its_project() {
    let site = Site::new().await;
    let (cloud, admin) = (&site.t.cloud, &site.t.admin);
    let id = site.available().await;
    let new = CreateSnapshots { volumes: vec![id], ..CreateSnapshots::default() };
    let snapshot = cloud.create_snapshots(admin, &new).await.unwrap()[0].snapshot.id;
    let far = cloud.create_pool(admin, request(&site.compute, "far", "gp3")).await.unwrap().load.pool.id;
    let source = cloud.move_volume(admin, id, far).await.unwrap().unwrap().source_id;
    site.serve().await;
    let host = async {
        let mut orders = Vec::new();
        while orders.len() < 5 {
            orders.extend(site.storage.poll().await.wanted_sendings);
        }
        assert!(orders.iter().any(|order| order.snapshot_id == source));
        for order in orders {
            drop(cloud.bring_content(site.storage.id, order.id, 1).unwrap());
        }
    };
    let reads = async || cloud.snapshot_content(admin, snapshot, 0).await.map(drop).unwrap();
    let copies = async || cloud.content_for_copy(site.compute.id, source).await.map(drop).unwrap();
    tokio::join!(host, reads(), reads(), reads(), reads(), copies());
}

#[tokio::test]
async fn moves_are_an_administrators_and_audited() {
    let site = Site::new().await;
    let (cloud, admin) = (&site.t.cloud, &site.t.admin);
    let (used, _) = site.in_use().await;
    let (id, second) = (site.available().await, site.second().await);
    let member = site.t.member("bert").await;
    for refused in [
        cloud.move_volume(&member, id, second).await.map(drop),
        cloud.moves(&member).await.map(drop),
        cloud.empty_pool(&member, site.pool).await,
    ] {
        assert!(matches!(refused, Err(Error::Forbidden { .. })), "{refused:?}");
    }
    let unknown = cloud.move_volume(admin, VolumeId::from_random(7), second).await.unwrap_err();
    assert!(matches!(unknown, Error::NotFound { .. }), "{unknown:?}");
    let refused = cloud.move_volume(admin, used, second).await.unwrap_err();
    assert!(matches!(refused, Error::InUse { .. }), "{refused:?}");
    let other = request(&site.storage, "slow", "st1");
    let slow = cloud.create_pool(admin, other).await.unwrap().load.pool.id;
    let refused = cloud.move_volume(admin, id, slow).await.unwrap_err();
    assert!(matches!(refused, Error::InvalidInput { field: "pool", .. }), "{refused:?}");
    cloud.move_volume(admin, id, second).await.unwrap();
    cloud.flush_audit().await;
    let records = cloud.audit_records(admin, &AuditFilter::default(), 100).await.unwrap();
    let moves = records.iter().filter(|one| one.action == "MoveVolume" && one.outcome == "ok").count();
    assert_eq!(moves, 1);
}
