//! Instances that boot from a volume: in a place while they are on, in none while they are stopped, in another next.

use std::sync::Arc;

use tepui_types::agent::VolumeImage;
use tepui_types::{Digest, ExportId, InstanceId, NodeId, PlacementId, VolumeId};

use super::site::{Site, source};
use super::world::CAPACITY;
use crate::model::{
    Attachment, AttachmentState, ExportState, InstanceState, NodeState, PlacementGroup, PlacementStrategy,
    StateReason, VolumeState,
};
use crate::{
    Adoption, AttachOutcome, Db, DetachOutcome, ExpungeOutcome, LaunchInstance, LaunchVolume, NewPlace,
    PowerChange, PowerOutcome, StorageNews, VolumeChange, VolumeOutcome,
};

/// An instance to be on the node, with a root of 8 GiB that goes with it and a data volume that stays.
fn instance(site: &Site, node: NodeId) -> LaunchInstance {
    let mut new = site.world.instance(&site.tenant, node);
    new.root_volume = None;
    new.instance.volume_root = true;
    for (device, gib, is_root) in [("/dev/sda1", 8, true), ("/dev/sdf", 4, false)] {
        let mut volume = site.new_volume(gib).volume;
        volume.image = is_root.then(|| VolumeImage { digest: Digest::of(b"debian"), bytes: 1 << 30 });
        let mut attachment = site.new_attachment(volume.id, new.instance.id, device);
        (attachment.is_root, attachment.delete_on_termination) = (is_root, is_root);
        new.volumes.push(LaunchVolume { volume, attachment });
    }
    new
}

/// One that runs on the node of instances, with its volumes.
async fn running(site: &Site) -> InstanceId {
    let new = instance(site, site.compute);
    let id = site.world.launched(&site.tenant, new.clone()).await;
    for LaunchVolume { volume, .. } in &new.volumes {
        site.says(site.storage, StorageNews::VolumePresent(volume.id, volume.size_gib)).await;
    }
    open(site, id).await;
    site.world.observe(&site.tenant, id, InstanceState::Running).await;
    id
}

/// Both hosts say that the instance has its volumes.
async fn open(site: &Site, id: InstanceId) {
    let record = site.world.record(&site.tenant, id).await;
    let node = record.placement.unwrap().node_id;
    for attachment in record.attachments {
        site.says(site.storage, StorageNews::ExportOpen(attachment.export_id, source())).await;
        site.says(node, StorageNews::DiskAttached(attachment.export_id)).await;
        site.says(
            node,
            StorageNews::DiskFitted(attachment.export_id, attachment.size_gib, attachment.limits),
        )
        .await;
    }
}

/// The host of the volumes says that their exports are gone.
async fn fenced(site: &Site, id: InstanceId) {
    for export in exports(site, id).await {
        site.says(site.storage, StorageNews::ExportGone(export)).await;
    }
}

async fn attachments(site: &Site, id: InstanceId) -> Vec<Attachment> {
    site.world.record(&site.tenant, id).await.attachments
}

async fn exports(site: &Site, id: InstanceId) -> Vec<ExportId> {
    attachments(site, id).await.iter().map(|one| one.export_id).collect()
}

/// Stops one that runs, to the end.
async fn stopped(site: &Site) -> InstanceId {
    let id = running(site).await;
    site.world.stop(&site.tenant, id).await;
    fenced(site, id).await;
    assert_eq!(site.world.state(&site.tenant, id).await, InstanceState::Stopped);
    id
}

/// A place on the node, with a new export for each of these volumes.
fn place(site: &Site, id: InstanceId, node: NodeId, volumes: &[VolumeId]) -> NewPlace {
    let export = |volume: &VolumeId| (*volume, ExportId::from_random(site.world.bits()), vec![9; 32]);
    NewPlace {
        instance_id: id,
        placement_id: PlacementId::from_random(site.world.bits()),
        node_id: node,
        exports: volumes.iter().map(export).collect(),
    }
}

