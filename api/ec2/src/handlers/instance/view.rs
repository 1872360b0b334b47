//! An instance as `DescribeInstances` and `RunInstances` show it.
//!
//! Complete enough that Terraform reads back what it wrote: a member it looks for and does not find
//! is a change it plans for ever.

use tepui_core::{Cloud, InstanceView};
use tepui_db::model::{
    Attachment, Instance as Row, InstanceRecord, MetadataSettings, NetworkInterface, RootVolume,
};

use super::state;
use crate::generated::{
    CapacityReservationSpecificationResponse, CpuOptions, EbsInstanceBlockDevice, EnclaveOptions,
    HibernationOptions, Instance, InstanceBlockDeviceMapping, InstanceMaintenanceOptions,
    InstanceMetadataOptionsResponse, InstanceNetworkInterface, InstanceNetworkInterfaceAssociation,
    InstanceNetworkInterfaceAttachment, InstancePrivateIpAddress, Monitoring, Placement,
    PrivateDnsNameOptionsResponse, StateReason,
};
use crate::handlers::image::ROOT_DEVICE;
use crate::handlers::network_interface::{attachment_id, group_identifiers};
use crate::handlers::{fixed, text};
use crate::mechanism::shown_tags;
use crate::wire::{Text, timestamp};

/// The shape of an instance.
pub(super) fn shape(cloud: &Cloud, view: &InstanceView) -> Instance {
    let row = &view.record.instance;
    let interface = view.record.interface.as_ref();
    let shown = interface.map(|interface| network_interface(cloud, view, interface));
    let local = view.record.root_volume.as_ref().map(|root| &root.device);
    let root = local.or_else(|| view.record.root_attachment().map(|root| &root.device));
    Instance {
        ami_launch_index: Some(row.launch_index.into()),
        architecture: fixed("x86_64"),
        block_device_mappings: block_devices(&view.record),
        boot_mode: fixed("legacy-bios"),
        capacity_reservation_specification: Some(CapacityReservationSpecificationResponse {
            capacity_reservation_preference: fixed("open"),
        }),
        cpu_options: Some(CpuOptions { core_count: Some(row.vcpus.into()), threads_per_core: Some(1) }),
        current_instance_boot_mode: fixed("legacy-bios"),
        ebs_optimized: Some(false),
        ena_support: Some(false),
        enclave_options: Some(EnclaveOptions { enabled: Some(false) }),
        hibernation_options: Some(HibernationOptions { configured: Some(false) }),
        hypervisor: fixed("xen"),
        image_id: text(row.image_id),
        instance_id: text(row.id),
        instance_type: text(&row.instance_type),
        key_name: row.key_name.as_ref().map(Text::from),
        launch_time: Some(row.launched_at),
        maintenance_options: Some(InstanceMaintenanceOptions { auto_recovery: fixed("default") }),
        metadata_options: Some(metadata_options(row.metadata)),
        monitoring: Some(Monitoring { state: fixed("disabled") }),
        placement: Some(placement(cloud, view)),
        platform_details: fixed("Linux/UNIX"),
        // Empty, not absent, once the address is gone: as on AWS.
        private_dns_name: shown.as_ref().map_or(fixed(""), |i| i.private_dns_name.clone()),
        private_dns_name_options: interface.map(|_| private_dns_name_options()),
        private_ip_address: shown.as_ref().and_then(|i| i.private_ip_address.clone()),
        public_dns_name: fixed(""),
        public_ip_address: interface.and_then(|i| i.public_ip).and_then(text),
        root_device_name: root.map_or(fixed(ROOT_DEVICE), text),
        root_device_type: fixed("ebs"),
        security_groups: shown.as_ref().map(|i| i.groups.clone()).unwrap_or_default(),
        source_dest_check: interface.map(|_| true),
        state: Some(state(row.state)),
        state_reason: state_reason(row),
        state_transition_reason: Some(transition_reason(row)),
        subnet_id: shown.as_ref().and_then(|i| i.subnet_id.clone()),
        tags: shown_tags(&view.record.tags),
        usage_operation: fixed("RunInstances"),
        virtualization_type: fixed("hvm"),
        vpc_id: shown.as_ref().and_then(|i| i.vpc_id.clone()),
        network_interfaces: shown.into_iter().collect(),
    }
}

/// The root disk, then the volumes in the order of their devices.
fn block_devices(record: &InstanceRecord) -> Vec<InstanceBlockDeviceMapping> {
    record.root_volume.iter().map(root_device).chain(record.attachments.iter().map(data_device)).collect()
}

