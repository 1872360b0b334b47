//! The rows of a launch.

use tepui_db::model::{Instance, InstanceState, RootVolume};
use tepui_db::{Launch, LaunchInstance, NewInterface};
use tepui_types::{
    InstanceId, MacAddress, NetworkInterfaceId, NodeId, PlacementId, ReservationId, Timestamp, VolumeId,
};

use super::resolve::Resolved;
use super::volumes::Pools;
use crate::limits::Tags;
use crate::{Caller, Cloud, Error};

impl Cloud {
    /// One instance for each of these nodes.
    pub(super) fn build_launch(
        &self,
        caller: &Caller,
        resolved: &Resolved,
        reservation: ReservationId,
        (nodes, pools): (&[NodeId], &Pools),
    ) -> Result<Launch, Error> {
        let now = self.now();
        let one = |(index, node): (u32, &NodeId)| {
            let instance = self.row(caller, resolved, reservation, index, now);
            let disks = (resolved.volumes.as_slice(), pools);
            Ok(LaunchInstance {
                placement_id: PlacementId::from_random(self.random()),
                node_id: *node,
                interface: self.interface(resolved),
                root_volume: resolved.local_gib.map(|gib| self.root_volume(resolved, gib, now)),
                volumes: self.launch_volumes(caller, disks, (instance.id, *node), now)?,
                instance,
            })
        };
        let instances = (0u32..).zip(nodes).map(one).collect::<Result<Vec<_>, Error>>()?;
        let over = &self.config.overcommit;
        Ok(Launch {
            project_id: caller.project,
            token: resolved.token.clone(),
            tags: instances.iter().flat_map(|one| tags_of(one, resolved)).collect(),
            instances,
            public_pool: self.config.public_pool,
            vcpu_overcommit: over.vcpus,
            memory_overcommit: over.memory,
            disk_overcommit: over.disk,
        })
    }

    fn row(
        &self,
        caller: &Caller,
        resolved: &Resolved,
        reservation_id: ReservationId,
        launch_index: u32,
        now: Timestamp,
    ) -> Instance {
        Instance {
            id: InstanceId::from_random(self.random()),
            project_id: caller.project,
            reservation_id,
            launch_index,
            image_id: resolved.image.id,
            image_digest: resolved.image.digest,
            image_bytes: resolved.image.size_bytes,
            instance_type: resolved.size.name.into(),
            vcpus: resolved.size.vcpus,
            memory_mib: resolved.size.memory_mib,
            key_name: resolved.key.as_ref().map(|key| key.name.clone()),
            public_key: resolved.key.as_ref().map(|key| key.public_key.clone()),
            user_data: resolved.user_data.clone(),
            vpc_id: resolved.subnet.vpc_id,
            subnet_id: resolved.subnet.id,
            placement_group_id: resolved.placement_group.as_ref().map(|(group, _)| group.id),
            volume_root: resolved.local_gib.is_none(),
            scratch: resolved.scratch,
            shutdown_behavior: resolved.shutdown_behavior,
            disable_api_termination: resolved.disable_api_termination,
            disable_api_stop: resolved.disable_api_stop,
            metadata: resolved.metadata,
            state: InstanceState::Pending,
            state_reason: None,
            state_since: now,
            start_seq: 1,
            reboot_seq: 0,
            force: false,
            launched_at: now,
        }
    }

    fn interface(&self, resolved: &Resolved) -> NewInterface {
        NewInterface {
            id: NetworkInterfaceId::from_random(self.random()),
            mac: MacAddress::from_random(self.random()),
            private_ip: resolved.private_ip,
            public_ip: resolved.public_ip,
            group_ids: resolved.groups.clone(),
        }
    }

    fn root_volume(&self, resolved: &Resolved, size_gib: u32, created_at: Timestamp) -> RootVolume {
        RootVolume {
            id: VolumeId::from_random(self.random()),
            size_gib,
            device: resolved.device.clone(),
            delete_on_termination: true,
            created_at,
        }
    }
}

fn tags_of<'a>(
    one: &LaunchInstance,
    resolved: &'a Resolved,
) -> impl Iterator<Item = (String, String, String)> + use<'a> {
    let on = |id: String, tags: &'a Tags| {
        tags.iter().map(move |(key, value)| (id.clone(), key.clone(), value.clone()))
    };
    let volumes = one.volumes.iter().map(|new| new.volume.id);
    let volumes: Vec<_> = one.root_volume.iter().map(|root| root.id).chain(volumes).collect();
    on(one.instance.id.to_string(), &resolved.instance_tags)
        .chain(volumes.into_iter().flat_map(move |id| on(id.to_string(), &resolved.volume_tags)))
        .chain(on(one.interface.id.to_string(), &resolved.interface_tags))
}
