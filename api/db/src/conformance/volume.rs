//! Pools and volumes, and what storage hosts say of them.

use std::sync::Arc;

use tepui_types::agent::{IoLimits, PoolBackend};
use tepui_types::{NodeId, PoolId};

use super::site::{Site, pool, size};
use super::world::CAPACITY;
use crate::model::{
    AttachmentState, NodeState, Pool, Quota, SnapshotState, StateReason, VolumeModification, VolumeRecord,
    VolumeState,
};
use crate::{
    AttachOutcome, CreateOutcome, Db, DeleteOutcome, ExpungeOutcome, NewVolume, NewVolumeOutcome,
    StorageNews, TokenUse, VolumeChange, VolumeOutcome,
};

pub async fn pools_have_their_own_name_and_folder(db: Arc<dyn Db>) {
    let site = Site::new(db).await;
    let Site { world, storage, compute, .. } = &site;
    let first = world.db.pools().await.unwrap()[0].pool.clone();
    let other =
        |node, name, path: &str| Pool { path: path.into(), ..pool(world, node, name, PoolBackend::Nfs) };
    let create = async |pool: &Pool| world.db.create_pool(pool).await.unwrap();
    assert_eq!(create(&other(*compute, "fast", "/x")).await, CreateOutcome::NameTaken(first.id));
    assert_eq!(create(&other(*storage, "slow", &first.path)).await, CreateOutcome::NameTaken(first.id));
    assert_eq!(create(&other(*compute, "slow", &first.path)).await, CreateOutcome::Created);
    let unknown = NodeId::from_random(world.bits());
    assert_eq!(create(&other(unknown, "lost", "/y")).await, CreateOutcome::ParentMissing);
    let before = site.generation().await;
    let new = other(*storage, "second", "/second");
    let new = Pool { filer: Some("10.0.0.9:/export/second".parse().unwrap()), ..new };
    assert_eq!(create(&new).await, CreateOutcome::Created);
    let load = world.db.pools().await.unwrap().into_iter().find(|load| load.pool.id == new.id);
    assert_eq!(load.unwrap().pool, new);
    assert!(site.generation().await > before);
    assert_eq!(world.db.delete_pool(new.id).await.unwrap(), DeleteOutcome::Deleted);
    assert_eq!(world.db.delete_pool(new.id).await.unwrap(), DeleteOutcome::NotFound);
    site.volume(1).await;
    assert!(matches!(world.db.delete_pool(first.id).await.unwrap(), DeleteOutcome::InUse(_)));
    let load = &world.db.pools().await.unwrap()[0];
    assert_eq!((load.volumes, load.provisioned_gib, load.snapshots), (1, 1, 0));
}

pub async fn a_volume_is_there_once_its_host_says_so_and_gone_once_it_says_that(db: Arc<dyn Db>) {
    let site = Site::new(db).await;
    let (new, before) = (site.new_volume(4), site.generation().await);
    let id = new.volume.id;
    assert_eq!(site.create(&new).await, NewVolumeOutcome::Created(site.storage));
    assert!(site.generation().await > before);
    let record = site.record(id).await.unwrap();
    assert_eq!((record.volume, record.class.as_str()), (new.volume, "gp3"));
    assert_eq!(record.tags["Name"], "data");
    site.says(site.compute, StorageNews::VolumePresent(id, 4)).await;
    assert_eq!(site.record(id).await.unwrap().volume.state, VolumeState::Creating, "another node's word");
    site.says(site.storage, StorageNews::VolumeGone(id)).await;
    assert!(site.record(id).await.is_some(), "nobody asked for its end");
    site.says(site.storage, StorageNews::VolumePresent(id, 4)).await;
    let volume = site.record(id).await.unwrap().volume;
    assert_eq!((volume.state, volume.actual_gib), (VolumeState::Available, 4));
    site.says(site.storage, StorageNews::VolumeFailed(id, "no".into())).await;
    assert_eq!(site.record(id).await.unwrap().volume.state, VolumeState::Available, "it holds data");
    assert_eq!(site.delete(id).await, VolumeOutcome::Changed(vec![site.storage]));
    assert_eq!(site.delete(id).await, VolumeOutcome::Unchanged);
    site.assert_books().await;
    site.says(site.storage, StorageNews::VolumeGone(id)).await;
    assert_eq!(site.record(id).await, None);
    assert_eq!(site.delete(id).await, VolumeOutcome::NotFound);
    assert!(site.world.db.tags(site.tenant.project).await.unwrap().is_empty());
    site.assert_books().await;
}

