//! Scratch disks: what they take of their node, and for how long.

use std::sync::Arc;

use tepui_types::agent::ScratchDisks;
use tepui_types::{InstanceId, NodeId, PlacementId};

use super::site::Site;
use super::world::CAPACITY;
use crate::model::InstanceState;
use crate::{AttachOutcome, Db, LaunchInstance, LaunchOutcome, NewPlace, PowerOutcome};

const BOTH: ScratchDisks = ScratchDisks { scratch_gib: 20, swap_gib: 2 };

/// An instance to be on the node of instances, with a root of 8 GiB and these.
fn instance(site: &Site, scratch: ScratchDisks) -> LaunchInstance {
    let mut new = site.world.instance(&site.tenant, site.compute);
    new.instance.scratch = scratch;
    new
}

/// The same, of one that boots from a volume which nobody has to be asked for.
fn moving(site: &Site, scratch: ScratchDisks) -> LaunchInstance {
    let mut new = instance(site, scratch);
    (new.root_volume, new.instance.volume_root) = (None, true);
    new
}

fn place(site: &Site, instance_id: InstanceId, node_id: NodeId) -> NewPlace {
    let placement_id = PlacementId::from_random(site.world.bits());
    NewPlace { instance_id, placement_id, node_id, exports: Vec::new() }
}

pub async fn scratch_disks_take_of_their_node_until_the_placement_is_gone(db: Arc<dyn Db>) {
    let site = Site::new(db).await;
    let Site { world, tenant, compute, .. } = &site;
    let disk = async || world.used(*compute).await.2;
    let new = instance(&site, BOTH);
    let LaunchOutcome::Launched(told) = world.try_launch(&world.launch(tenant, vec![new.clone()])).await
    else {
        panic!("refused")
    };
    assert_eq!(told, world.records(tenant).await, "what is told is what is read");
    let id = new.instance.id;
    assert_eq!((world.record(tenant, id).await.instance.scratch, disk().await), (BOTH, 30));
    world.observe(tenant, id, InstanceState::Running).await;
    world.stop(tenant, id).await;
    assert_eq!(disk().await, 30, "it starts there and nowhere else");
    site.assert_books().await;
    assert!(matches!(world.start(tenant, id).await, PowerOutcome::Changed(_)));
    let large = ScratchDisks { scratch_gib: u32::try_from(CAPACITY.disk_gib).unwrap() - 37, swap_gib: 0 };
    let refused = world.try_launch(&world.launch(tenant, vec![instance(&site, large)])).await;
    assert_eq!(refused, LaunchOutcome::NodeLost(*compute), "1 GiB too much");
    world.terminate(tenant, id).await;
    assert_eq!(disk().await, 0);
    site.assert_books().await;
}

/// What placements take is as it should be. The roots themselves are not there.
async fn assert_counted(site: &Site) {
    let mut found = site.world.db.discrepancies().await.unwrap();
    found.retain(|found| !found.object.starts_with("instance "));
    assert_eq!(found, []);
}

pub async fn scratch_disks_of_what_boots_from_a_volume_are_where_it_is(db: Arc<dyn Db>) {
    let site = Site::new(db).await;
    let Site { world, tenant, storage, compute, .. } = &site;
    let id = world.launched(tenant, moving(&site, BOTH)).await;
    world.observe(tenant, id, InstanceState::Running).await;
    assert_eq!(world.used(*compute).await, (1, 512, 22));
    assert_counted(&site).await;
    world.stop(tenant, id).await;
    assert_eq!(world.used(*compute).await, (0, 0, 0));
    let most = ScratchDisks { scratch_gib: u32::try_from(CAPACITY.disk_gib).unwrap() - 21, swap_gib: 0 };
    let other = world.launched(tenant, moving(&site, most)).await;
    let here = place(&site, id, *compute);
    assert_eq!(world.start_in(tenant, id, vec![here.clone()]).await, PowerOutcome::Unplaced(id));
    let started = world.start_in(tenant, id, vec![place(&site, id, *storage)]).await;
    assert!(matches!(started, PowerOutcome::Changed(_)), "{started:?}");
    assert_eq!(world.used(*storage).await, (1, 512, 22));
    assert_counted(&site).await;
    world.terminate(tenant, other).await;
    world.observe(tenant, id, InstanceState::Running).await;
    world.stop(tenant, id).await;
    assert!(matches!(world.start_in(tenant, id, vec![here]).await, PowerOutcome::Changed(_)));
    assert_eq!((world.used(*compute).await, world.used(*storage).await), ((1, 512, 22), (0, 0, 0)));
}

pub async fn no_volume_comes_to_the_place_of_a_scratch_disk(db: Arc<dyn Db>) {
    let site = Site::new(db).await;
    let volume = site.volume(4).await;
    let both = site.world.launched(&site.tenant, instance(&site, BOTH)).await;
    for device in ["/dev/sdb", "/dev/xvdc"] {
        let new = site.new_attachment(volume, both, device);
        assert_eq!(site.try_attach(&new).await, AttachOutcome::DeviceTaken, "{device}");
    }
    let swap = ScratchDisks { scratch_gib: 0, ..BOTH };
    let swaps = site.world.launched(&site.tenant, instance(&site, swap)).await;
    let refused = site.try_attach(&site.new_attachment(volume, swaps, "/dev/sdb")).await;
    assert_eq!(refused, AttachOutcome::DeviceTaken, "it is the first");
    let fits = site.try_attach(&site.new_attachment(volume, swaps, "/dev/sdc")).await;
    assert_eq!(fits, AttachOutcome::Attaching(site.storage));
}