fn root_device(volume: &RootVolume) -> InstanceBlockDeviceMapping {
    InstanceBlockDeviceMapping {
        device_name: text(&volume.device),
        ebs: Some(EbsInstanceBlockDevice {
            attach_time: Some(volume.created_at),
            delete_on_termination: Some(volume.delete_on_termination),
            status: fixed("attached"),
            volume_id: text(volume.id),
        }),
    }
}

fn data_device(attachment: &Attachment) -> InstanceBlockDeviceMapping {
    InstanceBlockDeviceMapping {
        device_name: text(&attachment.device),
        ebs: Some(EbsInstanceBlockDevice {
            attach_time: Some(attachment.since),
            delete_on_termination: Some(attachment.delete_on_termination),
            status: fixed(attachment.state.name()),
            volume_id: text(attachment.volume_id),
        }),
    }
}

/// How the guest reads its metadata, as three actions show it.
pub(super) fn metadata_options(settings: MetadataSettings) -> InstanceMetadataOptionsResponse {
    let enabled = |is| if is { fixed("enabled") } else { fixed("disabled") };
    InstanceMetadataOptionsResponse {
        http_endpoint: enabled(settings.enabled),
        http_protocol_ipv6: fixed("disabled"),
        http_put_response_hop_limit: Some(settings.hop_limit.into()),
        http_tokens: if settings.tokens_required { fixed("required") } else { fixed("optional") },
        instance_metadata_tags: enabled(settings.tags_enabled),
        state: fixed("applied"),
    }
}

fn network_interface(
    cloud: &Cloud,
    view: &InstanceView,
    interface: &NetworkInterface,
) -> InstanceNetworkInterface {
    let private_dns = Some(cloud.config().private_dns(interface.private_ip).into());
    let private_ip = text(interface.private_ip);
    let association = interface.public_ip.map(|public_ip| InstanceNetworkInterfaceAssociation {
        ip_owner_id: fixed("amazon"),
        public_dns_name: fixed(""),
        public_ip: text(public_ip),
    });
    InstanceNetworkInterface {
        association: association.clone(),
        attachment: Some(InstanceNetworkInterfaceAttachment {
            attach_time: Some(view.record.instance.launched_at),
            attachment_id: attachment_id(interface.id),
            delete_on_termination: Some(true),
            device_index: Some(0),
            network_card_index: Some(0),
            status: fixed("attached"),
        }),
        description: fixed(""),
        groups: group_identifiers(&view.groups),
        interface_type: fixed("interface"),
        ipv6_addresses: Vec::new(),
        mac_address: text(interface.mac),
        network_interface_id: text(interface.id),
        owner_id: text(interface.project_id),
        private_dns_name: private_dns.clone(),
        private_ip_address: private_ip.clone(),
        private_ip_addresses: vec![InstancePrivateIpAddress {
            association,
            primary: Some(true),
            private_dns_name: private_dns,
            private_ip_address: private_ip,
        }],
        source_dest_check: Some(true),
        status: fixed("in-use"),
        subnet_id: text(interface.subnet_id),
        vpc_id: text(interface.vpc_id),
    }
}

fn placement(cloud: &Cloud, view: &InstanceView) -> Placement {
    Placement {
        availability_zone: text(cloud.config().zone()),
        group_id: view.record.instance.placement_group_id.and_then(text),
        group_name: view.placement_group.as_ref().map_or(fixed(""), text),
        tenancy: fixed("default"),
    }
}

fn private_dns_name_options() -> PrivateDnsNameOptionsResponse {
    PrivateDnsNameOptionsResponse {
        enable_resource_name_dns_aaaa_record: Some(false),
        enable_resource_name_dns_a_record: Some(false),
        hostname_type: fixed("ip-name"),
    }
}

fn state_reason(row: &Row) -> Option<StateReason> {
    let reason = row.state_reason.as_ref()?;
    Some(StateReason { code: text(&reason.code), message: text(&reason.message) })
}

/// For example `User initiated (2026-01-02 03:04:05 GMT)`: clients read the time out of it.
fn transition_reason(row: &Row) -> Text {
    match &row.state_reason {
        Some(reason) if reason.code == "Client.UserInitiatedShutdown" => {
            let time = timestamp(row.state_since);
            format!("User initiated ({} {} GMT)", &time[..10], &time[11..19]).into()
        }
        Some(reason) => reason.code.clone().into(),
        None => "".into(),
    }
}
