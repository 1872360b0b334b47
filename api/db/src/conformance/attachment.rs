//! Attachments of volumes, their exports, and what becomes of both.

use std::sync::Arc;

use tepui_types::agent::PoolBackend;
use tepui_types::{InstanceId, VolumeId};

use super::site::{Site, source};
use crate::model::{AttachmentState, ExportState, InstanceState, NodeState, StateReason, VolumeState};
use crate::{AttachOutcome, Db, DetachOutcome, Detachment, PowerChange, StorageNews, VolumeOutcome};

pub async fn an_attachment_is_free_again_only_once_its_export_is_fenced(db: Arc<dyn Db>) {
    let site = Site::new(db).await;
    let Site { world, tenant, storage, compute, .. } = &site;
    let volume = site.volume(4).await;
    let instance = world.running(tenant, *compute).await;
    let new = site.new_attachment(volume, instance, "/dev/sdf");
    let (stored, wanted) = (site.generation().await, world.node_generation(*compute).await);
    assert_eq!(site.try_attach(&new).await, AttachOutcome::Attaching(*storage));
    assert!(site.generation().await > stored);
    let awaited = world.node_generation(*compute).await;
    assert!(awaited > wanted, "a start waits for it from now on");
    assert_eq!(site.says(*compute, StorageNews::ExportOpen(new.export_id, source())).await, []);
    assert_eq!(site.says(*storage, StorageNews::ExportOpen(new.export_id, source())).await, [*compute]);
    assert_eq!(site.says(*storage, StorageNews::ExportOpen(new.export_id, source())).await, [], "said twice");
    assert!(world.node_generation(*compute).await > awaited);
    assert_eq!(site.says(*storage, StorageNews::DiskAttached(new.export_id)).await, [], "not its placement");
    assert_eq!(site.attachment(volume).await.unwrap().state, AttachmentState::Attaching);
    site.says(*compute, StorageNews::DiskAttached(new.export_id)).await;
    let attachment = site.attachment(volume).await.unwrap();
    assert_eq!((attachment.state, attachment.export_state), (AttachmentState::Attached, ExportState::Open));
    assert_eq!(world.record(tenant, instance).await.attachments, [attachment]);
    assert_eq!(site.delete(volume).await, VolumeOutcome::InUse(instance));

    let DetachOutcome::Detaching { nodes, .. } = site.detach(volume, false).await else { panic!("refused") };
    assert_eq!(nodes, [*compute]);
    site.says(*storage, StorageNews::ExportGone(new.export_id)).await;
    assert!(site.attachment(volume).await.is_some(), "its guest has not let go of it");
    assert_eq!(site.says(*compute, StorageNews::DiskAbsent(new.export_id)).await, [*storage]);
    assert_eq!(site.attachment(volume).await.unwrap().export_state, ExportState::Closing);
    site.says(*storage, StorageNews::ExportOpen(new.export_id, source())).await;
    assert_eq!(site.attachment(volume).await.unwrap().export_state, ExportState::Closing, "old news");
    let other = world.running(tenant, *compute).await;
    let next = site.new_attachment(volume, other, "/dev/sdf");
    assert_eq!(site.try_attach(&next).await, AttachOutcome::InUse(instance));
    site.says(*storage, StorageNews::ExportGone(new.export_id)).await;
    assert_eq!(site.attachment(volume).await, None);
    assert_eq!(world.record(tenant, instance).await.attachments, []);
    assert_eq!(site.try_attach(&next).await, AttachOutcome::Attaching(*storage));
    site.assert_books().await;
}

pub async fn by_force_a_volume_is_fenced_without_its_guest(db: Arc<dyn Db>) {
    let site = Site::new(db).await;
    let volume = site.volume(4).await;
    let instance = site.world.running(&site.tenant, site.compute).await;
    let export = site.attached(volume, instance, "/dev/sdf").await;
    site.detach(volume, false).await;
    let DetachOutcome::Detaching { nodes, .. } = site.detach(volume, true).await else { panic!("refused") };
    assert_eq!(nodes, [site.storage]);
    let DetachOutcome::Detaching { nodes, .. } = site.detach(volume, true).await else { panic!("refused") };
    assert_eq!(nodes, [], "asked twice");
    assert_eq!(site.attachment(volume).await.unwrap().export_state, ExportState::Closing);
    site.says(site.storage, StorageNews::ExportGone(export)).await;
    assert_eq!(site.attachment(volume).await, None);
    assert_eq!(site.record(volume).await.unwrap().volume.state, VolumeState::Available);
}

