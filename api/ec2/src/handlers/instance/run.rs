//! `RunInstances`.

use std::net::Ipv4Addr;

use tepui_core::{Error, InstanceType, Kind, MetadataChange, RunInstances, instance_type};
use tepui_types::PlacementGroupId;

use super::attribute::{behavior, metadata_change};
use super::describe::reservation;
use super::disks::{disks, refusal};
use super::view::shape;
use crate::error::ApiError;
use crate::generated::{
    InstanceMetadataOptionsRequest, InstanceNetworkInterfaceSpecification, Placement, Reservation,
    RunInstancesRequest,
};
use crate::mechanism::{parse_id, parse_ids, tags_for};
use crate::operation::{Context, Handle};
use crate::wire::{Blob, Text};

/// What an instance is when its type is not given: small, and free of charge here.
const DEFAULT_TYPE: &str = "t3.micro";

impl Handle for RunInstancesRequest {
    async fn handle(self, cx: &Context) -> Result<Reservation, ApiError> {
        let made = cx.cloud.run_instances(&cx.caller, self.wanted(cx).await?).await.map_err(refusal)?;
        let mut reply = made.instances.first().map(reservation).unwrap_or_default();
        reply.instances = made.instances.iter().map(|view| shape(&cx.cloud, view)).collect();
        Ok(reply)
    }
}

impl RunInstancesRequest {
    async fn wanted(mut self, cx: &Context) -> Result<RunInstances, ApiError> {
        let image = self.image_id.take().ok_or_else(|| ApiError::missing("ImageId"))?;
        let kind = known_type(self.instance_type.take().unwrap_or(DEFAULT_TYPE.into()))?;
        let mut run = RunInstances::new(parse_id(Kind::Image, &image)?, kind.name);
        (run.min_count, run.max_count) = counts(self.min_count, self.max_count)?;
        run.client_token = cx.token.clone().map(String::from);
        run.user_data = user_data(self.user_data.take())?;
        run.key_name = self.key_name.take().map(String::from);
        (run.root_volume, run.volumes) = disks(std::mem::take(&mut self.block_device_mappings), kind)?;
        run.shutdown_behavior = self
            .instance_initiated_shutdown_behavior
            .as_deref()
            .map_or(Ok(run.shutdown_behavior), behavior)?;
        run.disable_api_termination = self.disable_api_termination.unwrap_or(false);
        run.disable_api_stop = self.disable_api_stop.unwrap_or(false);
        run.metadata = metadata(self.metadata_options.take().unwrap_or_default())?;
        let specifications = std::mem::take(&mut self.tag_specifications);
        [run.instance_tags, run.volume_tags, run.interface_tags] =
            tags_for(specifications, ["instance", "volume", "network-interface"])?;
        place(cx, self.placement.take().unwrap_or_default(), &mut run).await?;
        self.network(&mut run)?;
        Ok(run)
    }

    /// The interface is described by its own parameters or by those of the request, not by both.
    fn network(self, run: &mut RunInstances) -> Result<(), ApiError> {
        let [interface] = match <[_; 1]>::try_from(self.network_interfaces) {
            Ok(one) => one,
            Err(none) if none.is_empty() => {
                run.security_groups = self.security_groups.into_iter().map(String::from).collect();
                return network_of(run, self.subnet_id, self.private_ip_address, &self.security_group_ids);
            }
            Err(_) => return Err(ApiError::unsupported("An instance has one network interface here.")),
        };
        let both = self.subnet_id.is_some()
            || self.private_ip_address.is_some()
            || !(self.security_groups.is_empty() && self.security_group_ids.is_empty());
        if both {
            let message = "Network interfaces and an instance-level subnet ID, private address or security groups \
                           may not be specified on the same request";
            return Err(ApiError::combination(message));
        }
        let InstanceNetworkInterfaceSpecification {
            associate_public_ip_address,
            device_index,
            groups,
            private_ip_address,
            subnet_id,
        } = interface;
        if device_index.is_some_and(|index| index != 0) {
            return Err(ApiError::invalid_value("NetworkInterface.1.DeviceIndex", "", "It is 0."));
        }
        run.associate_public_ip = associate_public_ip_address;
        network_of(run, subnet_id, private_ip_address, &groups)
    }
}

fn network_of(
    run: &mut RunInstances,
    subnet: Option<Text>,
    address: Option<Text>,
    groups: &[Text],
) -> Result<(), ApiError> {
    run.security_group_ids = parse_ids(Kind::SecurityGroup, groups)?;
    run.subnet_id = subnet.map(|id| parse_id(Kind::Subnet, &id)).transpose()?;
    run.private_ip = address.map(|address| address_of(&address)).transpose()?;
    Ok(())
}

fn address_of(text: &str) -> Result<Ipv4Addr, ApiError> {
    text.parse().map_err(|_| ApiError::invalid_value("PrivateIpAddress", text, "It is an IPv4 address."))
}

/// Only `DescribeInstanceTypes` has a code of its own for a type that does not exist.
fn known_type(name: Text) -> Result<&'static InstanceType, ApiError> {
    let unknown = || ApiError::invalid_value("InstanceType", &name, "There is no such type.");
    instance_type(&name).ok_or_else(unknown)
}

fn counts(min: i64, max: i64) -> Result<(u32, u32), ApiError> {
    let count = |parameter, value: i64| {
        let refused = || ApiError::invalid_value(parameter, &value.to_string(), "It is at least 1.");
        u32::try_from(value).ok().filter(|count| *count > 0).ok_or_else(refused)
    };
    Ok((count("MinCount", min)?, count("MaxCount", max)?))
}

fn user_data(text: Option<Text>) -> Result<Option<Vec<u8>>, ApiError> {
    text.map(|text| Blob::decode("UserData", &text).map(|blob| blob.0)).transpose()
}

fn metadata(options: InstanceMetadataOptionsRequest) -> Result<MetadataChange, ApiError> {
    metadata_change(
        options.http_endpoint.as_deref(),
        options.http_tokens.as_deref(),
        options.http_put_response_hop_limit,
        options.instance_metadata_tags.as_deref(),
    )
}

async fn place(cx: &Context, placement: Placement, run: &mut RunInstances) -> Result<(), ApiError> {
    if let Some(other) = placement.tenancy.filter(|tenancy| tenancy != "default") {
        return Err(ApiError::unsupported(format!("The tenancy {other} is not supported by this cloud.")));
    }
    run.zone = placement.availability_zone.map(String::from);
    run.placement_group = match (placement.group_name, placement.group_id) {
        (Some(_), Some(_)) => return Err(ApiError::combination("Give GroupName or GroupId, not both.")),
        (Some(name), None) => Some(name.into()),
        (None, Some(id)) => Some(group_name(cx, parse_id(Kind::PlacementGroup, &id)?).await?),
        (None, None) => None,
    };
    Ok(())
}

async fn group_name(cx: &Context, id: PlacementGroupId) -> Result<String, ApiError> {
    let groups = cx.cloud.placement_groups(&cx.caller).await?;
    let found = groups.into_iter().find(|group| group.id == id);
    found.map(|group| group.name).ok_or_else(|| Error::not_found(Kind::PlacementGroup, id).into())
}
