//! Volumes that are made with their instance.

use std::sync::Arc;

use tepui_types::agent::PoolBackend;
use tepui_types::{NodeId, SnapshotId};

use super::site::{Site, source};
use crate::model::{AttachmentState, ExportState, InstanceState, VolumeState};
use crate::{Db, Launch, LaunchOutcome, LaunchVolume, StorageNews, VolumeOutcome};

/// An instance on the node with one volume of 4 GiB for each device.
fn launch(site: &Site, node: NodeId, devices: &[&str]) -> Launch {
    let mut new = site.world.instance(&site.tenant, node);
    for device in devices {
        let volume = site.new_volume(4).volume;
        let mut attachment = site.new_attachment(volume.id, new.instance.id, device);
        attachment.delete_on_termination = true;
        new.volumes.push(LaunchVolume { volume, attachment });
    }
    site.world.launch(&site.tenant, vec![new])
}

pub async fn a_launch_brings_its_volumes(db: Arc<dyn Db>) {
    let site = Site::new(db).await;
    let mut launch = launch(&site, site.compute, &["/dev/sdg", "/dev/sdf"]);
    let first = launch.instances[0].volumes[0].clone();
    launch.tags = vec![(first.volume.id.to_string(), "Name".into(), "data".into())];
    let before = (site.generation().await, site.world.node_generation(site.compute).await);
    let LaunchOutcome::Launched(told) = site.world.try_launch(&launch).await else { panic!("refused") };
    assert_eq!(told, site.world.records(&site.tenant).await, "what is told is what is read");
    let after = (site.generation().await, site.world.node_generation(site.compute).await);
    assert!(after.0 > before.0 && after.1 > before.1);
    let places: Vec<_> = told[0].attachments.iter().map(|one| (one.device.as_str(), one.state)).collect();
    let attaching = AttachmentState::Attaching;
    assert_eq!(places, [("/dev/sdf", attaching), ("/dev/sdg", attaching)]);
    let record = site.record(first.volume.id).await.unwrap();
    assert_eq!((&record.volume, record.tags["Name"].as_str()), (&first.volume, "data"));
    let [attachment] = record.attachments.as_slice() else { panic!("{record:?}") };
    assert_eq!(attachment.export_state, ExportState::Making);
    assert!(attachment.delete_on_termination);
    let part = site.world.db.storage_part(site.storage).await.unwrap().unwrap();
    assert_eq!((part.volumes.len(), part.attachments.len()), (2, 2));
    site.assert_books().await;

    // They go with it, also half made.
    site.says(site.storage, StorageNews::VolumePresent(first.volume.id, 4)).await;
    site.says(site.storage, StorageNews::ExportOpen(first.attachment.export_id, source())).await;
    site.world.terminate(&site.tenant, told[0].instance.id).await;
    for new in &launch.instances[0].volumes {
        site.says(site.storage, StorageNews::ExportGone(new.attachment.export_id)).await;
        assert_eq!(site.record(new.volume.id).await.unwrap().volume.state, VolumeState::Deleting);
        site.says(site.storage, StorageNews::VolumeGone(new.volume.id)).await;
    }
    assert_eq!(site.records().await, []);
    assert_eq!(site.world.state(&site.tenant, told[0].instance.id).await, InstanceState::Terminated);
    site.assert_books().await;
}

pub async fn a_launch_whose_volumes_cannot_be_leaves_nothing(db: Arc<dyn Db>) {
    let site = Site::new(db).await;
    let world = &site.world;
    let mut refused = Vec::new();

    let mut unknown = launch(&site, site.compute, &["/dev/sdf", "/dev/sdg"]);
    let snapshot = SnapshotId::from_random(world.bits());
    unknown.instances[0].volumes[1].volume.snapshot_id = Some(snapshot);
    refused.push((unknown, LaunchOutcome::SnapshotMissing(snapshot)));
    let mut large = launch(&site, site.compute, &["/dev/sdf", "/dev/sdg"]);
    for new in &mut large.instances[0].volumes {
        new.volume.size_gib = 26_000;
    }
    let (quota, limit) = ("volume_gib", 51_200);
    refused.push((large, LaunchOutcome::QuotaExceeded { quota, limit, used: 0 }));
    for (launch, outcome) in refused {
        assert_eq!(world.try_launch(&launch).await, outcome);
        assert_eq!((site.records().await, world.records(&site.tenant).await), (Vec::new(), Vec::new()));
    }

    let launch = launch(&site, site.compute, &["/dev/sdf"]);
    world.db.set_pool_draining(site.pool, true).await.unwrap();
    assert_eq!(world.try_launch(&launch).await, LaunchOutcome::PoolLost(site.pool));
    assert_eq!((site.records().await, world.records(&site.tenant).await), (Vec::new(), Vec::new()));
    world.db.set_pool_draining(site.pool, false).await.unwrap();
    assert!(matches!(world.try_launch(&launch).await, LaunchOutcome::Launched(_)));
    let id = launch.instances[0].volumes[0].volume.id;
    assert_eq!(site.delete(id).await, VolumeOutcome::InUse(launch.instances[0].instance.id));
    site.assert_books().await;
}

pub async fn a_launch_takes_local_pools_of_its_own_node_only(db: Arc<dyn Db>) {
    let site = Site::with(db, PoolBackend::Local).await;
    let elsewhere = launch(&site, site.compute, &["/dev/sdf"]);
    assert_eq!(site.world.try_launch(&elsewhere).await, LaunchOutcome::PoolLost(site.pool));
    assert_eq!(site.records().await, []);
    let here = launch(&site, site.storage, &["/dev/sdf"]);
    assert!(matches!(site.world.try_launch(&here).await, LaunchOutcome::Launched(_)));
}