pub async fn a_volume_that_can_never_be_made_says_why_and_can_be_deleted(db: Arc<dyn Db>) {
    let site = Site::new(db).await;
    let new = site.new_volume(4);
    site.create(&new).await;
    site.says(site.storage, StorageNews::VolumeFailed(new.volume.id, "no reflink".into())).await;
    let volume = site.record(new.volume.id).await.unwrap().volume;
    assert_eq!((volume.state, volume.message.as_deref()), (VolumeState::Error, Some("no reflink")));
    assert_eq!(site.delete(new.volume.id).await, VolumeOutcome::Changed(vec![site.storage]));
}

pub async fn a_token_creates_one_volume(db: Arc<dyn Db>) {
    let site = Site::new(db).await;
    let with = |digest| {
        let token = TokenUse { token: "t".into(), parameters_sha256: [digest; 32] };
        NewVolume { token: Some(token), ..site.new_volume(1) }
    };
    let (first, again, other) = (with(1), with(1), with(2));
    assert_eq!(site.create(&first).await, NewVolumeOutcome::Created(site.storage));
    assert_eq!(site.create(&again).await, NewVolumeOutcome::Repeated(first.volume.id));
    assert_eq!(site.create(&other).await, NewVolumeOutcome::TokenMismatch);
    assert_eq!(site.records().await.len(), 1);
}

pub async fn a_refused_volume_leaves_nothing(db: Arc<dyn Db>) {
    let site = Site::new(db).await;
    let refused = async |new: NewVolume, outcome| assert_eq!(site.create(&new).await, outcome);
    let large = site.new_volume(60_000);
    let limit = NewVolumeOutcome::QuotaExceeded { quota: "volume_gib", limit: 51_200, used: 0 };
    refused(large, limit).await;
    let quota = Quota { instances: 9, vcpus: 9, memory_mib: 9, volumes: 0, volume_gib: 60_000 };
    let set = async |quota| assert!(site.world.db.set_quota(site.tenant.project, quota).await.unwrap());
    set(quota).await;
    let none = NewVolumeOutcome::QuotaExceeded { quota: "volumes", limit: 0, used: 0 };
    refused(site.new_volume(60_000), none).await;
    set(Quota { volumes: 9, ..quota }).await;
    let pool = PoolId::from_random(site.world.bits());
    let mut elsewhere = site.new_volume(1);
    elsewhere.volume.pool_id = pool;
    refused(elsewhere, NewVolumeOutcome::PoolLost(pool)).await;
    let mut nobody = site.new_volume(1);
    nobody.volume.project_id = tepui_types::ProjectId::from_random(site.world.bits());
    refused(nobody, NewVolumeOutcome::ParentMissing).await;
    assert_eq!(site.world.db.set_pool_draining(site.pool, true).await.unwrap(), Some(site.storage));
    refused(site.new_volume(1), NewVolumeOutcome::PoolLost(site.pool)).await;
    assert_eq!(site.world.db.set_pool_draining(site.pool, false).await.unwrap(), Some(site.storage));
    site.world.db.set_node_state(site.storage, NodeState::Unreachable, site.world.now()).await.unwrap();
    let reason = StateReason { code: "Server.Expunged".into(), message: "given up".into(), detail: None };
    site.world.db.expunge_node(site.storage, &reason, site.world.now()).await.unwrap();
    refused(site.new_volume(1), NewVolumeOutcome::PoolLost(site.pool)).await;
    assert_eq!(site.records().await, []);
    assert!(site.world.db.tags(site.tenant.project).await.unwrap().is_empty());
    site.assert_books().await;
}

