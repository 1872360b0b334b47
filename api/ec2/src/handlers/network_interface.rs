//! Network interfaces.

use std::collections::HashMap;

use tepui_core::{Kind, NetworkInterfaceView};
use tepui_types::{NetworkInterfaceId, SecurityGroupId};

use super::{fixed, text};
use crate::error::ApiError;
use crate::generated::{
    DescribeNetworkInterfacesRequest, DescribeNetworkInterfacesResult, GroupIdentifier,
    NetworkInterface as Shape, NetworkInterfaceAssociation, NetworkInterfaceAttachment,
    NetworkInterfacePrivateIpAddress,
};
use crate::mechanism::{Field, apply, flag, many, one, parse_ids, shown_tags};
use crate::operation::{Context, Handle};
use crate::wire::Text;

const FILTERS: &[Field<Shape>] = &[
    ("addresses.private-ip-address", |i| one(&i.private_ip_address)),
    ("association.ip-owner-id", |i| association(i, |a| &a.ip_owner_id)),
    ("association.public-ip", |i| association(i, |a| &a.public_ip)),
    ("attachment.attachment-id", |i| attachment(i, |a| &a.attachment_id)),
    ("attachment.instance-id", |i| attachment(i, |a| &a.instance_id)),
    ("attachment.instance-owner-id", |i| attachment(i, |a| &a.instance_owner_id)),
    ("attachment.status", |i| attachment(i, |a| &a.status)),
    ("attachment.device-index", |_| vec!["0".into()]),
    ("attachment.delete-on-termination", |_| vec!["true".into()]),
    ("availability-zone", |i| one(&i.availability_zone)),
    ("description", |i| one(&i.description)),
    ("group-id", |i| many(&i.groups, |g| &g.group_id)),
    ("group-name", |i| many(&i.groups, |g| &g.group_name)),
    ("interface-type", |i| one(&i.interface_type)),
    ("mac-address", |i| one(&i.mac_address)),
    ("network-interface-id", |i| one(&i.network_interface_id)),
    ("owner-id", |i| one(&i.owner_id)),
    ("private-dns-name", |i| one(&i.private_dns_name)),
    ("private-ip-address", |i| one(&i.private_ip_address)),
    ("requester-managed", |i| flag(i.requester_managed)),
    ("source-dest-check", |i| flag(i.source_dest_check)),
    ("status", |i| one(&i.status)),
    ("subnet-id", |i| one(&i.subnet_id)),
    ("vpc-id", |i| one(&i.vpc_id)),
];

fn association(shape: &Shape, field: fn(&NetworkInterfaceAssociation) -> &Option<Text>) -> Vec<Text> {
    shape.association.iter().flat_map(|association| one(field(association))).collect()
}

fn attachment(shape: &Shape, field: fn(&NetworkInterfaceAttachment) -> &Option<Text>) -> Vec<Text> {
    shape.attachment.iter().flat_map(|attachment| one(field(attachment))).collect()
}

impl Handle for DescribeNetworkInterfacesRequest {
    async fn handle(self, cx: &Context) -> Result<DescribeNetworkInterfacesResult, ApiError> {
        let ids = parse_ids(Kind::NetworkInterface, &self.network_interface_ids)?;
        let views = cx.cloud.network_interfaces(&cx.caller, &ids).await?;
        // An interface is as old as its instance: it is made and goes with it.
        let instances = cx.cloud.describe_instances(&cx.caller, &[]).await?;
        let launched: HashMap<_, _> =
            instances.iter().map(|i| (i.record.instance.id, i.record.instance.launched_at)).collect();
        let shapes = views.iter().map(|view| {
            let mut shape = shape(cx, view);
            if let Some(attachment) = &mut shape.attachment {
                attachment.attach_time = launched.get(&view.interface.instance_id).copied();
            }
            shape
        });
        let shapes = apply(&cx.filters, FILTERS, |interface| &interface.tag_set, shapes.collect())?;
        let key = |shape: &Shape| shape.network_interface_id.clone().unwrap_or_default().into();
        let (network_interfaces, next_token) = cx.page.cut(shapes, key);
        Ok(DescribeNetworkInterfacesResult { network_interfaces, next_token })
    }
}

/// The name of an interface's attachment, of which there is one.
pub(super) fn attachment_id(interface: NetworkInterfaceId) -> Option<Text> {
    Some(format!("eni-attach-{:017x}", interface.bits()).into())
}

/// Groups as replies show them.
pub(super) fn group_identifiers(groups: &[(SecurityGroupId, impl AsRef<str>)]) -> Vec<GroupIdentifier> {
    groups
        .iter()
        .map(|(id, name)| GroupIdentifier { group_id: text(id), group_name: text(name.as_ref()) })
        .collect()
}

fn shape(cx: &Context, view: &NetworkInterfaceView) -> Shape {
    let row = &view.interface;
    let association = row.public_ip.map(|public_ip| NetworkInterfaceAssociation {
        ip_owner_id: fixed("amazon"),
        public_dns_name: None,
        public_ip: text(public_ip),
    });
    Shape {
        association: association.clone(),
        attachment: Some(NetworkInterfaceAttachment {
            attach_time: None,
            attachment_id: attachment_id(row.id),
            delete_on_termination: Some(true),
            device_index: Some(0),
            instance_id: text(row.instance_id),
            instance_owner_id: text(row.project_id),
            network_card_index: Some(0),
            status: fixed("attached"),
        }),
        availability_zone: text(cx.cloud.config().zone()),
        description: fixed(""),
        groups: group_identifiers(&view.groups),
        interface_type: fixed("interface"),
        ipv6_addresses: Vec::new(),
        mac_address: text(row.mac),
        network_interface_id: text(row.id),
        owner_id: text(row.project_id),
        private_dns_name: text(&view.private_dns),
        private_ip_address: text(row.private_ip),
        private_ip_addresses: vec![NetworkInterfacePrivateIpAddress {
            association,
            primary: Some(true),
            private_dns_name: text(&view.private_dns),
            private_ip_address: text(row.private_ip),
        }],
        requester_managed: Some(false),
        source_dest_check: Some(true),
        status: fixed("in-use"),
        subnet_id: text(row.subnet_id),
        tag_set: shown_tags(&view.tags),
        vpc_id: text(row.vpc_id),
    }
}
