//! Subnets.

use std::collections::BTreeMap;

use tepui_core::Kind;
use tepui_db::model::Subnet;

use super::region::zone_id;
use super::select::select;
use super::{fixed, text};
use crate::error::ApiError;
use crate::generated::{DescribeSubnetsRequest, DescribeSubnetsResult, Subnet as Shape};
use crate::mechanism::{Field, apply, flag, one, parse_ids, shown_tags};
use crate::operation::{Context, Handle};

/// Addresses of a subnet that no instance gets: the first four and the last, as on AWS.
const RESERVED: i64 = 5;

const FILTERS: &[Field<Shape>] = &[
    ("availability-zone", |s| one(&s.availability_zone)),
    ("availabilityZone", |s| one(&s.availability_zone)),
    ("availability-zone-id", |s| one(&s.availability_zone_id)),
    ("cidr", |s| one(&s.cidr_block)),
    ("cidr-block", |s| one(&s.cidr_block)),
    ("cidrBlock", |s| one(&s.cidr_block)),
    ("default-for-az", |s| flag(s.default_for_az)),
    ("defaultForAz", |s| flag(s.default_for_az)),
    ("map-public-ip-on-launch", |s| flag(s.map_public_ip_on_launch)),
    ("owner-id", |s| one(&s.owner_id)),
    ("state", |s| one(&s.state)),
    ("subnet-arn", |s| one(&s.subnet_arn)),
    ("subnet-id", |s| one(&s.subnet_id)),
    ("vpc-id", |s| one(&s.vpc_id)),
];

impl Handle for DescribeSubnetsRequest {
    async fn handle(self, cx: &Context) -> Result<DescribeSubnetsResult, ApiError> {
        let ids = parse_ids(Kind::Subnet, &self.subnet_ids)?;
        let subnets = select(Kind::Subnet, cx.cloud.subnets(&cx.caller).await?, &ids, |subnet| subnet.id)?;
        let interfaces = cx.cloud.network_interfaces(&cx.caller, &[]).await?;
        let mut tags = cx.cloud.tags(&cx.caller).await?;
        let shapes = subnets.iter().map(|subnet| {
            let used = interfaces.iter().filter(|view| view.interface.subnet_id == subnet.id).count();
            shape(cx, subnet, used, &tags.remove(&subnet.id.to_string()).unwrap_or_default())
        });
        let shapes = apply(&cx.filters, FILTERS, |subnet| &subnet.tags, shapes.collect())?;
        let (subnets, next_token) = cx.page.cut(shapes, |s| s.subnet_id.clone().unwrap_or_default().into());
        Ok(DescribeSubnetsResult { subnets, next_token })
    }
}

fn shape(cx: &Context, subnet: &Subnet, used: usize, tags: &BTreeMap<String, String>) -> Shape {
    let config = cx.cloud.config();
    let all = 1_i64 << (32 - u32::from(subnet.cidr.prefix_len()));
    let used = i64::try_from(used).unwrap_or(i64::MAX);
    let arn = format!("arn:aws:ec2:{}:{}:subnet/{}", config.region, subnet.project_id, subnet.id);
    Shape {
        assign_ipv6_address_on_creation: Some(false),
        availability_zone: text(config.zone()),
        availability_zone_id: text(zone_id(&config.region)),
        available_ip_address_count: Some((all - RESERVED - used).max(0)),
        cidr_block: text(subnet.cidr),
        default_for_az: Some(subnet.is_default),
        enable_dns64: Some(false),
        ipv6_native: Some(false),
        map_customer_owned_ip_on_launch: Some(false),
        map_public_ip_on_launch: Some(subnet.map_public_ip),
        owner_id: text(subnet.project_id),
        state: fixed("available"),
        subnet_arn: text(arn),
        subnet_id: text(subnet.id),
        tags: shown_tags(tags),
        vpc_id: text(subnet.vpc_id),
        ipv6_cidr_block_association_set: Vec::new(),
    }
}