pub async fn a_volume_grows_and_never_shrinks(db: Arc<dyn Db>) {
    let site = Site::new(db).await;
    let id = site.volume(4).await;
    let now = site.world.now();
    let grow = async |gib| site.grow(id, gib, now).await;
    let before = site.generation().await;
    assert_eq!(grow(4).await, VolumeOutcome::Unchanged);
    assert_eq!(grow(3).await, VolumeOutcome::WouldShrink(4));
    assert_eq!(grow(60_000).await, VolumeOutcome::QuotaExceeded { limit: 51_200, used: 4 });
    assert_eq!(site.generation().await, before);
    assert_eq!(site.modification(id).await, None, "nothing was changed");
    assert_eq!(grow(9).await, VolumeOutcome::Changed(vec![site.storage]));
    assert!(site.generation().await > before);
    let volume = site.record(id).await.unwrap().volume;
    assert_eq!((volume.size_gib, volume.actual_gib), (9, 4), "its host has not said so yet");
    let begun = VolumeModification {
        original_gib: 4,
        target_gib: 9,
        original_limits: IoLimits::NONE,
        target_limits: IoLimits::NONE,
        original_read_only: false,
        target_read_only: false,
        started_at: now,
        ended_at: None,
    };
    assert_eq!(site.modification(id).await, Some(begun.clone()));
    assert_eq!(grow(10).await, VolumeOutcome::Modifying);
    assert_eq!(grow(9).await, VolumeOutcome::Unchanged, "asked twice");
    site.says(site.storage, StorageNews::VolumePresent(id, 4)).await;
    assert_eq!(site.modification(id).await, Some(begun.clone()), "an old word");
    assert_eq!(site.says(site.storage, StorageNews::VolumePresent(id, 9)).await, [], "no guest has it");
    assert_eq!(site.record(id).await.unwrap().volume.actual_gib, 9);
    let done = site.modification(id).await.unwrap();
    assert_eq!(done, VolumeModification { ended_at: done.ended_at, ..begun.clone() });
    assert!(done.ended_at.is_some_and(|ended| ended > now), "{done:?}");
    site.says(site.storage, StorageNews::VolumePresent(id, 9)).await;
    assert_eq!(site.modification(id).await, Some(done), "said twice");
    assert_eq!(grow(9).await, VolumeOutcome::Unchanged);
    assert_eq!(grow(12).await, VolumeOutcome::Changed(vec![site.storage]));
    let next = VolumeModification { original_gib: 9, target_gib: 12, ..begun };
    assert_eq!(site.modification(id).await, Some(next), "the last one is kept");
    let foreign = site.world.tenant("beta").await.project;
    assert_eq!(
        site.world.db.modify_volume(foreign, id, size(10), now).await.unwrap(),
        VolumeOutcome::NotFound
    );
    assert_eq!(site.world.db.delete_volume(foreign, id).await.unwrap(), VolumeOutcome::NotFound);
    site.assert_books().await;
}

pub async fn a_volume_in_use_has_grown_once_its_guest_sees_it(db: Arc<dyn Db>) {
    let site = Site::new(db).await;
    let Site { world, tenant, storage, compute, .. } = &site;
    let id = site.volume(4).await;
    let instance = world.running(tenant, *compute).await;
    let grow = async |gib| site.grow(id, gib, world.now()).await;
    let ended = async || site.modification(id).await.unwrap().ended_at.is_some();
    let told = async || world.node_generation(*compute).await;
    let export = site.attached(id, instance, "/dev/sdf").await;
    let attachment = site.attachment(id).await.unwrap();
    assert_eq!((attachment.size_gib, attachment.guest_gib), (4, 0));
    site.says(*compute, StorageNews::DiskFitted(export, 4, IoLimits::NONE)).await;
    let before = told().await;
    grow(6).await;
    assert_eq!(told().await, before, "its host has not grown it");
    assert_eq!(site.says(*storage, StorageNews::VolumePresent(id, 6)).await, [*compute]);
    assert!(told().await > before);
    let record = world.record(tenant, instance).await.attachments.remove(0);
    assert_eq!((record.size_gib, record.guest_gib), (6, 4));
    assert!(!ended().await, "its guest does not see it");
    site.says(*storage, StorageNews::DiskFitted(export, 6, IoLimits::NONE)).await;
    assert!(!ended().await, "not its placement");
    site.says(*compute, StorageNews::DiskFitted(export, 6, IoLimits::NONE)).await;
    assert!(ended().await);
    assert_eq!(site.attachment(id).await.unwrap().guest_gib, 6);

    // A guest that has let go of it need not see it.
    grow(8).await;
    site.says(*storage, StorageNews::VolumePresent(id, 8)).await;
    site.detach(id, true).await;
    assert!(!ended().await);
    site.says(*storage, StorageNews::ExportGone(export)).await;
    assert!(ended().await);

    // Nor does one that lets go of it end what its host has not done.
    let export = site.attached(id, instance, "/dev/sdf").await;
    grow(10).await;
    site.detach(id, true).await;
    site.says(*storage, StorageNews::ExportGone(export)).await;
    assert!(!ended().await);
    site.says(*storage, StorageNews::VolumePresent(id, 10)).await;
    assert!(ended().await);
    assert_eq!(site.delete(id).await, VolumeOutcome::Changed(vec![*storage]));
    site.says(*storage, StorageNews::VolumeGone(id)).await;
    assert_eq!(site.record(id).await, None);
}

