//! One attribute of an instance, read or changed; and its metadata options.

use data_encoding::BASE64;
use tepui_core::{DiskChange, Error, InstanceChange, InstanceView, Kind, MetadataChange};
use tepui_db::model::ShutdownBehavior;

use super::view::{metadata_options, shape};
use crate::error::ApiError;
use crate::generated::{
    AttributeBooleanValue, AttributeValue, DescribeInstanceAttributeRequest, EnclaveOptions,
    InstanceAttribute, InstanceBlockDeviceMappingSpecification, ModifyInstanceAttributeRequest,
    ModifyInstanceMetadataOptionsRequest, ModifyInstanceMetadataOptionsResult,
};
use crate::handlers::text;
use crate::mechanism::{parse_id, parse_ids};
use crate::operation::{Context, Handle, Void};
use crate::wire::{Blob, Text};

impl Handle for DescribeInstanceAttributeRequest {
    async fn handle(self, cx: &Context) -> Result<InstanceAttribute, ApiError> {
        let id = parse_id(Kind::Instance, &self.instance_id)?;
        let view = cx.cloud.instance(&cx.caller, id).await?;
        let mut reply = InstanceAttribute { instance_id: text(id), ..Default::default() };
        show(cx, &view, &self.attribute, &mut reply)?;
        Ok(reply)
    }
}

fn show(
    cx: &Context,
    view: &InstanceView,
    attribute: &str,
    to: &mut InstanceAttribute,
) -> Result<(), ApiError> {
    let row = &view.record.instance;
    let flag = |is| Some(AttributeBooleanValue { value: Some(is) });
    let value = |value: Option<Text>| Some(AttributeValue { value });
    let whole = || shape(&cx.cloud, view);
    match attribute {
        "blockDeviceMapping" => to.block_device_mappings = whole().block_device_mappings,
        "disableApiStop" => to.disable_api_stop = flag(row.disable_api_stop),
        "disableApiTermination" => to.disable_api_termination = flag(row.disable_api_termination),
        "ebsOptimized" => to.ebs_optimized = flag(false),
        "enaSupport" => to.ena_support = flag(false),
        "enclaveOptions" => to.enclave_options = Some(EnclaveOptions { enabled: Some(false) }),
        "groupSet" => to.groups = whole().security_groups,
        "instanceInitiatedShutdownBehavior" => {
            to.instance_initiated_shutdown_behavior =
                value(Some(behavior_name(row.shutdown_behavior).into()));
        }
        "instanceType" => to.instance_type = value(text(&row.instance_type)),
        "kernel" => to.kernel_id = value(None),
        // There are none, and the empty set is always written.
        "productCodes" => to.product_codes = Vec::new(),
        "ramdisk" => to.ramdisk_id = value(None),
        "rootDeviceName" => to.root_device_name = value(whole().root_device_name),
        "sourceDestCheck" => to.source_dest_check = flag(true),
        "sriovNetSupport" => to.sriov_net_support = value(None),
        "userData" => to.user_data = value(row.user_data.as_ref().map(|data| BASE64.encode(data).into())),
        other => {
            return Err(ApiError::invalid_value("Attribute", other, "No such attribute of an instance."));
        }
    }
    Ok(())
}

const fn behavior_name(behavior: ShutdownBehavior) -> &'static str {
    match behavior {
        ShutdownBehavior::Stop => "stop",
        ShutdownBehavior::Terminate => "terminate",
    }
}

/// What a guest's own power-off means, by name.
pub(super) fn behavior(name: &str) -> Result<ShutdownBehavior, ApiError> {
    match name {
        "stop" => Ok(ShutdownBehavior::Stop),
        "terminate" => Ok(ShutdownBehavior::Terminate),
        other => {
            let rule = "It is stop or terminate.";
            Err(ApiError::invalid_value("InstanceInitiatedShutdownBehavior", other, rule))
        }
    }
}

impl Handle for ModifyInstanceAttributeRequest {
    async fn handle(mut self, cx: &Context) -> Result<Void, ApiError> {
        let id = parse_id(Kind::Instance, &self.instance_id)?;
        let disks = std::mem::take(&mut self.block_device_mappings);
        let mut changes = self.changes()?;
        match (changes.pop(), changes.is_empty(), disks.is_empty()) {
            (Some(change), true, true) => cx.cloud.modify_instance(&cx.caller, id, vec![change]).await?,
            (None, _, false) => {
                let disks = disks.into_iter().map(disk_change).collect::<Result<Vec<_>, _>>()?;
                cx.cloud.modify_disks(&cx.caller, id, &disks).await.map_err(not_mapped)?;
            }
            _ => return Err(ApiError::combination("Give exactly one attribute to modify.")),
        }
        Ok(Void)
    }
}