pub async fn what_was_never_open_is_detached_without_its_guest(db: Arc<dyn Db>) {
    let site = Site::new(db).await;
    let volume = site.volume(4).await;
    let instance = site.world.running(&site.tenant, site.compute).await;
    let new = site.new_attachment(volume, instance, "/dev/sdf");
    site.try_attach(&new).await;
    let DetachOutcome::Detaching { nodes, .. } = site.detach(volume, false).await else { panic!("refused") };
    assert!(nodes.contains(&site.storage), "{nodes:?}");
    site.says(site.storage, StorageNews::ExportGone(new.export_id)).await;
    assert_eq!(site.attachment(volume).await, None);
}

pub async fn a_detachment_names_what_is_attached(db: Arc<dyn Db>) {
    let site = Site::new(db).await;
    let volume = site.volume(4).await;
    let instance = site.world.running(&site.tenant, site.compute).await;
    assert_eq!(site.detach(volume, false).await, DetachOutcome::NotAttached);
    site.attached(volume, instance, "/dev/sdf").await;
    let named = async |instance_id, device: Option<&str>, project_id| {
        let device = device.map(str::to_owned);
        let what = Detachment { project_id, volume_id: volume, instance_id, device, force: false };
        site.world.db.detach_volume(&what).await.unwrap()
    };
    let (own, foreign) = (site.tenant.project, site.world.tenant("beta").await.project);
    assert_eq!(named(None, None, foreign).await, DetachOutcome::VolumeMissing);
    assert_eq!(named(Some(InstanceId::from_random(1)), None, own).await, DetachOutcome::NotAttached);
    assert_eq!(named(Some(instance), Some("/dev/sdg"), own).await, DetachOutcome::NotAttached);
    let done = named(Some(instance), Some("/dev/sdf"), own).await;
    assert!(matches!(done, DetachOutcome::Detaching { .. }), "{done:?}");
}

pub async fn a_refused_attachment_leaves_nothing(db: Arc<dyn Db>) {
    let site = Site::new(db).await;
    let Site { world, tenant, compute, .. } = &site;
    let (running, stopped) = (world.running(tenant, *compute).await, world.stopped(tenant, *compute).await);
    let volume = site.volume(1).await;
    let attach = async |volume, instance, device: &str| {
        site.try_attach(&site.new_attachment(volume, instance, device)).await
    };
    let nothing = VolumeId::from_random(world.bits());
    assert_eq!(attach(nothing, running, "/dev/sdf").await, AttachOutcome::VolumeMissing);
    let nobody = InstanceId::from_random(world.bits());
    assert_eq!(attach(volume, nobody, "/dev/sdf").await, AttachOutcome::InstanceMissing);
    let beta = world.tenant("beta").await;
    let foreign = world.running(&beta, *compute).await;
    assert_eq!(attach(volume, foreign, "/dev/sdf").await, AttachOutcome::InstanceMissing);
    assert_eq!(attach(volume, running, "/dev/sda1").await, AttachOutcome::DeviceTaken, "the root disk's");
    let unmade = site.new_volume(1);
    site.create(&unmade).await;
    let state = AttachOutcome::VolumeState(VolumeState::Creating);
    assert_eq!(attach(unmade.volume.id, running, "/dev/sdf").await, state);
    world.power(tenant, running, PowerChange::Terminate).await;
    let state = AttachOutcome::InstanceState(InstanceState::ShuttingDown);
    assert_eq!(attach(volume, running, "/dev/sdf").await, state);
    assert!(site.records().await.iter().all(|record| record.attachments.is_empty()));
    for device in ["/dev/sdf", "/dev/sdg", "/dev/sdh"] {
        site.attached(site.volume(1).await, stopped, device).await;
    }
    assert_eq!(attach(volume, stopped, "/dev/vdf").await, AttachOutcome::DeviceTaken, "the same place");
    assert_eq!(attach(volume, stopped, "/dev/sdi").await, AttachOutcome::TooMany);
}

