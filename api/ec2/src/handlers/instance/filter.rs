//! The filters of `DescribeInstances`.

use tepui_core::InstanceView;

use crate::generated::{EbsInstanceBlockDevice, Instance, InstanceNetworkInterface, Reservation};
use crate::mechanism::{Field, flag, many, one};
use crate::wire::{Text, timestamp};

/// An instance with the reservation it belongs to, which has no instances of its own.
pub(super) struct Row {
    pub(super) reservation: Reservation,
    pub(super) instance: Instance,
    pub(super) view: InstanceView,
}

pub(super) const FILTERS: &[Field<Row>] = &[
    ("architecture", |r| one(&r.instance.architecture)),
    ("availability-zone", |r| r.instance.placement.iter().flat_map(|p| one(&p.availability_zone)).collect()),
    ("block-device-mapping.attach-time", |r| disks(r, |d| d.attach_time.map(|t| timestamp(t).into()))),
    ("block-device-mapping.delete-on-termination", |r| disks(r, |d| flag(d.delete_on_termination).pop())),
    ("block-device-mapping.device-name", |r| many(&r.instance.block_device_mappings, |m| &m.device_name)),
    ("block-device-mapping.status", |r| disks(r, |d| d.status.clone())),
    ("block-device-mapping.volume-id", |r| disks(r, |d| d.volume_id.clone())),
    ("boot-mode", |r| one(&r.instance.boot_mode)),
    ("dns-name", |r| one(&r.instance.public_dns_name)),
    ("group-id", |r| many(&r.instance.security_groups, |g| &g.group_id)),
    ("group-name", |r| many(&r.instance.security_groups, |g| &g.group_name)),
    ("hypervisor", |r| one(&r.instance.hypervisor)),
    ("image-id", |r| one(&r.instance.image_id)),
    ("instance-id", |r| one(&r.instance.instance_id)),
    ("instance-state-code", |r| r.instance.state.iter().filter_map(|s| s.code).map(number).collect()),
    ("instance-state-name", |r| r.instance.state.iter().flat_map(|s| one(&s.name)).collect()),
    ("instance-type", |r| one(&r.instance.instance_type)),
    ("instance.group-id", |r| many(&r.instance.security_groups, |g| &g.group_id)),
    ("instance.group-name", |r| many(&r.instance.security_groups, |g| &g.group_name)),
    ("ip-address", |r| one(&r.instance.public_ip_address)),
    ("key-name", |r| one(&r.instance.key_name)),
    ("launch-index", |r| r.instance.ami_launch_index.map(number).into_iter().collect()),
    ("launch-time", |r| r.instance.launch_time.map(|t| timestamp(t).into()).into_iter().collect()),
    ("metadata-options.http-endpoint", |r| {
        r.instance.metadata_options.iter().flat_map(|m| one(&m.http_endpoint)).collect()
    }),
    ("metadata-options.http-tokens", |r| {
        r.instance.metadata_options.iter().flat_map(|m| one(&m.http_tokens)).collect()
    }),
    ("monitoring-state", |r| r.instance.monitoring.iter().flat_map(|m| one(&m.state)).collect()),
    ("network-interface.addresses.association.public-ip", |r| one(&r.instance.public_ip_address)),
    ("network-interface.addresses.private-ip-address", |r| interfaces(r, |i| &i.private_ip_address)),
    ("network-interface.group-id", |r| many(&r.instance.security_groups, |g| &g.group_id)),
    ("network-interface.mac-address", |r| interfaces(r, |i| &i.mac_address)),
    ("network-interface.network-interface-id", |r| interfaces(r, |i| &i.network_interface_id)),
    ("network-interface.subnet-id", |r| interfaces(r, |i| &i.subnet_id)),
    ("network-interface.vpc-id", |r| interfaces(r, |i| &i.vpc_id)),
    ("owner-id", |r| one(&r.reservation.owner_id)),
    ("placement-group-name", |r| r.instance.placement.iter().flat_map(|p| one(&p.group_name)).collect()),
    ("private-dns-name", |r| one(&r.instance.private_dns_name)),
    ("private-ip-address", |r| one(&r.instance.private_ip_address)),
    ("reservation-id", |r| one(&r.reservation.reservation_id)),
    ("root-device-name", |r| one(&r.instance.root_device_name)),
    ("root-device-type", |r| one(&r.instance.root_device_type)),
    ("source-dest-check", |r| flag(r.instance.source_dest_check)),
    ("state-reason-code", |r| r.instance.state_reason.iter().flat_map(|s| one(&s.code)).collect()),
    ("subnet-id", |r| one(&r.instance.subnet_id)),
    ("tenancy", |r| r.instance.placement.iter().flat_map(|p| one(&p.tenancy)).collect()),
    ("virtualization-type", |r| one(&r.instance.virtualization_type)),
    ("vpc-id", |r| one(&r.instance.vpc_id)),
];

fn disks(row: &Row, field: fn(&EbsInstanceBlockDevice) -> Option<Text>) -> Vec<Text> {
    row.instance.block_device_mappings.iter().filter_map(|m| field(m.ebs.as_ref()?)).collect()
}

fn interfaces(row: &Row, field: fn(&InstanceNetworkInterface) -> &Option<Text>) -> Vec<Text> {
    many(&row.instance.network_interfaces, field)
}

fn number(value: i64) -> Text {
    value.to_string().into()
}