impl ModifyInstanceAttributeRequest {
    /// Every attribute that the request names, in either of its two forms.
    fn changes(self) -> Result<Vec<InstanceChange>, ApiError> {
        let mut changes = Vec::new();
        if let Some(attribute) = self.attribute {
            changes.push(named(&attribute, self.value.as_deref().unwrap_or_default())?);
        }
        let flag = |value: Option<AttributeBooleanValue>| value.and_then(|value| value.value);
        let text = |value: Option<AttributeValue>| value.and_then(|value| value.value);
        changes.extend(flag(self.disable_api_stop).map(InstanceChange::DisableApiStop));
        changes.extend(flag(self.disable_api_termination).map(InstanceChange::DisableApiTermination));
        changes.extend(text(self.instance_type).map(|name| InstanceChange::InstanceType(name.into())));
        if let Some(name) = text(self.instance_initiated_shutdown_behavior) {
            changes.push(InstanceChange::ShutdownBehavior(behavior(&name)?));
        }
        if let Some(Blob(data)) = self.user_data.and_then(|data| data.value) {
            changes.push(user_data(data));
        }
        if !self.groups.is_empty() {
            changes.push(InstanceChange::Groups(parse_ids(Kind::SecurityGroup, &self.groups)?));
        }
        Ok(changes)
    }
}

/// What becomes of a disk with its instance; nothing else of it can be changed.
fn disk_change(from: InstanceBlockDeviceMappingSpecification) -> Result<DiskChange, ApiError> {
    let missing = |member| ApiError::missing(&format!("BlockDeviceMapping.{member}"));
    let device = from.device_name.ok_or_else(|| missing("DeviceName"))?.to_string();
    let ebs = from.ebs.ok_or_else(|| missing("Ebs.DeleteOnTermination"))?;
    let delete = ebs.delete_on_termination.ok_or_else(|| missing("Ebs.DeleteOnTermination"))?;
    let volume_id = ebs.volume_id.map(|id| parse_id(Kind::Volume, &id)).transpose()?;
    Ok(DiskChange { device, volume_id, delete_on_termination: delete })
}

/// A device at which the instance has no such disk has a code and words of its own.
fn not_mapped(error: Error) -> ApiError {
    match &error {
        Error::InvalidInput { field: "device", value, rule } => {
            let message = format!("No device is currently mapped at {value}: it {rule}");
            ApiError { code: "InvalidInstanceAttributeValue".into(), message, ..error.into() }
        }
        _ => error.into(),
    }
}

/// Empty user data is none.
fn user_data(data: Vec<u8>) -> InstanceChange {
    InstanceChange::UserData(Some(data).filter(|data| !data.is_empty()))
}

/// The form `Attribute=…&Value=…`.
fn named(attribute: &str, value: &str) -> Result<InstanceChange, ApiError> {
    let flag = || match value {
        "true" => Ok(true),
        "false" => Ok(false),
        other => Err(ApiError::invalid_value("Value", other, "It is true or false.")),
    };
    Ok(match attribute {
        "disableApiStop" => InstanceChange::DisableApiStop(flag()?),
        "disableApiTermination" => InstanceChange::DisableApiTermination(flag()?),
        "instanceInitiatedShutdownBehavior" => InstanceChange::ShutdownBehavior(behavior(value)?),
        "instanceType" => InstanceChange::InstanceType(value.to_owned()),
        "userData" => user_data(Blob::decode("Value", value)?.0),
        other => {
            return Err(ApiError::unsupported(format!("The attribute {other} cannot be modified here.")));
        }
    })
}

impl Handle for ModifyInstanceMetadataOptionsRequest {
    async fn handle(self, cx: &Context) -> Result<ModifyInstanceMetadataOptionsResult, ApiError> {
        let id = parse_id(Kind::Instance, &self.instance_id)?;
        let change = metadata_change(
            self.http_endpoint.as_deref(),
            self.http_tokens.as_deref(),
            self.http_put_response_hop_limit,
            self.instance_metadata_tags.as_deref(),
        )?;
        cx.cloud.modify_instance(&cx.caller, id, vec![InstanceChange::Metadata(change)]).await?;
        let view = cx.cloud.instance(&cx.caller, id).await?;
        Ok(ModifyInstanceMetadataOptionsResult {
            instance_id: text(id),
            instance_metadata_options: Some(metadata_options(view.record.instance.metadata)),
        })
    }
}

/// Metadata options as two actions take them.
pub(super) fn metadata_change(
    endpoint: Option<&str>,
    tokens: Option<&str>,
    hop_limit: Option<i64>,
    tags: Option<&str>,
) -> Result<MetadataChange, ApiError> {
    let hop_limit = hop_limit.map(|limit| {
        let refused =
            || ApiError::invalid_value("HttpPutResponseHopLimit", &limit.to_string(), "It is 1 to 64.");
        u8::try_from(limit).map_err(|_| refused())
    });
    Ok(MetadataChange {
        enabled: choice("HttpEndpoint", endpoint, ["disabled", "enabled"])?,
        tokens_required: choice("HttpTokens", tokens, ["optional", "required"])?,
        hop_limit: hop_limit.transpose()?,
        tags_enabled: choice("InstanceMetadataTags", tags, ["disabled", "enabled"])?,
    })
}

/// `false` and `true` under names of their own.
fn choice(parameter: &str, value: Option<&str>, [no, yes]: [&str; 2]) -> Result<Option<bool>, ApiError> {
    match value {
        None => Ok(None),
        Some(value) if value == no => Ok(Some(false)),
        Some(value) if value == yes => Ok(Some(true)),
        Some(other) => Err(ApiError::invalid_value(parameter, other, &format!("It is {no} or {yes}."))),
    }
}