pub async fn limits_are_changed_once_the_guest_is_held_to_them(db: Arc<dyn Db>) {
    let site = Site::new(db).await;
    let Site { world, tenant, storage, compute, .. } = &site;
    let limits = |iops, throughput_mib| IoLimits { iops, throughput_mib };
    let mut new = site.new_volume(4);
    new.volume.limits = limits(100, 0);
    site.create(&new).await;
    let id = new.volume.id;
    let limit = async |iops, throughput_mib| {
        let change = VolumeChange { iops, throughput_mib, ..VolumeChange::default() };
        site.modify(id, change, world.now()).await
    };
    assert_eq!(limit(Some(200), None).await, VolumeOutcome::WrongState(VolumeState::Creating));
    site.says(*storage, StorageNews::VolumePresent(id, 4)).await;
    assert_eq!(site.record(id).await.unwrap().volume.limits, limits(100, 0));
    assert_eq!(limit(None, None).await, VolumeOutcome::Unchanged);
    assert_eq!(limit(Some(100), Some(0)).await, VolumeOutcome::Unchanged);
    assert_eq!(site.modification(id).await, None, "nothing was changed");

    // No host has anything to do, and none is told.
    let told = async || (site.generation().await, world.node_generation(*compute).await);
    let before = told().await;
    assert_eq!(limit(None, Some(7)).await, VolumeOutcome::Changed(vec![]));
    assert_eq!(told().await, before);
    assert_eq!(site.record(id).await.unwrap().volume.limits, limits(100, 7), "the other one stays");
    let done = site.modification(id).await.unwrap();
    assert_eq!((done.original_limits, done.target_limits), (limits(100, 0), limits(100, 7)));
    assert_eq!((done.original_gib, done.target_gib), (4, 4));
    assert!(done.ended_at.is_some(), "no guest has it");

    let instance = world.running(tenant, *compute).await;
    let export = site.attached(id, instance, "/dev/sdf").await;
    site.says(*compute, StorageNews::DiskFitted(export, 4, limits(100, 7))).await;
    let before = told().await;
    assert_eq!(limit(Some(0), None).await, VolumeOutcome::Changed(vec![*compute]));
    let after = told().await;
    assert!(after.0 == before.0 && after.1 > before.1, "its guest's host alone has to do with it");
    let record = world.record(tenant, instance).await.attachments.remove(0);
    assert_eq!((record.limits, record.guest_limits), (limits(0, 7), limits(100, 7)));
    let ended = async || site.modification(id).await.unwrap().ended_at.is_some();
    assert!(!ended().await, "its guest is held to the old ones");
    assert_eq!(limit(Some(300), None).await, VolumeOutcome::Modifying);
    assert_eq!(limit(Some(0), Some(7)).await, VolumeOutcome::Unchanged, "asked twice");
    for (node, said) in [(*compute, limits(100, 7)), (*storage, limits(0, 7)), (*compute, limits(0, 8))] {
        site.says(node, StorageNews::DiskFitted(export, 4, said)).await;
        assert!(!ended().await, "{node} said {said:?}");
    }
    site.says(*compute, StorageNews::DiskFitted(export, 4, limits(0, 7))).await;
    assert!(ended().await);
    assert_eq!(site.attachment(id).await.unwrap().guest_limits, limits(0, 7));

    // Both at once: each host does its own, and both must have.
    let both = VolumeChange { iops: Some(900), ..size(5) };
    assert_eq!(site.modify(id, both, world.now()).await, VolumeOutcome::Changed(vec![*storage, *compute]));
    site.says(*compute, StorageNews::DiskFitted(export, 4, limits(900, 7))).await;
    site.says(*storage, StorageNews::VolumePresent(id, 5)).await;
    assert!(!ended().await, "its guest does not see the size");
    site.says(*compute, StorageNews::DiskFitted(export, 5, limits(900, 7))).await;
    assert!(ended().await);

    // A guest that has let go of it need not be held to anything.
    limit(Some(0), Some(0)).await;
    site.detach(id, true).await;
    assert!(!ended().await);
    site.says(*storage, StorageNews::ExportGone(export)).await;
    assert!(ended().await);
    assert_eq!(site.record(id).await.unwrap().volume.limits, IoLimits::NONE);
    site.assert_books().await;
}

