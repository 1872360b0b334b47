//! Fixtures of the unit tests.

pub(crate) mod control_plane;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use jiff::Timestamp;
use tepui_types::agent::{
    DiskPart, DiskSpec, InstanceMetadata, IoLimits, MetadataBlockDevice, MetadataInterface, MetadataOptions,
    NodePart, Part, PartBody, PartKey, PlacementPart, PlacementSpec, Power, RootDisk, ScratchDisks,
    SubnetPart, VolumeSource, VpcPart, VpcPort, WantedDisk, WantedPlacement,
};
use tepui_types::{
    Digest, ExportId, Generation, ImageId, InstanceId, MacAddress, NetworkInterfaceId, NodeId, PlacementId,
    ProjectId, ReservationId, SecurityGroupId, SubnetId, VolumeId, VpcId,
};

pub(crate) fn node_id() -> NodeId {
    NodeId::from_random(1)
}

pub(crate) fn vpc_id() -> VpcId {
    VpcId::from_random(1)
}

pub(crate) fn placement(number: u128) -> PlacementId {
    PlacementId::from_random(number)
}

/// The address of the guest of `placement(number)`: loopback, so that a test can be the guest.
pub(crate) fn address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 0, number)
}

pub(crate) fn spec(id: PlacementId, power: Power) -> PlacementSpec {
    let number = id.bits();
    PlacementSpec {
        instance_id: InstanceId::from_random(number),
        project_id: ProjectId::from_random(0),
        power,
        vcpus: 1,
        memory_mib: 128,
        root_disk: Some(RootDisk {
            volume_id: VolumeId::from_random(number),
            image_digest: Digest::of(b"image"),
            image_bytes: 5,
            size_bytes: 1 << 30,
        }),
        disks: Vec::new(),
        scratch: ScratchDisks::NONE,
        freeze: None,
        metadata: metadata(number),
        user_data: Some("IyEvYmluL3NoCg==".to_owned()),
    }
}

fn metadata(number: u128) -> InstanceMetadata {
    InstanceMetadata {
        options: MetadataOptions { enabled: true, tokens_required: true, hop_limit: 1, tags_enabled: true },
        image_id: ImageId::from_random(1),
        instance_type: "t3.micro".to_owned(),
        launch_index: 0,
        reservation_id: ReservationId::from_random(1),
        launched_at: Timestamp::UNIX_EPOCH,
        availability_zone: "tepui-1a".to_owned(),
        region: "tepui-1".to_owned(),
        local_hostname: "ip-172-31-0-10.tepui-1.compute.internal".to_owned(),
        public_keys: BTreeMap::from([("my-key".to_owned(), "ssh-ed25519 AAAA me".to_owned())]),
        security_groups: vec!["default".to_owned()],
        interfaces: vec![interface(number)],
        block_devices: vec![
            MetadataBlockDevice { name: "ami".to_owned(), device: "/dev/vda".to_owned() },
            MetadataBlockDevice { name: "root".to_owned(), device: "/dev/vda".to_owned() },
        ],
        tags: BTreeMap::from([("Name".to_owned(), "web".to_owned()), ("a/b".to_owned(), "x".to_owned())]),
        identity_document: "{\"instanceId\":\"i\"}".to_owned(),
        identity_signature: "c2ln".to_owned(),
    }
}

fn interface(number: u128) -> MetadataInterface {
    MetadataInterface {
        id: NetworkInterfaceId::from_random(number),
        mac: MacAddress::from_random(number),
        private_ip: address(number as u8),
        public_ip: None,
        subnet_id: SubnetId::from_random(1),
        subnet_cidr: "127.0.0.0/24".parse().unwrap(),
        vpc_id: vpc_id(),
        vpc_cidr: "127.0.0.0/16".parse().unwrap(),
        security_group_ids: vec![SecurityGroupId::from_random(1)],
    }
}

pub(crate) fn present(id: PlacementId, power: Power) -> WantedPlacement {
    WantedPlacement { id, wanted: PlacementPart::Present(Box::new(spec(id, power))) }
}

pub(crate) fn running(id: PlacementId, start_seq: u64, reboot_seq: u64) -> WantedPlacement {
    present(id, Power::Running { start_seq, reboot_seq })
}

