//! The node's own part, from rows.

use std::collections::{BTreeMap, HashMap};

use data_encoding::BASE64;
use tepui_db::NodePartState;
use tepui_db::model::{
    Attachment, AttachmentState, Freeze, Instance, InstanceRecord, InstanceState, NetworkInterface,
    RootVolume, SecurityGroup, Subnet, Vpc,
};
use tepui_types::agent::{
    InstanceMetadata, MetadataBlockDevice, MetadataInterface, MetadataOptions, NodePart, PlacementPart,
    PlacementSpec, Power, RootDisk, ScratchDisks, ScratchKind, WantedPlacement,
};
use tepui_types::{NodeId, PlacementId, SecurityGroupId, SubnetId, VpcId};

use crate::snapshot::freeze::wanted;
use crate::{Cloud, Error};

const GIB: u64 = 1 << 30;

/// What specs refer to. None of it changes within a generation.
struct Surroundings {
    node: NodeId,
    vpcs: HashMap<VpcId, Vpc>,
    subnets: HashMap<SubnetId, Subnet>,
    groups: HashMap<SecurityGroupId, SecurityGroup>,
    freezes: HashMap<PlacementId, Freeze>,
}

impl Surroundings {
    fn of(node: NodeId, state: &NodePartState) -> Self {
        Self {
            node,
            vpcs: state.vpcs.iter().map(|vpc| (vpc.id, vpc.clone())).collect(),
            subnets: state.subnets.iter().map(|subnet| (subnet.id, subnet.clone())).collect(),
            freezes: state.freezes.iter().map(|freeze| (freeze.placement_id, *freeze)).collect(),
            groups: state.groups.iter().map(|group| (group.id, group.clone())).collect(),
        }
    }
}

impl Cloud {
    /// The body of a node's part, which depends on nothing but the rows of one snapshot.
    pub(super) fn build_node_part(&self, node: NodeId, state: &NodePartState) -> Result<NodePart, Error> {
        let around = Surroundings::of(node, state);
        let wanted = |record: &InstanceRecord| {
            let id = record.placement.as_ref().map(|placement| placement.id);
            id.map(|id| Ok(WantedPlacement { id, wanted: self.wanted(record, &around)? }))
        };
        let mut placements = state.records.iter().filter_map(wanted).collect::<Result<Vec<_>, Error>>()?;
        placements.sort_unstable_by_key(|placement| placement.id);
        self.forget_identities(node, state);
        Ok(NodePart { placements })
    }

    fn wanted(&self, record: &InstanceRecord, around: &Surroundings) -> Result<PlacementPart, Error> {
        let instance = &record.instance;
        let power = match instance.state {
            InstanceState::Pending | InstanceState::Running => {
                Power::Running { start_seq: instance.start_seq, reboot_seq: instance.reboot_seq }
            }
            InstanceState::Stopping | InstanceState::Stopped if instance.volume_root => {
                return Ok(PlacementPart::Absent { force: instance.force });
            }
            InstanceState::Stopping | InstanceState::Stopped => Power::Stopped { force: instance.force },
            InstanceState::ShuttingDown | InstanceState::Terminated => {
                return Ok(PlacementPart::Absent { force: instance.force });
            }
        };
        let missing = |what: &str| Error::internal(format!("{} has no {what}", instance.id));
        let interface = record.interface.as_ref().ok_or_else(|| missing("interface"))?;
        let root_disk = record.root_volume.as_ref().map(|volume| root_disk(instance, volume));
        if root_disk.is_none() && !instance.volume_root {
            return Err(missing("root disk"));
        }
        Ok(PlacementPart::Present(Box::new(PlacementSpec {
            instance_id: instance.id,
            project_id: instance.project_id,
            power,
            vcpus: instance.vcpus,
            memory_mib: instance.memory_mib,
            root_disk,
            disks: self.wanted_disks(record)?,
            scratch: instance.scratch,
            freeze: record.placement.as_ref().and_then(|own| around.freezes.get(&own.id)).map(wanted),
            metadata: self.metadata(record, interface, around)?,
            user_data: instance.user_data.as_deref().map(|data| BASE64.encode(data)),
        })))
    }

