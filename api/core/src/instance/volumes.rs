//! Volumes that a launch makes beside root disks: what each is to be, and the pool it goes to.

use std::collections::BTreeSet;

use tepui_db::model::{Pool, Snapshot, Volume, VolumeState};
use tepui_db::{LaunchVolume, NewAttachment};
use tepui_types::agent::{IoLimits, PoolBackend};
use tepui_types::{AttachmentId, ExportId, InstanceId, NodeId, PoolId, Timestamp, VolumeId};

use super::LaunchVolumeRequest;
use crate::volume::attach::device_name;
use crate::volume::create::{OpenPools, emptiest, wanted_size};
use crate::volume::throttle::io_limits;
use crate::{Caller, Cloud, Error, limits};

/// A volume to be, checked.
pub(super) struct Disk {
    device: String,
    pub(super) size_gib: u32,
    class: Option<String>,
    limits: IoLimits,
    snapshot: Option<Snapshot>,
    delete_on_termination: bool,
}

/// For each disk of a launch the pools that it can go to.
pub(super) struct Pools(Vec<OpenPools>);

impl Cloud {
    /// Checks the volumes of a launch.
    pub(super) async fn resolve_volumes(
        &self,
        caller: &Caller,
        asked: &[LaunchVolumeRequest],
    ) -> Result<Vec<Disk>, Error> {
        if asked.len() > limits::VOLUMES_PER_INSTANCE as usize {
            let limit = limits::VOLUMES_PER_INSTANCE as usize;
            return Err(Error::LimitExceeded { what: "volumes of an instance", limit });
        }
        let mut places = BTreeSet::new();
        let mut disks = Vec::with_capacity(asked.len());
        for one in asked {
            let device = device_name(&one.device)?;
            // The guest orders its disks by the letter at the end: /dev/sdf and /dev/vdf are one place.
            if !places.insert(device.chars().last()) {
                return Err(Error::invalid(
                    "device",
                    device,
                    "is another disk's: each has a letter of its own",
                ));
            }
            let snapshot = match one.snapshot_id {
                Some(id) => Some(self.usable_snapshot(caller, id).await?),
                None => None,
            };
            let size_gib = wanted_size(one.size_gib, snapshot.as_ref())?;
            let limits = io_limits(one.iops, one.throughput_mib)?;
            let (class, delete_on_termination) = (one.class.clone(), one.delete_on_termination);
            disks.push(Disk { device, size_gib, class, limits, snapshot, delete_on_termination });
        }
        Ok(disks)
    }

    /// The pools that these disks can go to.
    pub(super) async fn pools_for(&self, disks: &[Disk]) -> Result<Pools, Error> {
        let mut found = Vec::with_capacity(disks.len());
        for disk in disks {
            let open = self.open_pools(disk.class.as_deref(), disk.snapshot.as_ref()).await?;
            if open.pools.is_empty() {
                return Err(Error::PoolsFull { class: open.class });
            }
            found.push(open);
        }
        Ok(Pools(found))
    }

    /// The rows of an instance's volumes.
    pub(super) fn launch_volumes(
        &self,
        caller: &Caller,
        (disks, pools): (&[Disk], &Pools),
        (instance_id, node): (InstanceId, NodeId),
        created_at: Timestamp,
    ) -> Result<Vec<LaunchVolume>, Error> {
        let make = |(disk, open): (&Disk, &OpenPools)| {
            let pool = pool_of(open, node).ok_or_else(|| Error::PoolsFull { class: open.class.clone() })?;
            let (id, export_id) =
                (VolumeId::from_random(self.random()), ExportId::from_random(self.random()));
            let volume = Volume {
                id,
                project_id: caller.project,
                pool_id: pool.id,
                size_gib: disk.size_gib,
                actual_gib: 0,
                limits: disk.limits,
                snapshot_id: disk.snapshot.as_ref().map(|snapshot| snapshot.id),
                state: VolumeState::Creating,
                message: None,
                created_at,
            };
            let attachment = NewAttachment {
                id: AttachmentId::from_random(self.random()),
                project_id: caller.project,
                volume_id: id,
                instance_id,
                device: disk.device.clone(),
                delete_on_termination: disk.delete_on_termination,
                export_id,
                wrapped_secret: self.new_secret(export_id)?,
                most: limits::VOLUMES_PER_INSTANCE,
            };
            Ok(LaunchVolume { volume, attachment })
        };
        disks.iter().zip(&pools.0).map(make).collect()
    }
}

impl Pools {
    /// The nodes on which an instance reaches a pool for each of its disks; `None` for all.
    pub(super) fn nodes(&self) -> Option<BTreeSet<NodeId>> {
        let reach = |open: &OpenPools| {
            let is_local = |pool: &Pool| pool.backend == PoolBackend::Local;
            let all_local = open.pools.iter().all(|open| is_local(&open.pool));
            all_local.then(|| open.pools.iter().map(|open| open.pool.node_id).collect::<BTreeSet<_>>())
        };
        self.0.iter().filter_map(reach).reduce(|one, other| &one & &other)
    }

    /// The hosts of these pools.
    pub(super) fn hosts(&self, pools: &BTreeSet<PoolId>) -> Vec<NodeId> {
        let open = self.0.iter().flat_map(|open| &open.pools);
        open.filter(|open| pools.contains(&open.pool.id)).map(|open| open.pool.node_id).collect()
    }
}

/// The emptiest pool that an instance on the node reaches.
fn pool_of(open: &OpenPools, node: NodeId) -> Option<&Pool> {
    let reaches = |pool: &Pool| match pool.backend {
        PoolBackend::Local => pool.node_id == node,
        PoolBackend::Iscsi | PoolBackend::Nfs => true,
    };
    emptiest(open.pools.iter().filter(|open| reaches(&open.pool))).map(|open| &open.pool)
}
