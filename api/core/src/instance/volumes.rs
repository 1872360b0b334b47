//! Volumes that a launch makes beside root disks: what each is to be, and the pool it goes to.

use std::collections::BTreeSet;

use tepui_db::model::{Image, Pool, Snapshot, Volume, VolumeState};
use tepui_db::{LaunchVolume, NewAttachment};
use tepui_types::agent::{IoLimits, PoolBackend, ScratchDisks, VolumeImage};
use tepui_types::{AttachmentId, ExportId, InstanceId, NodeId, PoolId, Timestamp, VolumeId};

use super::resolve::{root_device, root_size};
use super::{LaunchVolumeRequest, RootVolumeRequest};
use crate::volume::USUAL_CLASS;
use crate::volume::attach::device_name;
use crate::volume::create::{OpenPools, emptiest, wanted_size};
use crate::volume::throttle::io_limits;
use crate::{Caller, Cloud, Error, Kind, limits};

/// A volume to be, checked.
pub(super) struct Disk {
    device: String,
    pub(super) size_gib: u32,
    class: Option<String>,
    limits: IoLimits,
    snapshot: Option<Snapshot>,
    image: Option<VolumeImage>,
    delete_on_termination: bool,
    pub(super) is_root: bool,
}

/// For each disk of a launch the pools that it can go to.
pub(super) struct Pools(Vec<OpenPools>);

impl Cloud {
    /// Checks the volumes of a launch, beside its scratch disks.
    pub(super) async fn resolve_volumes(
        &self,
        caller: &Caller,
        (asked, scratch): (&[LaunchVolumeRequest], ScratchDisks),
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
            let letter = device.chars().last();
            if scratch.takes(letter) || !places.insert(letter) {
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
            let (image, is_root) = (None, false);
            disks.push(Disk {
                device,
                size_gib,
                class,
                limits,
                snapshot,
                image,
                delete_on_termination,
                is_root,
            });
        }
        Ok(disks)
    }

    /// The volume to boot from, if the launch asks for one: by the class of a pool, or by a snapshot.
    pub(super) async fn resolve_root(
        &self,
        caller: &Caller,
        asked: &RootVolumeRequest,
        image: &Image,
    ) -> Result<Option<Disk>, Error> {
        let snapshot = match asked.snapshot_id {
            Some(id) => Some(self.usable_snapshot(caller, id).await?),
            None => None,
        };
        if snapshot.is_none() && !self.is_of_pool(asked.class.as_deref()).await? {
            return Ok(None);
        }
        let size_gib = match &snapshot {
            Some(snapshot) => wanted_size(asked.size_gib, Some(snapshot))?,
            None => root_size(asked, image)?,
        };
        let content = VolumeImage { digest: image.digest, bytes: image.size_bytes };
        Ok(Some(Disk {
            device: root_device(asked)?,
            size_gib,
            class: asked.class.clone(),
            limits: io_limits(asked.iops, asked.throughput_mib)?,
            image: snapshot.is_none().then_some(content),
            snapshot,
            delete_on_termination: asked.delete_on_termination.unwrap_or(true),
            is_root: true,
        }))
    }

    /// Whether a root disk of this class is a volume of a pool, and not local to its host.
    async fn is_of_pool(&self, class: Option<&str>) -> Result<bool, Error> {
        let Some(class) = class else { return Ok(false) };
        let pools = self.db.pools().await?;
        match pools.iter().any(|load| load.pool.class == class) {
            false if class != USUAL_CLASS => Err(Error::not_found(Kind::PoolClass, class)),
            found => Ok(found),
        }
    }

    /// The pools that these disks can go to.
    pub(super) async fn pools_for(&self, disks: &[Disk]) -> Result<Pools, Error> {
        let loads = if disks.is_empty() { Vec::new() } else { self.db.pools().await? };
        let open = |disk: &Disk| {
            let open = self.open_pools_of(&loads, disk.class.as_deref(), disk.snapshot.as_ref())?;
            if open.pools.is_empty() { Err(Error::PoolsFull { class: open.class }) } else { Ok(open) }
        };
        Ok(Pools(disks.iter().map(open).collect::<Result<_, _>>()?))
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
                image: disk.image,
                read_only: false,
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
                most_instances: 1,
                is_root: disk.is_root,
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
