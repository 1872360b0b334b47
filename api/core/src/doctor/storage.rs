//! Pools, and what is in them, as their hosts see them.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use jiff::Timestamp;
use tepui_db::StoragePartState;
use tepui_db::model::{Attachment, NodeState, Snapshot, SnapshotState, VolumeMove, VolumeState};
use tepui_types::agent::{
    DiskFailure, DiskState, ExportState, PoolState, StalledDisk, StorageObserved, StoredState,
};
use tepui_types::{NodeId, SnapshotId};

use super::overdue::age;
use super::{Finding, failure, leftovers, warning};
use crate::pool::used_percent;
use crate::{NodeView, PoolView};

/// A volume or snapshot is a file that is made, cloned or moved within a moment.
const DEADLINE: Duration = Duration::from_secs(300);
/// A root disk that is local to its host is captured and sent in turn with others. A host gives the capture half of the latter
/// for each GiB.
const ROOT: Duration = Duration::from_secs(3600);
const ROOT_FOR_EACH_GIB: Duration = Duration::from_secs(200);

/// Of what a node has not said, nothing is known but that it is silent: a finding of its own.
pub(super) fn findings(
    nodes: &[NodeView],
    pools: &[PoolView],
    parts: &BTreeMap<NodeId, StoragePartState>,
    now: Timestamp,
) -> Vec<Finding> {
    let up = |view: &&NodeView| view.load.node.state == NodeState::Up;
    let mut findings: Vec<_> = pools.iter().filter_map(pool).collect();
    let mut attachments = HashMap::new();
    for part in parts.values() {
        attachments.extend(part.attachments.iter().map(|(attachment, _)| (attachment.export_id, attachment)));
    }
    for view in nodes.iter().filter(up) {
        let Some(report) = &view.report else { continue };
        let name = &view.load.node.name;
        if let (Some(part), Some(seen)) = (parts.get(&view.load.node.id), &report.observed.storage) {
            findings.extend(stored(name, part, seen, now));
            findings.extend(leftovers::findings(part, seen));
            findings.extend(
                seen.exports.iter().filter_map(|one| export(name, attachments.get(&one.id)?, &one.state)),
            );
        }
        let disks = report.observed.placements.iter().flat_map(|placement| &placement.disks);
        findings.extend(disks.filter_map(|one| disk(name, attachments.get(&one.export_id)?, &one.state)));
        let stalled = &report.observed.stalled;
        findings.extend(stalled.iter().filter_map(|one| {
            let attachment = attachments.get(&one.export_id)?;
            Some(stall(attachment, pool_of(pools, parts, attachment), one))
        }));
    }
    findings
}

fn pool(view: &PoolView) -> Option<Finding> {
    let (load, pool) = (&view.load, &view.load.pool);
    let object = format!("pool {}", pool.name);
    match (load.node_state, &view.state) {
        (NodeState::Expunged, _) => {
            let besides = pool.filer.as_ref().map_or_else(String::new, |filer| {
                format!("copy from {filer} what is to be kept, as the filer has every byte; ")
            });
            let cure =
                format!("{besides}delete its volumes and snapshots, then: tepui pool delete {}", pool.name);
            let what = format!(
                "is lost with its node, and {} volumes and {} snapshots with it",
                load.volumes, load.snapshots
            );
            Some(warning(object, what, cure))
        }
        (NodeState::Unreachable, _) | (NodeState::Up, None) => None,
        (NodeState::Up, Some(PoolState::Failed { message })) => {
            let cure = "mend this on its host; what is in it is served again by itself";
            Some(failure(object, message.clone(), cure))
        }
        (NodeState::Up, Some(PoolState::Ready { total_bytes, used_bytes })) => {
            let percent = used_percent(*total_bytes, *used_bytes);
            let what = |then| format!("{percent} % of its file system are in use: {then}");
            let cure = "delete volumes or snapshots (tepui pool reclaim frees their room at once), or grow its file system";
            if percent >= u64::from(pool.hard_percent) {
                Some(failure(object, what("it takes nothing new"), cure))
            } else {
                (percent >= u64::from(pool.soft_percent))
                    .then(|| warning(object, what("it is nearly full"), cure))
            }
        }
    }
}

fn stored<'a>(
    node: &'a str,
    part: &'a StoragePartState,
    seen: &'a StorageObserved,
    now: Timestamp,
) -> impl Iterator<Item = Finding> + use<'a> {
    let volumes: HashMap<_, _> = seen.volumes.iter().map(|one| (one.id, &one.state)).collect();
    let snapshots: HashMap<_, _> = seen.snapshots.iter().map(|one| (one.id, &one.state)).collect();
    let volumes = part.volumes.iter().map(move |volume| Row {
        object: format!("volume {}", volume.id),
        error: (volume.state == VolumeState::Error).then_some(volume.message.as_deref()),
        deletion: format!("aws ec2 delete-volume --volume-id {}", volume.id),
        making_since: (volume.state == VolumeState::Creating).then_some(volume.created_at),
        may_wait: false,
        seen: volumes.get(&volume.id).copied(),
    });
    let snapshots = part.snapshots.iter().map(move |snapshot| Row {
        object: match move_of(part, snapshot.id) {
            Some(moved) => format!("move of volume {}", moved.volume_id),
            None => format!("snapshot {}", snapshot.id),
        },
        error: (snapshot.state == SnapshotState::Error && move_of(part, snapshot.id).is_none())
            .then_some(snapshot.message.as_deref()),
        deletion: format!("aws ec2 delete-snapshot --snapshot-id {}", snapshot.id),
        making_since: (snapshot.state == SnapshotState::Pending && !is_transfer(snapshot))
            .then_some(snapshot.created_at),
        may_wait: waits_for_host(snapshot, now),
        seen: snapshots.get(&snapshot.id).copied(),
    });
    volumes.chain(snapshots).filter_map(move |row| row.finding(node, now))
}

