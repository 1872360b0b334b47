//! Another instance with the disks that one has: by snapshots that go again once the disks are made of them.

use std::time::Duration;

use clap::Args;
use data_encoding::HEXLOWER;
use tepui_types::endpoint::{DeleteSnapshot, ListVolumes, RunInstances, SnapshotInstance};
use tepui_types::rest::{
    Empty, Instance, LaunchVolume, RunInstancesRequest, Snapshot, SnapshotInstanceRequest, Volume,
};

use super::find;
use super::watch::{Target, until};
use crate::command::snapshot::completed;
use crate::complete::{Kind, names};
use crate::failure::{Failure, Result};
use crate::session::Session;
use crate::wait::{Deadline, parse_duration};

/// An instance to be.
#[derive(Debug, Args)]
pub struct Clone {
    /// The one whose disks it gets: name, id or a unique beginning
    #[arg(add = names(Kind::Instance))]
    instance: String,
    /// Name of the new one
    name: String,
    /// Instance type [default: the same]
    #[arg(long = "type", value_name = "TYPE", add = names(Kind::InstanceType))]
    instance_type: Option<String>,
    /// How long to watch until it runs; then the exit code is 7
    #[arg(long, default_value = "5m", value_parser = parse_duration, allow_hyphen_values = true)]
    timeout: Duration,
}

/// Takes the snapshots, launches, and removes them again.
///
/// # Errors
/// What the command met. Snapshots that are left are named.
pub(super) async fn run(clone: Clone, session: &mut Session) -> Result<()> {
    let source = find(&clone.instance, session).await?;
    let deadline = Deadline::after(clone.timeout);
    let description = format!("for the clone {} of {}", clone.name, source.id);
    let request = SnapshotInstanceRequest { description, ..SnapshotInstanceRequest::default() };
    let snapshots = session.call::<SnapshotInstance>(&[&source.id.to_string()], &request).await?.items;
    let made = launch(&clone, &source, &snapshots, deadline, session).await;
    let left = remove(&snapshots, session).await;
    match (made, left) {
        (Ok(instance), Ok(())) => session.show(&instance),
        (Ok(_), Err(left)) => Err(left),
        (Err(failure), Ok(())) => Err(failure),
        (Err(failure), Err(left)) => Err(left.try_.into_iter().fold(failure, Failure::try_)),
    }
}

async fn launch(
    clone: &Clone,
    source: &Instance,
    snapshots: &[Snapshot],
    deadline: Deadline,
    session: &mut Session,
) -> Result<Instance> {
    for snapshot in snapshots {
        completed(snapshot.clone(), deadline, session).await?;
    }
    let volumes = session.call::<ListVolumes>(&[], &Empty {}).await?.items;
    let request = request(clone, source, snapshots, &volumes, session);
    let mut launched = session.call::<RunInstances>(&[], &request).await?.items;
    let Some(instance) = launched.pop() else {
        return Err(Failure::failed("the cloud launched nothing".to_owned()));
    };
    until(instance, Target::Running, deadline, session).await
}

fn request(
    clone: &Clone,
    source: &Instance,
    snapshots: &[Snapshot],
    volumes: &[Volume],
    session: &Session,
) -> RunInstancesRequest {
    let of = |volume: &Volume| snapshots.iter().find(|snapshot| snapshot.volume_id == Some(volume.id));
    let mut request = RunInstancesRequest {
        image: source.image_id.to_string(),
        instance_type: Some(clone.instance_type.clone().unwrap_or_else(|| source.instance_type.clone())),
        name: Some(clone.name.clone()),
        key_pair: source.key_name.clone(),
        groups: source.group_ids.iter().map(ToString::to_string).collect(),
        subnet: Some(source.subnet_id.to_string()),
        scratch_gib: source.scratch_gib,
        swap_gib: source.swap_gib,
        shutdown_behavior: Some(source.shutdown_behavior),
        tags: source.tags.clone().into_iter().filter(|(key, _)| key != "Name").collect(),
        client_token: Some(HEXLOWER.encode(&(session.world.random)())),
        ..RunInstancesRequest::default()
    };
    // A root disk that is local to its host is no volume, and one of the clone is.
    let is_root =
        |snapshot: &&Snapshot| snapshot.volume_id.is_some() && snapshot.volume_id == source.root_volume_id;
    request.root_snapshot = snapshots.iter().find(is_root).map(|snapshot| snapshot.id);
    for volume in volumes {
        let place = volume.attachments.iter().find(|place| place.instance_id == source.id);
        let (Some(snapshot), Some(place)) = (of(volume), place) else { continue };
        if Some(volume.id) == source.root_volume_id {
            request.root_delete_on_termination = Some(place.delete_on_termination);
        } else {
            request.volumes.push(LaunchVolume {
                device: place.device.clone(),
                size_gib: None,
                class: None,
                snapshot: Some(snapshot.id),
                delete_on_termination: place.delete_on_termination,
            });
        }
    }
    request
}

/// Those that are left, if any, are named.
async fn remove(snapshots: &[Snapshot], session: &mut Session) -> Result<()> {
    let mut failed: Option<Failure> = None;
    for snapshot in snapshots {
        let id = snapshot.id.to_string();
        if let Err(failure) = session.call::<DeleteSnapshot>(&[&id], &Empty {}).await {
            let kept = failed.take().unwrap_or(failure);
            failed = Some(kept.try_(format!("tepui snapshot delete {id} --yes")));
        }
    }
    failed.map_or(Ok(()), Err)
}
