//! VPCs.

use std::collections::BTreeMap;

use tepui_core::Kind;
use tepui_db::model::Vpc;

use super::select::select;
use super::{fixed, text};
use crate::error::ApiError;
use crate::generated::{
    AttributeBooleanValue, DescribeVpcAttributeRequest, DescribeVpcAttributeResult, DescribeVpcsRequest,
    DescribeVpcsResult, Vpc as Shape, VpcCidrBlockAssociation, VpcCidrBlockState,
};
use crate::mechanism::{Field, apply, flag, many, one, parse_id, parse_ids, shown_tags};
use crate::operation::{Context, Handle};

const FILTERS: &[Field<Shape>] = &[
    ("cidr", |v| one(&v.cidr_block)),
    ("cidr-block-association.cidr-block", |v| many(&v.cidr_block_association_set, |a| &a.cidr_block)),
    ("dhcp-options-id", |v| one(&v.dhcp_options_id)),
    ("is-default", |v| flag(v.is_default)),
    ("isDefault", |v| flag(v.is_default)),
    ("owner-id", |v| one(&v.owner_id)),
    ("state", |v| one(&v.state)),
    ("vpc-id", |v| one(&v.vpc_id)),
];

impl Handle for DescribeVpcsRequest {
    async fn handle(self, cx: &Context) -> Result<DescribeVpcsResult, ApiError> {
        let ids = parse_ids(Kind::Vpc, &self.vpc_ids)?;
        let vpcs = select(Kind::Vpc, cx.cloud.vpcs(&cx.caller).await?, &ids, |vpc| vpc.id)?;
        let mut tags = cx.cloud.tags(&cx.caller).await?;
        let shapes = vpcs.iter().map(|vpc| shape(vpc, &tags.remove(&vpc.id.to_string()).unwrap_or_default()));
        let shapes = apply(&cx.filters, FILTERS, |vpc| &vpc.tags, shapes.collect())?;
        let (vpcs, next_token) = cx.page.cut(shapes, |vpc| vpc.vpc_id.clone().unwrap_or_default().into());
        Ok(DescribeVpcsResult { vpcs, next_token })
    }
}

impl Handle for DescribeVpcAttributeRequest {
    async fn handle(self, cx: &Context) -> Result<DescribeVpcAttributeResult, ApiError> {
        let vpc = cx.cloud.vpc(&cx.caller, parse_id(Kind::Vpc, &self.vpc_id)?).await?;
        let mut reply = DescribeVpcAttributeResult { vpc_id: text(vpc.id), ..Default::default() };
        let value = |is| Some(AttributeBooleanValue { value: Some(is) });
        match &*self.attribute {
            "enableDnsHostnames" => reply.enable_dns_hostnames = value(true),
            "enableDnsSupport" => reply.enable_dns_support = value(true),
            "enableNetworkAddressUsageMetrics" => reply.enable_network_address_usage_metrics = value(false),
            other => return Err(ApiError::invalid_value("Attribute", other, "No such attribute of a VPC.")),
        }
        Ok(reply)
    }
}

fn shape(vpc: &Vpc, tags: &BTreeMap<String, String>) -> Shape {
    let cidr = text(vpc.cidr);
    Shape {
        cidr_block: cidr.clone(),
        cidr_block_association_set: vec![VpcCidrBlockAssociation {
            association_id: Some(format!("vpc-cidr-assoc-{:017x}", vpc.id.bits()).into()),
            cidr_block: cidr,
            cidr_block_state: Some(VpcCidrBlockState { state: fixed("associated") }),
        }],
        dhcp_options_id: fixed("default"),
        instance_tenancy: fixed("default"),
        is_default: Some(vpc.is_default),
        owner_id: text(vpc.project_id),
        state: fixed("available"),
        tags: shown_tags(tags),
        vpc_id: text(vpc.id),
    }
}