async fn place_for_all(site: &Site, id: InstanceId, node: NodeId) -> NewPlace {
    let volumes: Vec<_> = attachments(site, id).await.iter().map(|one| one.volume_id).collect();
    place(site, id, node, &volumes)
}

async fn started(site: &Site, id: InstanceId, node: NodeId) -> NewPlace {
    let place = place_for_all(site, id, node).await;
    let outcome = site.world.start_in(&site.tenant, id, vec![place.clone()]).await;
    let change = (id, InstanceState::Stopped, InstanceState::Pending);
    assert_eq!(outcome, PowerOutcome::Changed(vec![change]));
    place
}

pub async fn what_boots_from_a_volume_has_no_place_while_it_is_stopped(db: Arc<dyn Db>) {
    let site = Site::new(db).await;
    let Site { world, tenant, storage, compute, .. } = &site;
    let id = running(&site).await;
    let before = world.record(tenant, id).await;
    assert_eq!(before.root_volume, None);
    let root = before.root_attachment().unwrap();
    assert_eq!((root.device.as_str(), before.attachments[0].is_root), ("/dev/sda1", true));
    assert_eq!(world.used(*compute).await, (1, 512, 0), "its root takes nothing of the node");
    assert!(matches!(site.detach(root.volume_id, true).await, DetachOutcome::Root));

    let (wanted, shown, stored) = (
        world.node_generation(*compute).await,
        world.vpc_generation(tenant.vpc).await,
        site.generation().await,
    );
    world.power(tenant, id, PowerChange::Stop { force: false }).await;
    assert!(world.node_generation(*compute).await > wanted);
    world.observe(tenant, id, InstanceState::Stopped).await;
    let record = world.record(tenant, id).await;
    assert_eq!((record.instance.state, record.placement), (InstanceState::Stopping, None));
    assert!(record.interface.is_some(), "it keeps its address");
    assert_eq!(world.used(*compute).await, (0, 0, 0));
    assert!(world.vpc_generation(tenant.vpc).await > shown && site.generation().await > stored);
    let closing =
        |one: &Attachment| (one.state, one.export_state) == (AttachmentState::Attached, ExportState::Closing);
    assert!(record.attachments.iter().all(closing), "{:?}", record.attachments);
    let [root, data] = [record.attachments[0].export_id, record.attachments[1].export_id];
    site.says(*storage, StorageNews::ExportGone(data)).await;
    assert_eq!(
        world.state(tenant, id).await,
        InstanceState::Stopping,
        "somebody may still write to its root"
    );
    assert!(matches!(world.start(tenant, id).await, PowerOutcome::WrongState(_, InstanceState::Stopping)));
    site.says(*storage, StorageNews::ExportGone(root)).await;
    assert_eq!(world.state(tenant, id).await, InstanceState::Stopped);
    let closed = |one: &Attachment| {
        (one.state, one.export_state, &one.source, one.guest_gib)
            == (AttachmentState::Attached, ExportState::Closed, &None, 0)
    };
    assert!(attachments(&site, id).await.iter().all(closed));
    let part = world.db.storage_part(*storage).await.unwrap().unwrap();
    assert_eq!(part.attachments, [], "nothing is left to serve or to shut");
    site.assert_books().await;

    let (wanted, stored) = (world.node_generation(*storage).await, site.generation().await);
    let place = started(&site, id, *storage).await;
    let record = world.record(tenant, id).await;
    let placement = record.placement.unwrap();
    assert_eq!((placement.id, placement.node_id), (place.placement_id, *storage));
    assert_eq!(record.instance.start_seq, 2);
    assert_eq!((world.used(*storage).await, world.used(*compute).await), ((1, 512, 0), (0, 0, 0)));
    assert!(world.node_generation(*storage).await > wanted && site.generation().await > stored);
    for (one, (volume, export, _)) in record.attachments.iter().zip(&place.exports) {
        assert_eq!((one.volume_id, one.export_id, one.placement_id), (*volume, *export, place.placement_id));
        assert_eq!(one.export_state, ExportState::Making);
    }
    site.says(*storage, StorageNews::ExportOpen(root, source())).await;
    let source = &attachments(&site, id).await[0].source;
    assert_eq!(*source, None, "an old export's word says nothing of the new one");
    open(&site, id).await;
    world.observe(tenant, id, InstanceState::Running).await;
    assert_eq!(world.state(tenant, id).await, InstanceState::Running);
    site.assert_books().await;
}