pub async fn a_nodes_exports_are_those_of_its_guests(db: Arc<dyn Db>) {
    let site = Site::new(db).await;
    let Site { world, tenant, storage, compute, .. } = &site;
    let exports = async |node| world.db.exports_of(node).await.unwrap();
    let id = site.volume(3).await;
    let instance = world.running(tenant, *compute).await;
    assert_eq!(exports(*compute).await, []);
    let export = site.attached(id, instance, "/dev/sdf").await;
    let since = site.attachment(id).await.unwrap().since;
    assert_eq!(exports(*compute).await, [(export, site.pool, since)]);
    assert_eq!(exports(*storage).await, [], "it serves the volume, and has no guest that uses it");
    site.detach(id, true).await;
    site.says(*storage, StorageNews::ExportGone(export)).await;
    assert_eq!(exports(*compute).await, []);
}

pub async fn a_storage_part_has_all_that_is_in_its_pools(db: Arc<dyn Db>) {
    let site = Site::new(db).await;
    let volume = site.volume(3).await;
    let snapshot = site.new_snapshot(volume);
    site.world.db.create_snapshots(std::slice::from_ref(&snapshot), &[]).await.unwrap();
    let instance = site.world.running(&site.tenant, site.compute).await;
    let export = site.attached(volume, instance, "/dev/sdf").await;
    let part = site.world.db.storage_part(site.storage).await.unwrap().unwrap();
    assert_eq!(part.pools.iter().map(|pool| pool.id).collect::<Vec<_>>(), [site.pool]);
    assert_eq!(part.volumes.iter().map(|volume| volume.id).collect::<Vec<_>>(), [volume]);
    assert_eq!(part.snapshots.iter().map(|snapshot| snapshot.id).collect::<Vec<_>>(), [snapshot.id]);
    let (attachment, address) = &part.attachments[0];
    let nodes = site.world.db.nodes().await.unwrap();
    let compute = nodes.iter().find(|load| load.node.id == site.compute).unwrap();
    assert_eq!((attachment.export_id, *address), (export, compute.node.underlay_address));
    assert_eq!(attachment.wrapped_secret, [7; 32]);
    assert_eq!(site.world.db.storage_part(site.compute).await.unwrap(), None, "it never had a pool");
    assert_eq!(site.world.db.storage_generation(site.compute).await.unwrap(), None);
}

pub async fn what_failed_is_told_and_changes_nothing_else(db: Arc<dyn Db>) {
    let site = Site::new(db).await;
    let volume = site.volume(3).await;
    let instance = site.world.running(&site.tenant, site.compute).await;
    let export = site.attached(volume, instance, "/dev/sdf").await;
    let before = (site.generation().await, site.world.node_generation(site.compute).await);
    let stranger = site.world.node(CAPACITY).await;
    for (node, words, told) in [
        (stranger, "a stranger", None),
        (site.compute, "no slot", Some("no slot")),
        (site.storage, "busy", Some("busy")),
    ] {
        site.says(node, StorageNews::Failed(export, words.into())).await;
        let attachment = site.attachment(volume).await.unwrap();
        assert_eq!((attachment.message.as_deref(), attachment.state), (told, AttachmentState::Attached));
    }
    assert_eq!((site.generation().await, site.world.node_generation(site.compute).await), before);
}