    fn metadata(
        &self,
        record: &InstanceRecord,
        interface: &NetworkInterface,
        around: &Surroundings,
    ) -> Result<InstanceMetadata, Error> {
        let instance = &record.instance;
        let identity = self.identity_of(around.node, record)?;
        let group_name = |id| around.groups.get(id).map(|group| group.name.clone()).unwrap_or_default();
        Ok(InstanceMetadata {
            options: options(instance),
            image_id: instance.image_id,
            instance_type: instance.instance_type.clone(),
            launch_index: instance.launch_index,
            reservation_id: instance.reservation_id,
            launched_at: instance.launched_at,
            availability_zone: self.config.zone(),
            region: self.config.region.clone(),
            local_hostname: self.config.private_dns(interface.private_ip),
            public_keys: public_keys(instance),
            security_groups: interface.group_ids.iter().map(group_name).collect(),
            interfaces: vec![metadata_interface(interface, around)?],
            block_devices: block_devices(instance.scratch, &record.attachments),
            tags: record.tags.clone(),
            identity_document: identity.document,
            identity_signature: identity.signature,
        })
    }
}

fn root_disk(instance: &Instance, volume: &RootVolume) -> RootDisk {
    RootDisk {
        volume_id: volume.id,
        image_digest: instance.image_digest,
        image_bytes: instance.image_bytes,
        size_bytes: u64::from(volume.size_gib) * GIB,
    }
}

fn options(instance: &Instance) -> MetadataOptions {
    let settings = &instance.metadata;
    MetadataOptions {
        enabled: settings.enabled,
        tokens_required: settings.tokens_required,
        hop_limit: settings.hop_limit,
        tags_enabled: settings.tags_enabled,
    }
}

fn public_keys(instance: &Instance) -> BTreeMap<String, String> {
    instance.key_name.clone().zip(instance.public_key.clone()).into_iter().collect()
}

/// The names are AWS's; the root disk's device is what the guest sees on virtio, a volume's is what it was attached
/// as, since the guest alone knows under what name it comes. By the names of scratch disks cloud-init mounts the one for
/// files and swaps to the other (cloud-init, "Mounts"): it takes `sdb` for what a guest calls `vdb`.
fn block_devices(scratch: ScratchDisks, attachments: &[Attachment]) -> Vec<MetadataBlockDevice> {
    let device = |name: String, device: &str| MetadataBlockDevice { name, device: device.into() };
    let root = ["ami", "root"].map(|name| device(name.into(), "/dev/vda"));
    let is_shown = |attachment: &&Attachment| is_wanted(attachment) && !attachment.is_root;
    let volumes = attachments.iter().filter(is_shown).enumerate();
    let volumes = volumes.map(|(index, attachment)| {
        let name = attachment.device.strip_prefix("/dev/").unwrap_or(&attachment.device);
        device(format!("ebs{}", index + 1), name)
    });
    let scratch = scratch.each().map(|(kind, _, letter)| {
        let name = match kind {
            ScratchKind::Scratch => "ephemeral0",
            ScratchKind::Swap => "swap",
        };
        device(name.into(), &format!("sd{letter}"))
    });
    root.into_iter().chain(scratch).chain(volumes).collect()
}

/// Whether the guest's host is told to give it to the guest.
fn is_wanted(attachment: &Attachment) -> bool {
    match attachment.state {
        AttachmentState::Attaching | AttachmentState::Attached => attachment.source.is_some(),
        AttachmentState::Detaching => false,
    }
}

fn metadata_interface(
    interface: &NetworkInterface,
    around: &Surroundings,
) -> Result<MetadataInterface, Error> {
    let lost = |what: String| Error::internal(format!("{} is in {what}, which is gone", interface.id));
    let subnet = around.subnets.get(&interface.subnet_id);
    let vpc = around.vpcs.get(&interface.vpc_id);
    Ok(MetadataInterface {
        id: interface.id,
        mac: interface.mac,
        private_ip: interface.private_ip,
        public_ip: interface.public_ip,
        subnet_id: interface.subnet_id,
        subnet_cidr: subnet.ok_or_else(|| lost(interface.subnet_id.to_string()))?.cidr,
        vpc_id: interface.vpc_id,
        vpc_cidr: vpc.ok_or_else(|| lost(interface.vpc_id.to_string()))?.cidr,
        security_group_ids: interface.group_ids.clone(),
    })
}