pub async fn a_place_is_taken_whole_or_not_at_all(db: Arc<dyn Db>) {
    let site = Site::new(db).await;
    let Site { world, tenant, storage, compute, .. } = &site;
    let id = stopped(&site).await;
    let before = (world.record(tenant, id).await, site.generation().await);
    let unplaced = PowerOutcome::Unplaced(id);
    let refused = async |places: Vec<NewPlace>, why: &str| {
        assert_eq!(world.start_in(tenant, id, places).await, unplaced, "{why}");
        assert_eq!((world.record(tenant, id).await, site.generation().await), before, "{why}");
    };
    refused(Vec::new(), "no place").await;
    let root = before.0.attachments[0].volume_id;
    refused(vec![place(&site, id, *storage, &[root])], "a volume without an export").await;
    let unknown = VolumeId::from_random(world.bits());
    refused(vec![place(&site, id, *storage, &[root, unknown])], "a volume of another").await;
    let whole = place_for_all(&site, id, *storage).await;
    world.db.set_schedulable(*storage, false).await.unwrap();
    refused(vec![whole.clone()], "a drained node").await;
    world.db.set_schedulable(*storage, true).await.unwrap();
    let mut large = world.instance(tenant, *storage);
    large.instance.memory_mib = CAPACITY.memory_mib;
    world.launched(tenant, large).await;
    refused(vec![whole], "a full node").await;
    started(&site, id, *compute).await;

    // Members of a group that spreads them.
    let group = PlacementGroup {
        id: tepui_types::PlacementGroupId::from_random(world.bits()),
        project_id: tenant.project,
        name: "apart".into(),
        strategy: PlacementStrategy::Spread,
        created_at: world.now(),
    };
    world.db.create_placement_group(&group).await.unwrap();
    let mut member = instance(&site, *compute);
    member.instance.placement_group_id = Some(group.id);
    let member = world.launched(tenant, member).await;
    world.observe(tenant, member, InstanceState::Running).await;
    world.stop(tenant, member).await;
    fenced(&site, member).await;
    let mut other = world.instance(tenant, *compute);
    other.instance.placement_group_id = Some(group.id);
    world.launched(tenant, other).await;
    let shared = place_for_all(&site, member, *compute).await;
    assert_eq!(world.start_in(tenant, member, vec![shared]).await, PowerOutcome::Unplaced(member));
    site.assert_books().await;
}

pub async fn volumes_come_and_go_while_it_is_in_no_place(db: Arc<dyn Db>) {
    let site = Site::new(db).await;
    let id = running(&site).await;
    let late = site.volume(1).await;
    site.try_attach(&site.new_attachment(late, id, "/dev/sdh")).await;
    site.world.stop(&site.tenant, id).await;
    fenced(&site, id).await;
    let parked = site.attachment(late).await.unwrap();
    assert_eq!((parked.state, parked.export_state), (AttachmentState::Attached, ExportState::Closed));
    let data = attachments(&site, id).await[1].clone();
    site.detach(data.volume_id, false).await;
    site.says(site.storage, StorageNews::ExportGone(data.export_id)).await;
    assert_eq!(site.attachment(data.volume_id).await, None);
    let volume = site.volume(2).await;
    let new = site.new_attachment(volume, id, "/dev/sdg");
    assert_eq!(site.try_attach(&new).await, AttachOutcome::Attaching(site.storage));
    let attachment = site.attachment(volume).await.unwrap();
    assert_eq!((attachment.state, attachment.export_state), (AttachmentState::Attached, ExportState::Closed));
    let change = VolumeChange { size_gib: Some(3), iops: Some(500), ..VolumeChange::default() };
    site.world.db.modify_volume(site.tenant.project, volume, change, site.world.now()).await.unwrap();
    site.says(site.storage, StorageNews::VolumePresent(volume, 3)).await;
    assert!(site.modification(volume).await.unwrap().ended_at.is_some(), "no guest has it");
    site.assert_books().await;
    started(&site, id, site.storage).await;
    open(&site, id).await;
    site.assert_books().await;
}