/// The move that made the snapshot.
fn move_of(part: &StoragePartState, id: SnapshotId) -> Option<&VolumeMove> {
    part.moves.iter().find(|one| one.source_id == id || one.target_id == id)
}

/// It takes as long as its bytes do to get from one pool to another, or from its instance's host.
fn is_transfer(snapshot: &Snapshot) -> bool {
    snapshot.root_of.is_some() || snapshot.copy_of.is_some_and(|source| source.pool_id != snapshot.pool_id)
}

/// Whether its instance's host may still take its time: tries end meanwhile, and say that there is nothing yet.
fn waits_for_host(snapshot: &Snapshot, now: Timestamp) -> bool {
    let time = ROOT + ROOT_FOR_EACH_GIB * snapshot.size_gib;
    let is_in_time = age(snapshot.created_at, now).is_none_or(|age| age <= time);
    snapshot.state == SnapshotState::Pending && snapshot.root_of.is_some() && is_in_time
}

/// A volume or snapshot, with what its host said last.
struct Row<'a> {
    object: String,
    /// It is in error, for this reason.
    error: Option<Option<&'a str>>,
    deletion: String,
    making_since: Option<Timestamp>,
    /// A try that failed is none of the cloud's failures yet.
    may_wait: bool,
    seen: Option<&'a StoredState>,
}

impl Row<'_> {
    fn finding(self, node: &str, now: Timestamp) -> Option<Finding> {
        if let Some(reason) = self.error {
            let what = format!("is in error: {}", reason.unwrap_or("its host gave no reason"));
            return Some(warning(self.object, what, self.deletion));
        }
        match self.seen {
            Some(StoredState::Failed { message, permanent: false }) if self.may_wait => {
                Some(warning(self.object, format!("waits for its instance's host: {message}"), LOOK))
            }
            Some(StoredState::Failed { message, .. }) => {
                Some(failure(self.object, format!("node {node} says: {message}"), MEND))
            }
            // An image may take longer than anything else, and its host goes on.
            Some(StoredState::Awaited { .. }) => None,
            None | Some(StoredState::Present { .. } | StoredState::Gone) => {
                let since =
                    self.making_since.filter(|since| age(*since, now).is_some_and(|age| age > DEADLINE))?;
                Some(warning(self.object, format!("is being made since {since}"), LOOK))
            }
        }
    }
}

/// The name of the pool that a volume is in.
fn pool_of<'a>(
    pools: &'a [PoolView],
    parts: &BTreeMap<NodeId, StoragePartState>,
    attachment: &Attachment,
) -> Option<&'a str> {
    let mut volumes = parts.values().flat_map(|part| &part.volumes);
    let id = volumes.find(|volume| volume.id == attachment.volume_id)?.pool_id;
    pools.iter().find(|view| view.load.pool.id == id).map(|view| view.load.pool.name.as_str())
}

/// A guest whose write waits for a pool.
fn stall(attachment: &Attachment, pool: Option<&str>, stalled: &StalledDisk) -> Finding {
    let Attachment { volume_id, instance_id, .. } = attachment;
    let pool = pool.map_or_else(|| "its pool".to_owned(), |name| format!("pool {name}"));
    let (why, cure) = match stalled.failure {
        DiskFailure::NoSpace => (
            format!("{pool} has no room for what it writes to {volume_id}"),
            "make room there: delete volumes or snapshots (tepui pool reclaim frees their room at once), or grow its file \
             system; the guest goes on by itself within ten seconds",
        ),
        DiskFailure::Other => (
            format!("a request to {volume_id} in {pool} failed"),
            "see whether the pool is full, look at its host and at the network to it; the guest goes on by itself within ten seconds",
        ),
    };
    failure(format!("instance {instance_id}"), format!("its guest stands still: {why}"), cure)
}

const MEND: &str = "mend this on that host; its agent tries again by itself";
const LOOK: &str = "look at tepui-node's log on the pool's host";

fn export(node: &str, attachment: &Attachment, seen: &ExportState) -> Option<Finding> {
    let object = format!("volume {}", attachment.volume_id);
    match seen {
        ExportState::Failed { message } => {
            Some(failure(object, format!("node {node} cannot serve it or shut it: {message}"), MEND))
        }
        ExportState::Closing { connections } => {
            let what = format!("waits for {connections} connections of {} to end", attachment.instance_id);
            Some(warning(
                object,
                what,
                "wait a minute: nothing new can be written, and nobody else is let in before",
            ))
        }
        ExportState::Open { .. } | ExportState::Gone => None,
    }
}

fn disk(node: &str, attachment: &Attachment, seen: &DiskState) -> Option<Finding> {
    let Attachment { volume_id, instance_id, .. } = attachment;
    let object = format!("volume {volume_id}");
    match seen {
        DiskState::Failed { message } => {
            let what = format!("node {node} cannot give it to {instance_id} or take it: {message}");
            Some(failure(object, what, MEND))
        }
        DiskState::Detaching => {
            let cure =
                format!("unmount it in the guest, or: aws ec2 detach-volume --force --volume-id {volume_id}");
            Some(warning(object, format!("{instance_id} was asked to let go of it"), cure))
        }
        DiskState::Attached | DiskState::Absent => None,
    }
}