/// The same with a scratch and a swap disk.
pub(crate) fn with_scratch(mut wanted: WantedPlacement) -> WantedPlacement {
    if let PlacementPart::Present(spec) = &mut wanted.wanted {
        spec.scratch = ScratchDisks { scratch_gib: 20, swap_gib: 2 };
    }
    wanted
}

/// As [`running`], of a guest that boots from the volume of this part.
pub(crate) fn booting(id: PlacementId, start_seq: u64, root: DiskPart) -> WantedPlacement {
    let power = Power::Running { start_seq, reboot_seq: 0 };
    let (export_id, volume_id) = (ExportId::from_random(id.bits()), VolumeId::from_random(id.bits()));
    let disks = vec![WantedDisk { export_id, volume_id, wanted: root }];
    let spec = PlacementSpec { root_disk: None, disks, ..spec(id, power) };
    WantedPlacement { id, wanted: PlacementPart::Present(Box::new(spec)) }
}

/// The root disk of a guest in a pool of its own host.
pub(crate) fn root() -> DiskPart {
    DiskPart::Attached(Box::new(DiskSpec {
        device: "/dev/sda1".to_owned(),
        source: VolumeSource::Local { path: "/pool/disk.raw".to_owned() },
        secret: None,
        read_only: false,
        size_bytes: 1 << 30,
        limits: IoLimits::NONE,
        is_root: true,
    }))
}

pub(crate) fn stopped(id: PlacementId, force: bool) -> WantedPlacement {
    present(id, Power::Stopped { force })
}

pub(crate) fn absent(id: PlacementId, force: bool) -> WantedPlacement {
    WantedPlacement { id, wanted: PlacementPart::Absent { force } }
}

pub(crate) fn node_part(generation: u64, placements: Vec<WantedPlacement>) -> Part {
    Part {
        key: PartKey::Node(node_id()),
        generation: Generation(generation),
        body: PartBody::Node(NodePart { placements }),
    }
}

fn port(number: u128) -> VpcPort {
    let interface = interface(number);
    VpcPort {
        id: interface.id,
        placement_id: placement(number),
        node_id: node_id(),
        subnet_id: interface.subnet_id,
        mac: interface.mac,
        private_ip: interface.private_ip,
        public_ip: None,
        groups: interface.security_group_ids,
    }
}

/// The VPC of all guests, with ports for those of `placement(1)` to `placement(99)`.
pub(crate) fn vpc_part(generation: u64) -> Part {
    let vpc = VpcPart {
        id: vpc_id(),
        cidr: "127.0.0.0/16".parse().unwrap(),
        vni: 1,
        domain: "tepui-1.compute.internal".to_owned(),
        subnets: vec![SubnetPart {
            id: SubnetId::from_random(1),
            cidr: "127.0.0.0/24".parse().unwrap(),
            gateway: Ipv4Addr::new(127, 0, 0, 1),
        }],
        ports: (1..100).map(port).collect(),
        groups: Vec::new(),
        nodes: Vec::new(),
    };
    Part { key: PartKey::Vpc(vpc.id), generation: Generation(generation), body: PartBody::Vpc(vpc) }
}

/// Gives a type these verbs of a hypervisor; the others succeed, and start and end nothing.
macro_rules! hypervisor {
    ($type:ty { $($verbs:tt)* }) => {
        #[async_trait::async_trait]
        impl $crate::hypervisor::Hypervisor for $type {
            async fn start(&self, _: &tepui_libvirt::DomainSpec) -> Result<(), $crate::hypervisor::HypervisorError> {
                Ok(())
            }

            async fn request_shutdown(&self, _: tepui_types::PlacementId) -> Result<(), $crate::hypervisor::HypervisorError> {
                Ok(())
            }

            async fn force_off(&self, _: tepui_types::PlacementId) -> Result<(), $crate::hypervisor::HypervisorError> {
                Ok(())
            }

            async fn reset(&self, _: tepui_types::PlacementId) -> Result<(), $crate::hypervisor::HypervisorError> {
                Ok(())
            }

            async fn forget(&self, _: tepui_types::PlacementId) -> Result<(), $crate::hypervisor::HypervisorError> {
                Ok(())
            }

            $($verbs)*
        }
    };
}
pub(crate) use hypervisor;
