//! VPCs and subnets.

use tepui_core::Kind;
use tepui_types::SubnetId;
use tepui_types::rest::{Empty, List, Subnet, Vpc};

use super::resolve::pick;
use super::routes::Call;
use crate::failure::Failure;

/// The subnet that a text names.
pub(super) async fn find_subnet(call: &Call, text: &str) -> Result<SubnetId, Failure> {
    let subnets = call.cloud().subnets(&call.caller).await?;
    pick(Kind::Subnet, text, subnets.into_iter().map(|subnet| (subnet.id, None)))
}

pub(super) async fn vpcs(call: Call, _: Empty) -> Result<List<Vpc>, Failure> {
    let vpcs = call.cloud().vpcs(&call.caller).await?;
    let shown = |vpc: tepui_db::model::Vpc| Vpc { id: vpc.id, cidr: vpc.cidr, is_default: vpc.is_default };
    Ok(List { items: vpcs.into_iter().map(shown).collect() })
}

pub(super) async fn subnets(call: Call, _: Empty) -> Result<List<Subnet>, Failure> {
    let subnets = call.cloud().subnets(&call.caller).await?;
    let shown = |subnet: tepui_db::model::Subnet| Subnet {
        id: subnet.id,
        vpc_id: subnet.vpc_id,
        cidr: subnet.cidr,
        is_default: subnet.is_default,
        map_public_ip: subnet.map_public_ip,
    };
    Ok(List { items: subnets.into_iter().map(shown).collect() })
}