/// What it reads comes with it, by an export of its own, and nobody else who reads that hears of it.
pub async fn what_it_shares_moves_with_it_alone(db: Arc<dyn Db>) {
    let site = Site::new(db).await;
    let mut new = site.new_volume(1);
    new.volume.read_only = true;
    site.create(&new).await;
    let shared = new.volume.id;
    site.says(site.storage, StorageNews::VolumePresent(shared, 1)).await;
    let stays = site.world.running(&site.tenant, site.compute).await;
    let other = site.attached(shared, stays, "/dev/sdf").await;
    let id = running(&site).await;
    let first = site.attached(shared, id, "/dev/sdr").await;
    site.world.stop(&site.tenant, id).await;
    let of = async |export| {
        let all = site.attachments(shared).await;
        all.into_iter().find(|one| one.export_id == export).map(|one| one.export_state)
    };
    assert_eq!((of(first).await, of(other).await), (Some(ExportState::Closing), Some(ExportState::Open)));
    fenced(&site, id).await;
    assert_eq!(site.world.state(&site.tenant, id).await, InstanceState::Stopped);
    assert_eq!((of(first).await, of(other).await), (Some(ExportState::Closed), Some(ExportState::Open)));
    let place = started(&site, id, site.storage).await;
    let (_, next, _) = place.exports.iter().find(|(volume, ..)| *volume == shared).unwrap();
    assert_eq!((of(first).await, of(*next).await), (None, Some(ExportState::Making)));
    assert_eq!(of(other).await, Some(ExportState::Open));
    open(&site, id).await;
    assert!(site.attachments(shared).await.iter().all(|one| one.read_only));
    site.assert_books().await;
}

pub async fn it_ends_from_no_place_too(db: Arc<dyn Db>) {
    let site = Site::new(db).await;
    let Site { world, tenant, storage, .. } = &site;
    let id = stopped(&site).await;
    let [root, data] = [0, 1].map(|place| place);
    let volumes = attachments(&site, id).await;
    let outcome = world.power(tenant, id, PowerChange::Terminate).await;
    let change = (id, InstanceState::Stopped, InstanceState::Terminated);
    assert_eq!(outcome, PowerOutcome::Changed(vec![change]));
    assert_eq!(world.record(tenant, id).await.interface, None);
    fenced(&site, id).await;
    let state = async |index: usize| site.record(volumes[index].volume_id).await.map(|one| one.volume.state);
    assert_eq!(state(root).await, Some(VolumeState::Deleting), "it goes with it");
    assert_eq!(state(data).await, Some(VolumeState::Available));
    assert_eq!(attachments(&site, id).await, []);
    site.assert_books().await;

    // Also while its volumes are being closed to the place that it left.
    let id = running(&site).await;
    world.stop(tenant, id).await;
    let outcome = world.power(tenant, id, PowerChange::Terminate).await;
    let change = (id, InstanceState::Stopping, InstanceState::Terminated);
    assert_eq!(outcome, PowerOutcome::Changed(vec![change]));
    let root = attachments(&site, id).await[0].volume_id;
    fenced(&site, id).await;
    assert_eq!(site.record(root).await.unwrap().volume.state, VolumeState::Deleting);
    site.says(*storage, StorageNews::VolumeGone(root)).await;
    site.assert_books().await;
}

