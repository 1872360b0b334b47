//! Termination.

use clap::Args;
use tepui_types::endpoint::{ListVolumes, TerminateInstance};
use tepui_types::rest::{Empty, Instance, Volume};

use super::power::{Watch, all, words};
use super::watch::Target;
use super::{called, state};
use crate::aws::ShowAws;
use crate::command::volume::deletes;
use crate::complete::{Kind, names};
use crate::confirm::Destroy;
use crate::failure::{Failure, Result};
use crate::session::Session;

/// Which instances to terminate.
#[derive(Debug, Args)]
pub struct Delete {
    /// Names, ids or unique beginnings
    #[arg(required = true, add = names(Kind::Instance))]
    instances: Vec<String>,
    /// Confirmation.
    #[command(flatten)]
    destroy: Destroy,
    /// Watching.
    #[command(flatten)]
    watch: Watch,
    /// Equivalent command.
    #[command(flatten)]
    aws: ShowAws,
}

/// Terminates them. Protection is looked at first, so that one protected instance keeps all.
pub(super) async fn run(delete: Delete, session: &mut Session) -> Result<()> {
    let found = all(&delete.instances, session).await?;
    if let Some(instance) = found.iter().find(|instance| instance.disable_api_termination) {
        return Err(protected(instance));
    }
    let volumes = session.call::<ListVolumes>(&[], &Empty {}).await?.items;
    let inventory: Vec<String> = found.iter().flat_map(|one| inventory(one, &volumes)).collect();
    delete.aws.say(session, &words("terminate-instances", &found));
    for instance in &found {
        session.rehearse::<TerminateInstance>(&[&instance.id.to_string()], &Empty {}).await?;
    }
    if !delete.destroy.settle(session, &inventory, &to_type(&found)).await? {
        return Ok(());
    }
    let mut ending = Vec::with_capacity(found.len());
    for instance in found {
        ending.push(session.call::<TerminateInstance>(&[&instance.id.to_string()], &Empty {}).await?);
    }
    let gone = delete.watch.all(ending, Target::Terminated, session).await?;
    session.list(&gone, "")
}

fn protected(instance: &Instance) -> Failure {
    let name = called(instance);
    Failure::failed(format!("'{name}' is protected from termination; nothing was deleted"))
        .try_(format!("tepui instance set {name} --termination-protection off"))
        .docs("tepui help instance set")
}

fn inventory(instance: &Instance, volumes: &[Volume]) -> Vec<String> {
    let kind = format!("{}, {}", instance.instance_type, state(instance));
    let head = format!("deletes: instance {} ({}, {kind})", called(instance), instance.id);
    let stays = |id| {
        let root =
            volumes.iter().find(|volume| volume.id == id).and_then(|volume| volume.attachments.first());
        root.is_some_and(|one| !one.delete_on_termination)
    };
    let disk = instance.root_volume_id.filter(|id| !stays(*id)).map(|volume| {
        format!("deletes: its root disk ({volume}, {} GiB)", instance.root_gib.unwrap_or_default())
    });
    let goes = |volume: &&Volume| match volume.attachments.as_slice() {
        // The root disk is a volume too, and named above.
        [only] => {
            instance.root_volume_id != Some(volume.id)
                && only.instance_id == instance.id
                && only.delete_on_termination
        }
        // It stays with the others that have it.
        _ => false,
    };
    let private = instance.private_ip.map(|address| format!("releases: its private address {address}"));
    let public = instance.public_ip.map(|address| format!("releases: its public address {address}"));
    let disks = disk.into_iter().chain(volumes.iter().filter(goes).map(deletes));
    let addresses = private.into_iter().chain(public);
    std::iter::once(head).chain(disks).chain(addresses).collect()
}

/// What a person types: the one name, or how many.
fn to_type(found: &[Instance]) -> String {
    match found {
        [one] => called(one),
        several => format!("{} instances", several.len()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A volume in a place of the instance.
    fn volume(id: &str, name: Option<&str>, instance: &str, goes: bool) -> Volume {
        let attachment = json!({
            "instance_id": instance, "device": "/dev/sdf", "state": "attached",
            "delete_on_termination": goes, "since": "2026-11-22T04:19:00Z",
        });
        let volume = json!({
            "id": id, "name": name, "size_gib": 20, "class": "gp3", "state": "in-use", "snapshot_id": null,
            "read_only": false, "attachments": [attachment], "tags": {}, "created_at": "2026-11-22T04:19:00Z",
        });
        serde_json::from_value(volume).unwrap()
    }

    #[test]
    fn all_disks_that_go_with_an_instance_are_in_its_inventory() {
        let (web, other) = ("i-0123456789abcdef0", "i-0fedcba9876543210");
        let instance = json!({
            "id": web, "name": "web", "state": "running", "state_reason": null,
            "state_since": "2026-11-22T04:19:00Z", "health": "ok", "observed": "running",
            "reservation_id": "r-0123456789abcdef0", "image_id": "ami-0123456789abcdef0",
            "image_name": "debian-12", "login_user": "debian", "instance_type": "t3.micro", "vcpus": 2,
            "memory_mib": 1024, "key_name": null, "private_ip": "172.31.0.4", "public_ip": null,
            "interface_id": "eni-0123456789abcdef0", "group_ids": [], "vpc_id": "vpc-0123456789abcdef0",
            "subnet_id": "subnet-0123456789abcdef0", "boots_from_volume": false, "root_volume_id": "vol-00000000000000001",
            "root_gib": 10, "placement_id": null, "node_id": null, "shutdown_behavior": "stop",
            "disable_api_termination": false, "disable_api_stop": false, "tags": {},
            "launched_at": "2026-11-22T04:18:58Z",
        });
        let instance: Instance = serde_json::from_value(instance).unwrap();
        let volumes = [
            volume("vol-00000000000000001", None, web, true),
            volume("vol-00000000000000002", Some("data"), web, true),
            volume("vol-00000000000000003", None, web, true),
            volume("vol-00000000000000004", Some("kept"), web, false),
            volume("vol-00000000000000005", Some("others"), other, true),
        ];
        let what = "and what is on it";
        let lines = [
            "deletes: instance web (i-0123456789abcdef0, t3.micro, running)".to_owned(),
            "deletes: its root disk (vol-00000000000000001, 10 GiB)".to_owned(),
            format!("deletes: volume data (vol-00000000000000002, 20 GiB) {what}"),
            format!("deletes: volume vol-00000000000000003 (vol-00000000000000003, 20 GiB) {what}"),
            "releases: its private address 172.31.0.4".to_owned(),
        ];
        assert_eq!(inventory(&instance, &volumes), lines);
    }
}
