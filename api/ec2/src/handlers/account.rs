//! `DescribeAccountAttributes`.

use super::{fixed, text};
use crate::error::ApiError;
use crate::generated::{
    AccountAttribute, AccountAttributeValue, DescribeAccountAttributesRequest,
    DescribeAccountAttributesResult,
};
use crate::operation::{Context, Handle};
use crate::wire::Text;

impl Handle for DescribeAccountAttributesRequest {
    async fn handle(self, cx: &Context) -> Result<DescribeAccountAttributesResult, ApiError> {
        let vpcs = cx.cloud.vpcs(&cx.caller).await?;
        let default_vpc = vpcs.iter().find(|vpc| vpc.is_default);
        let instances = cx.cloud.quota(&cx.caller).await?.limit.instances;
        let known = [
            ("supported-platforms", fixed("VPC")),
            ("default-vpc", default_vpc.map_or(fixed("none"), |vpc| text(vpc.id))),
            ("max-instances", text(instances)),
        ];
        for name in &self.attribute_names {
            if !known.iter().any(|(known, _)| known == name) {
                return Err(ApiError::invalid_value("AttributeName", name, "This cloud does not have it."));
            }
        }
        let wanted =
            |name: &str| self.attribute_names.is_empty() || self.attribute_names.iter().any(|n| n == name);
        let account_attributes = known.into_iter().filter(|(name, _)| wanted(name)).map(attribute).collect();
        Ok(DescribeAccountAttributesResult { account_attributes })
    }
}

fn attribute((name, value): (&'static str, Option<Text>)) -> AccountAttribute {
    AccountAttribute {
        attribute_name: fixed(name),
        attribute_values: vec![AccountAttributeValue { attribute_value: value }],
    }
}
