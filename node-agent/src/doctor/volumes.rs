//! The volumes that running guests have, against those that they should have.

use std::collections::BTreeMap;

use tepui_libvirt::LiveDisk;
use tepui_types::PlacementId;
use tepui_types::agent::{DiskPart, PlacementPart, PlacementSpec, Power, WantedDisk};

use super::{Books, Finding, Subject, warning};
use crate::disks::scratch::is_scratch;
use crate::volumes::{disks_of, names, root_of, serial};

/// The raw disks of running domains: volumes and scratch disks.
pub type Live = BTreeMap<PlacementId, Vec<LiveDisk>>;

/// Compares those of guests that the control plane names; others are strangers as a whole.
pub(super) fn findings(books: &Books, live: Option<&Live>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let Some(live) = live else { return findings };
    for placement in &books.wanted.node.placements {
        let (PlacementPart::Present(spec), Some(disks)) = (&placement.wanted, live.get(&placement.id)) else {
            continue;
        };
        findings.extend(missing(placement.id, spec, disks));
        // What a part of an older epoch does not name one of this epoch may.
        if books.wanted.names_everyone() {
            let volumes = disks.iter().filter(|disk| !is_scratch(&disk.source));
            findings.extend(volumes.filter_map(|disk| unwanted(placement.id, spec, disk)));
        }
    }
    findings
}

/// So many volumes are to be disks of guests that run.
pub(super) fn count(live: Option<&Live>) -> usize {
    live.into_iter().flat_map(BTreeMap::values).flatten().filter(|disk| !is_scratch(&disk.source)).count()
}

fn missing<'a>(
    id: PlacementId,
    spec: &'a PlacementSpec,
    live: &'a [LiveDisk],
) -> impl Iterator<Item = Finding> + 'a {
    let wanted: Vec<_> = match spec.power {
        Power::Running { .. } => root_of(spec).into_iter().chain(disks_of(spec)).collect(),
        // It is about to end.
        Power::Stopped { .. } => Vec::new(),
    };
    let missing =
        wanted.into_iter().filter(|disk| !live.iter().any(|live| live.source == disk.source_name()));
    missing.map(move |disk| {
        let volume = spec.disks.iter().find(|wanted| serial(wanted.volume_id) == disk.serial);
        let volume = volume.map_or_else(|| disk.serial.clone(), |wanted| wanted.volume_id.to_string());
        let what = format!("{id} should have it as {}, and its domain does not", disk.device());
        let cure =
            "wait for the agent, which gives it to the guest; if it stays, see the agent's log for the guest";
        warning(Subject::Volumes, volume, what, cure)
    })
}

/// A volume that a guest has and should not.
fn unwanted(id: PlacementId, spec: &PlacementSpec, live: &LiveDisk) -> Option<Finding> {
    let (device, source) = (&live.device, &live.source);
    if root_of(spec).into_iter().chain(disks_of(spec)).any(|disk| disk.source_name() == *source) {
        return None;
    }
    let of = |disk: &&WantedDisk| {
        disk.wanted == DiskPart::Absent && names(disk).iter().any(|name| source.contains(name))
    };
    Some(match spec.disks.iter().find(of) {
        Some(disk) => {
            let what = format!("{id} was asked to let go of it, and still has it as {device}");
            let cure = format!(
                "unmount it in the guest, or: aws ec2 detach-volume --force --volume-id {}",
                disk.volume_id
            );
            warning(Subject::Volumes, disk.volume_id.to_string(), what, &cure)
        }
        None => {
            let what = format!("its domain has {source}, which the control plane does not name");
            let cure = "stop and start the instance, which then has what it should: a volume that was taken by force is nothing but a dead disk";
            warning(Subject::Volumes, format!("{id} {device}"), what, cure)
        }
    })
}

#[cfg(test)]
mod tests;