pub async fn a_given_up_host_stops_what_boots_from_another_one(db: Arc<dyn Db>) {
    let site = Site::new(db).await;
    let Site { world, tenant, storage, compute, .. } = &site;
    let id = running(&site).await;
    let local = world.running(tenant, *compute).await;
    let reason = StateReason { code: "lost".into(), message: "given up".into(), detail: None };
    world.db.set_node_state(*compute, NodeState::Unreachable, world.now()).await.unwrap();
    for again in ["once", "repeated"] {
        let count = if again == "once" { 2 } else { 0 };
        let expunged = world.db.expunge_node(*compute, &reason, world.now()).await.unwrap();
        assert_eq!(expunged, ExpungeOutcome::Expunged(count), "{again}");
        assert_eq!(world.state(tenant, id).await, InstanceState::Stopping, "nobody said that it is fenced");
    }
    assert_eq!(world.state(tenant, local).await, InstanceState::Terminated);
    fenced(&site, id).await;
    let record = world.record(tenant, id).await;
    assert_eq!((record.instance.state, record.placement), (InstanceState::Stopped, None));
    assert_eq!(record.instance.state_reason, Some(reason));
    started(&site, id, *storage).await;
    site.assert_books().await;
}

pub async fn what_boots_from_a_given_up_host_can_only_end(db: Arc<dyn Db>) {
    let site = Site::new(db).await;
    let Site { world, tenant, storage, compute, .. } = &site;
    let (on, off) = (running(&site).await, stopped(&site).await);
    let reason = StateReason { code: "lost".into(), message: "given up".into(), detail: None };
    world.db.set_node_state(*storage, NodeState::Unreachable, world.now()).await.unwrap();
    world.db.expunge_node(*storage, &reason, world.now()).await.unwrap();
    for id in [on, off] {
        let left = attachments(&site, id).await;
        let [root] = &left[..] else { panic!("its root, and no other: {left:?}") };
        assert_eq!((root.is_root, root.export_state), (true, ExportState::Closed));
    }
    let root = attachments(&site, off).await[0].volume_id;
    let place = place(&site, off, *compute, &[root]);
    let outcome = world.start_in(tenant, off, vec![place]).await;
    assert_eq!(outcome, PowerOutcome::VolumeState(root, VolumeState::Error));
    world.stop(tenant, on).await;
    assert_eq!(world.state(tenant, on).await, InstanceState::Stopped, "nothing serves that could be shut");
    for id in [on, off] {
        let root = attachments(&site, id).await[0].volume_id;
        world.power(tenant, id, PowerChange::Terminate).await;
        assert_eq!(world.state(tenant, id).await, InstanceState::Terminated);
        assert_eq!(site.record(root).await, None, "nobody is waited for");
    }
    site.assert_books().await;
}

pub async fn what_is_all_on_a_given_up_host_ends_with_it(db: Arc<dyn Db>) {
    let site = Site::new(db).await;
    let id = site.world.launched(&site.tenant, instance(&site, site.storage)).await;
    let reason = StateReason { code: "lost".into(), message: "given up".into(), detail: None };
    site.world.db.set_node_state(site.storage, NodeState::Unreachable, site.world.now()).await.unwrap();
    site.world.db.expunge_node(site.storage, &reason, site.world.now()).await.unwrap();
    assert_eq!(site.world.state(&site.tenant, id).await, InstanceState::Terminated);
    site.assert_books().await;
}

pub async fn an_image_is_kept_until_its_volumes_are_made(db: Arc<dyn Db>) {
    let site = Site::new(db).await;
    let Site { world, tenant, storage, compute, .. } = &site;
    let mut new = instance(&site, *compute);
    new.volumes[0].attachment.delete_on_termination = false;
    let (id, root) = (world.launched(tenant, new.clone()).await, new.volumes[0].volume.id);
    world.db.deregister_image(tenant.project, tenant.image).await.unwrap();
    world.terminate(tenant, id).await;
    fenced(&site, id).await;
    let kept = async || world.db.digests_in_use().await.unwrap().contains(&Digest::of(b"debian"));
    assert!(kept().await, "its root is still to be made of it");
    site.says(*storage, StorageNews::VolumePresent(root, 8)).await;
    assert!(!kept().await);
}