pub async fn of_parallel_attachments_one_wins(db: Arc<dyn Db>) {
    let site = Arc::new(Site::new(db).await);
    let volume = site.volume(4).await;
    let instances = [
        site.world.running(&site.tenant, site.compute).await,
        site.world.running(&site.tenant, site.compute).await,
    ];
    let attach = |number: usize| {
        let site = Arc::clone(&site);
        let new = site.new_attachment(volume, instances[number % 2], "/dev/sdf");
        tokio::spawn(async move { site.try_attach(&new).await })
    };
    let calls: Vec<_> = (0..100).map(attach).collect();
    let mut won = 0;
    for call in calls {
        match call.await.unwrap() {
            AttachOutcome::Attaching(_) => won += 1,
            AttachOutcome::InUse(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(won, 1);
}

pub async fn a_local_volume_is_for_instances_on_its_node(db: Arc<dyn Db>) {
    let site = Site::with(db, PoolBackend::Local).await;
    let volume = site.volume(4).await;
    let here = site.world.running(&site.tenant, site.storage).await;
    let there = site.world.running(&site.tenant, site.compute).await;
    let refused = site.try_attach(&site.new_attachment(volume, there, "/dev/sdf")).await;
    assert_eq!(refused, AttachOutcome::OtherNode(site.storage));
    let attached = site.try_attach(&site.new_attachment(volume, here, "/dev/sdf")).await;
    assert_eq!(attached, AttachOutcome::Attaching(site.storage));
}

pub async fn volumes_of_an_instance_that_ends_are_fenced_and_go_if_they_should(db: Arc<dyn Db>) {
    let site = Site::new(db).await;
    let Site { world, tenant, storage, compute, .. } = &site;
    let instance = world.running(tenant, *compute).await;
    let (kept, goes) = (site.volume(1).await, site.volume(1).await);
    let exports =
        [site.attached(kept, instance, "/dev/sdf").await, site.attached(goes, instance, "/dev/sdg").await];
    let set = async |project, volumes: &[VolumeId]| {
        let disks: Vec<_> = volumes.iter().map(|volume| (*volume, true)).collect();
        world.db.set_delete_on_termination(project, instance, &disks).await.unwrap()
    };
    let free = site.volume(1).await;
    assert_eq!(set(tenant.project, &[kept, free]).await, Some(free));
    assert!(!site.attachment(kept).await.unwrap().delete_on_termination, "all or none");
    assert_eq!(set(world.tenant("beta").await.project, &[goes]).await, Some(goes));
    assert_eq!(set(tenant.project, &[goes]).await, None);
    assert!(site.attachment(goes).await.unwrap().delete_on_termination);
    let before = site.generation().await;
    world.terminate(tenant, instance).await;
    assert!(site.generation().await > before);
    for volume in [kept, goes] {
        assert_eq!(site.attachment(volume).await.unwrap().export_state, ExportState::Closing);
    }
    world.db.purge(&crate::Cutoffs::all(world.now()), 100).await.unwrap();
    assert_eq!(world.state(tenant, instance).await, InstanceState::Terminated, "its exports are not fenced");
    for export in exports {
        site.says(*storage, StorageNews::ExportGone(export)).await;
    }
    assert_eq!(site.record(kept).await.unwrap().volume.state, VolumeState::Available);
    assert_eq!(site.record(goes).await.unwrap().volume.state, VolumeState::Deleting);
    world.db.purge(&crate::Cutoffs::all(world.now()), 100).await.unwrap();
    assert!(world.records(tenant).await.is_empty());
    site.assert_books().await;
}

pub async fn only_its_owners_word_ends_a_volume(db: Arc<dyn Db>) {
    let site = Site::new(db).await;
    let Site { world, tenant, storage, compute, .. } = &site;
    let instance = world.running(tenant, *compute).await;
    let (taken, left) = (site.volume(1).await, site.volume(1).await);
    let mut exports = Vec::new();
    for (volume, device) in [(taken, "/dev/sdf"), (left, "/dev/sdg")] {
        exports.push(site.attached(volume, instance, device).await);
        let set = world.db.set_delete_on_termination(tenant.project, instance, &[(volume, true)]).await;
        assert_eq!(set.unwrap(), None);
    }
    // Taken from the instance, and not yet let go of by the guest.
    site.detach(taken, false).await;
    let set = world.db.set_delete_on_termination(tenant.project, instance, &[(taken, true)]).await;
    assert_eq!(set.unwrap(), Some(taken), "it is on its way out");
    // The guest's host is given up, with the instance.
    world.db.set_node_state(*compute, NodeState::Unreachable, world.now()).await.unwrap();
    let reason = StateReason { code: "Server.Expunged".into(), message: "given up".into(), detail: None };
    world.db.expunge_node(*compute, &reason, world.now()).await.unwrap();
    for (volume, export) in [taken, left].into_iter().zip(exports) {
        site.says(*storage, StorageNews::ExportGone(export)).await;
        let record = site.record(volume).await.unwrap();
        assert_eq!((record.volume.state, record.attachments), (VolumeState::Available, vec![]));
    }
    site.assert_books().await;
}

pub async fn a_detached_volume_outlives_its_instance(db: Arc<dyn Db>) {
    let site = Site::new(db).await;
    let Site { world, tenant, storage, compute, .. } = &site;
    let instance = world.running(tenant, *compute).await;
    let volume = site.volume(1).await;
    let export = site.attached(volume, instance, "/dev/sdf").await;
    world.db.set_delete_on_termination(tenant.project, instance, &[(volume, true)]).await.unwrap();
    site.detach(volume, false).await;
    world.terminate(tenant, instance).await;
    site.says(*storage, StorageNews::ExportGone(export)).await;
    assert_eq!(site.record(volume).await.unwrap().volume.state, VolumeState::Available);
}