pub async fn a_project_with_volumes_is_not_deleted(db: Arc<dyn Db>) {
    let site = Site::new(db).await;
    let volume = site.volume(3).await;
    site.world.db.deregister_image(site.tenant.project, site.tenant.image).await.unwrap();
    let delete = async || site.world.db.delete_project(site.tenant.project).await.unwrap();
    assert_eq!(delete().await, DeleteOutcome::InUse("1 volumes".into()));
    site.delete(volume).await;
    site.says(site.storage, StorageNews::VolumeGone(volume)).await;
    assert_eq!(delete().await, DeleteOutcome::Deleted);
}

pub async fn what_a_given_up_host_had_is_lost_and_can_be_deleted(db: Arc<dyn Db>) {
    let site = Site::new(db).await;
    let Site { world, tenant, storage, compute, .. } = &site;
    let (used, goes, unmade) = (site.volume(1).await, site.volume(1).await, site.new_volume(1));
    assert_eq!(site.create(&unmade).await, NewVolumeOutcome::Created(*storage));
    let instance = world.running(tenant, *compute).await;
    site.attached(used, instance, "/dev/sdf").await;
    let snapshots = [site.new_snapshot(used), site.new_snapshot(used), site.new_snapshot(used)];
    let [taken, pending, ending] = snapshots.each_ref().map(|snapshot| snapshot.id);
    world.db.create_snapshots(&snapshots, &[]).await.unwrap();
    site.says(*storage, StorageNews::SnapshotPresent(taken, 0)).await;
    let delete = async |id| world.db.delete_snapshot(tenant.project, id).await.unwrap();
    assert_eq!(delete(ending).await, (DeleteOutcome::Deleted, Some(*storage)));
    assert_eq!(site.delete(goes).await, VolumeOutcome::Changed(vec![*storage]));
    let told = world.node_generation(*compute).await;

    let reason = StateReason { code: "lost".into(), message: "given up".into(), detail: None };
    let expunge = async || world.db.expunge_node(*storage, &reason, world.now()).await.unwrap();
    assert_eq!(expunge().await, ExpungeOutcome::Up);
    assert_eq!(site.record(used).await.unwrap().volume.state, VolumeState::Available);
    world.db.set_node_state(*storage, NodeState::Unreachable, world.now()).await.unwrap();
    for again in ["once", "repeated"] {
        assert_eq!(expunge().await, ExpungeOutcome::Expunged(0), "{again}");
        for id in [used, unmade.volume.id] {
            let VolumeRecord { volume, attachments, .. } = site.record(id).await.unwrap();
            assert_eq!((volume.state, volume.message.as_deref()), (VolumeState::Error, Some("given up")));
            assert_eq!(attachments, []);
        }
        assert_eq!(site.record(goes).await, None, "its bytes are gone");
        for id in [taken, pending] {
            let snapshot = site.snapshot(id).await.unwrap();
            assert_eq!(
                (snapshot.state, snapshot.message.as_deref()),
                (SnapshotState::Error, Some("given up"))
            );
        }
        assert_eq!(site.snapshot(ending).await, None);
    }
    assert!(world.node_generation(*compute).await > told, "the guest's host hears that its disk is gone");
    let again = site.try_attach(&site.new_attachment(used, instance, "/dev/sdf")).await;
    assert_eq!(again, AttachOutcome::VolumeState(VolumeState::Error));
    assert_eq!(site.create(&site.new_volume(1)).await, NewVolumeOutcome::PoolLost(site.pool));
    let load = world.db.pools().await.unwrap().remove(0);
    assert_eq!((load.node_state, load.volumes, load.snapshots), (NodeState::Expunged, 2, 2));

    for id in [used, unmade.volume.id] {
        assert_eq!(site.delete(id).await, VolumeOutcome::Changed(vec![*storage]));
        assert_eq!(site.record(id).await, None, "nobody is waited for");
    }
    for id in [taken, pending] {
        assert_eq!(delete(id).await, (DeleteOutcome::Deleted, Some(*storage)));
        assert_eq!(site.snapshot(id).await, None);
    }
    assert_eq!(world.db.delete_pool(site.pool).await.unwrap(), DeleteOutcome::Deleted);
    site.assert_books().await;
}