pub async fn what_was_on_its_way_out_is_not_held_by_a_given_up_host(db: Arc<dyn Db>) {
    let site = Site::new(db).await;
    let Site { world, tenant, storage, .. } = &site;
    let id = running(&site).await;
    let root = attachments(&site, id).await[0].volume_id;
    world.terminate(tenant, id).await;
    let reason = StateReason { code: "lost".into(), message: "given up".into(), detail: None };
    world.db.set_node_state(*storage, NodeState::Unreachable, world.now()).await.unwrap();
    world.db.expunge_node(*storage, &reason, world.now()).await.unwrap();
    assert_eq!(attachments(&site, id).await, []);
    assert_eq!(site.delete(root).await, VolumeOutcome::Changed(vec![*storage]));
    assert_eq!(site.record(root).await, None);
    site.assert_books().await;
}

pub async fn one_that_waits_for_a_lost_root_ends_or_stops(db: Arc<dyn Db>) {
    let site = Site::new(db).await;
    let Site { world, tenant, storage, compute, .. } = &site;
    let first = world.launched(tenant, instance(&site, *compute)).await;
    let later = stopped(&site).await;
    started(&site, later, *compute).await;
    let reason = StateReason { code: "lost".into(), message: "given up".into(), detail: None };
    world.db.set_node_state(*storage, NodeState::Unreachable, world.now()).await.unwrap();
    let told = world.node_generation(*compute).await;
    world.db.expunge_node(*storage, &reason, world.now()).await.unwrap();
    assert_eq!(world.state(tenant, first).await, InstanceState::ShuttingDown);
    assert_eq!(world.state(tenant, later).await, InstanceState::Stopping);
    assert!(world.node_generation(*compute).await > told);
    world.observe(tenant, later, InstanceState::Stopped).await;
    assert_eq!(world.state(tenant, later).await, InstanceState::Stopped);
    site.assert_books().await;
}

pub async fn its_owners_word_counts_on_a_given_up_host_too(db: Arc<dyn Db>) {
    let site = Site::new(db).await;
    let Site { world, tenant, compute, .. } = &site;
    let id = running(&site).await;
    let root = attachments(&site, id).await[0].volume_id;
    world.power(tenant, id, PowerChange::Terminate).await;
    let reason = StateReason { code: "lost".into(), message: "given up".into(), detail: None };
    world.db.set_node_state(*compute, NodeState::Unreachable, world.now()).await.unwrap();
    world.db.expunge_node(*compute, &reason, world.now()).await.unwrap();
    fenced(&site, id).await;
    assert_eq!(site.record(root).await.unwrap().volume.state, VolumeState::Deleting);
}

pub async fn an_adoption_parks_it(db: Arc<dyn Db>) {
    let site = Site::new(db).await;
    let id = running(&site).await;
    let placement = site.world.record(&site.tenant, id).await.placement.unwrap();
    let adoption = Adoption {
        placement_id: placement.id,
        from: InstanceState::Running,
        state: InstanceState::Stopped,
        start_seq: 0,
        reboot_seq: 0,
        reason: None,
        observed: "not on its host".into(),
        gone: true,
    };
    let adopted = site.world.db.adopt(site.compute, &[adoption], site.world.now()).await.unwrap();
    assert_eq!(adopted, [placement.id]);
    let record = site.world.record(&site.tenant, id).await;
    assert_eq!((record.instance.state, record.placement), (InstanceState::Stopping, None));
    fenced(&site, id).await;
    assert_eq!(site.world.state(&site.tenant, id).await, InstanceState::Stopped);
    site.assert_books().await;
}
