//! From names and wishes to rows: everything that a launch refers to, checked.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use tepui_db::model::{Image, KeyPair, MetadataSettings, PlacementGroup, ShutdownBehavior, Subnet};
use tepui_db::{GroupName, LaunchNames, LaunchParents, TokenUse};
use tepui_types::agent::{IoLimits, ScratchDisks};
use tepui_types::{NodeId, SecurityGroupId};

use super::attribute::check_user_data;
use super::describe::Names;
use super::volumes::Disk;
use super::{MetadataChange, RootVolumeRequest, RunInstances};
use crate::limits::{self, Tags};
use crate::scheduler::Demand;
use crate::security_group::without_repeats;
use crate::volume::throttle::io_limits;
use crate::{Cloud, Error, InstanceType, Kind, instance_type};

const GIB: u64 = 1 << 30;

/// A launch whose every reference is a row of the caller's.
pub(super) struct Resolved {
    pub(super) token: Option<TokenUse>,
    pub(super) image: Image,
    pub(super) size: &'static InstanceType,
    pub(super) min_count: usize,
    pub(super) max_count: usize,
    pub(super) key: Option<KeyPair>,
    pub(super) user_data: Option<Vec<u8>>,
    pub(super) subnet: Subnet,
    pub(super) groups: Vec<SecurityGroupId>,
    /// Of all groups that there are, and of the placement group.
    pub(super) names: Names,
    pub(super) private_ip: Option<Ipv4Addr>,
    pub(super) public_ip: bool,
    /// The size of a local root disk; `None` where the first of the volumes is the root.
    pub(super) local_gib: Option<u32>,
    pub(super) device: String,
    pub(super) volumes: Vec<Disk>,
    pub(super) scratch: ScratchDisks,
    /// With the members it had when the launch was checked.
    pub(super) placement_group: Option<(PlacementGroup, BTreeMap<NodeId, u32>)>,
    pub(super) metadata: MetadataSettings,
    pub(super) shutdown_behavior: ShutdownBehavior,
    pub(super) disable_api_termination: bool,
    pub(super) disable_api_stop: bool,
    pub(super) instance_tags: Tags,
    pub(super) volume_tags: Tags,
    pub(super) interface_tags: Tags,
}

impl Resolved {
    pub(super) fn demand(&self) -> Demand {
        let InstanceType { vcpus, memory_mib, .. } = *self.size;
        let disk_gib = u64::from(self.local_gib.unwrap_or(0)) + self.scratch.total_gib();
        Demand { vcpus, memory_mib, disk_gib }
    }

    /// How much of a quota `count` instances take.
    pub(super) fn asked_of(&self, quota: &str, count: usize) -> u64 {
        let each = match quota {
            "vcpus" => u64::from(self.size.vcpus),
            "memory_mib" => self.size.memory_mib,
            "volumes" => self.volumes.len() as u64,
            "volume_gib" => self.volumes.iter().map(|disk| u64::from(disk.size_gib)).sum(),
            _ => 1,
        };
        each.saturating_mul(count as u64)
    }
}

/// What a request names, for the store to find.
pub(super) fn names(request: &RunInstances, token: Option<&TokenUse>) -> LaunchNames {
    LaunchNames {
        token: token.map(|token| token.token.clone()),
        image: request.image_id,
        key: request.key_name.clone(),
        subnet: request.subnet_id,
        placement_group: request.placement_group.clone(),
    }
}

impl Cloud {
    /// Checks a request against what there is of the things it names.
    pub(super) fn resolve(
        &self,
        request: &RunInstances,
        token: Option<TokenUse>,
        found: LaunchParents,
        volumes: Vec<Disk>,
    ) -> Result<Resolved, Error> {
        self.check_request(request)?;
        let size = wanted_type(request)?;
        let image = found.image.ok_or_else(|| missing_image(request))?;
        let local_gib = match volumes.iter().any(|disk| disk.is_root) {
            true => None,
            false => Some(local_size(&request.root_volume, &image)?),
        };
        let key = wanted(request.key_name.as_ref(), found.key, Kind::KeyPair)?;
        let subnet = found.subnet.ok_or_else(|| missing_subnet(request))?;
        let placement_group =
            wanted(request.placement_group.as_ref(), found.placement_group, Kind::PlacementGroup)?;
        let group_names = found.groups.iter().map(|group| (group.id, group.name.as_str()));
        let names = Names::of(group_names, placement_group.as_ref().map(|(group, _)| group));
        Ok(Resolved {
            token,
            names,
            size,
            min_count: request.min_count as usize,
            max_count: request.max_count as usize,
            local_gib,
            volumes,
            scratch: scratch_disks(request.scratch, size)?,
            device: root_device(&request.root_volume)?,
            groups: wanted_groups(request, &subnet, found.groups)?,
            private_ip: checked_address(request.private_ip, &subnet)?,
            public_ip: self.wants_public_ip(request, &subnet)?,
            metadata: request.metadata.applied_to(MetadataChange::INITIAL)?,
            shutdown_behavior: request.shutdown_behavior,
            disable_api_termination: request.disable_api_termination,
            disable_api_stop: request.disable_api_stop,
            user_data: request.user_data.clone().filter(|data| !data.is_empty()),
            instance_tags: request.instance_tags.clone(),
            volume_tags: request.volume_tags.clone(),
            interface_tags: request.interface_tags.clone(),
            image,
            key,
            subnet,
            placement_group,
        })
    }

    fn check_request(&self, request: &RunInstances) -> Result<(), Error> {
        check_counts(request)?;
        check_user_data(request.user_data.as_deref())?;
        for tags in [&request.instance_tags, &request.volume_tags, &request.interface_tags] {
            limits::check_tags(tags)?;
        }
        match &request.zone {
            Some(zone) if *zone != self.config.zone() => Err(Error::not_found(Kind::Zone, zone)),
            Some(_) | None => Ok(()),
        }
    }

    /// A subnet that maps public addresses does so only where there is a pool; who asks for one by
    /// name is told that there is none.
    fn wants_public_ip(&self, request: &RunInstances, subnet: &Subnet) -> Result<bool, Error> {
        match (request.associate_public_ip, self.config.public_pool.is_some()) {
            (Some(true), false) => Err(Error::PoolExhausted),
            (Some(wanted), _) => Ok(wanted),
            (None, pool) => Ok(pool && subnet.map_public_ip),
        }
    }
}

/// What was found under a name; who gave none gets nothing.
fn wanted<T>(name: Option<&String>, found: Option<T>, kind: Kind) -> Result<Option<T>, Error> {
    match (name, found) {
        (Some(name), None) => Err(Error::not_found(kind, name)),
        (_, found) => Ok(found),
    }
}

fn missing_subnet(request: &RunInstances) -> Error {
    match request.subnet_id {
        Some(id) => Error::not_found(Kind::Subnet, id),
        None => Error::not_found(Kind::Subnet, "default"),
    }
}

fn check_counts(request: &RunInstances) -> Result<(), Error> {
    let RunInstances { min_count, max_count, .. } = *request;
    if min_count == 0 {
        return Err(Error::invalid("min_count", min_count, "is at least 1"));
    }
    if max_count < min_count {
        return Err(Error::invalid("max_count", max_count, format!("is at least min_count, {min_count}")));
    }
    if max_count > limits::INSTANCES_PER_LAUNCH {
        let rule = format!("is at most {}", limits::INSTANCES_PER_LAUNCH);
        return Err(Error::invalid("max_count", max_count, rule));
    }
    if request.private_ip.is_some() && max_count > 1 {
        return Err(Error::invalid("private_ip", "", "goes with one instance only"));
    }
    Ok(())
}

/// The type that a launch names.
pub(super) fn wanted_type(request: &RunInstances) -> Result<&'static InstanceType, Error> {
    let name = &request.instance_type;
    instance_type(name).ok_or_else(|| Error::not_found(Kind::InstanceType, name))
}

/// What is asked for, and what the type brings.
pub(super) fn scratch_disks(asked: ScratchDisks, size: &InstanceType) -> Result<ScratchDisks, Error> {
    for (field, gib) in [("scratch size", asked.scratch_gib), ("swap size", asked.swap_gib)] {
        if gib > limits::DISK_GIB {
            return Err(Error::invalid(field, gib, format!("is 0 (none) to {} GiB", limits::DISK_GIB)));
        }
    }
    match (size.scratch_gib(), asked.scratch_gib) {
        (0, _) => Ok(asked),
        (own, 0) => Ok(ScratchDisks { scratch_gib: own, ..asked }),
        (own, gib) if own == gib => Ok(asked),
        (own, gib) => Err(Error::invalid("scratch size", gib, format!("is {own} GiB with a {}", size.name))),
    }
}

pub(super) fn missing_image(request: &RunInstances) -> Error {
    Error::not_found(Kind::Image, request.image_id)
}

fn local_size(wanted: &RootVolumeRequest, image: &Image) -> Result<u32, Error> {
    if wanted.delete_on_termination == Some(false) {
        let rule =
            "must be true: a local root disk goes with its instance; one with the type of a pool need not";
        return Err(Error::invalid("delete_on_termination", false, rule));
    }
    if io_limits(wanted.iops, wanted.throughput_mib)? != IoLimits::NONE {
        let asked = format!("{} operations, {} MiB", shown(wanted.iops), shown(wanted.throughput_mib));
        let rule = "is none for a root disk that is local: ask for one with the type of a pool";
        return Err(Error::invalid("limit", asked, rule));
    }
    root_size(wanted, image)
}

fn shown(figure: Option<u32>) -> String {
    figure.map_or_else(|| "any".to_owned(), |figure| figure.to_string())
}

/// The name of the root disk.
pub(super) fn root_device(wanted: &RootVolumeRequest) -> Result<String, Error> {
    let Some(device) = &wanted.device else { return Ok("/dev/sda1".into()) };
    limits::check_name("device name", device, 32)?;
    Ok(device.clone())
}

/// The size of a root disk with this image.
pub(super) fn root_size(wanted: &RootVolumeRequest, image: &Image) -> Result<u32, Error> {
    let least = u32::try_from(image.size_bytes.div_ceil(GIB).max(1)).unwrap_or(u32::MAX);
    let size = wanted.size_gib.unwrap_or(least);
    if !(least..=limits::DISK_GIB).contains(&size) {
        let rule = format!("is {least} (the image's size) to {} GiB", limits::DISK_GIB);
        return Err(Error::invalid("root volume size", size, rule));
    }
    Ok(size)
}

fn wanted_groups(
    request: &RunInstances,
    subnet: &Subnet,
    mut known: Vec<GroupName>,
) -> Result<Vec<SecurityGroupId>, Error> {
    known.retain(|group| group.vpc_id == subnet.vpc_id);
    let by_id = request.security_group_ids.iter().map(|id| {
        let found = known.iter().find(|group| group.id == *id);
        found.map(|group| group.id).ok_or_else(|| Error::not_found(Kind::SecurityGroup, id))
    });
    let by_name = request.security_groups.iter().map(|name| group_named(&known, name));
    let groups = by_id.chain(by_name).collect::<Result<Vec<_>, Error>>()?;
    if groups.is_empty() { Ok(vec![group_named(&known, "default")?]) } else { Ok(without_repeats(&groups)) }
}

fn group_named(known: &[GroupName], name: &str) -> Result<SecurityGroupId, Error> {
    let found = known.iter().find(|group| group.name == name);
    found.map(|group| group.id).ok_or_else(|| Error::not_found(Kind::SecurityGroup, name))
}

/// The first four addresses and the last are reserved, as on AWS (VPC user guide, "Subnet CIDR
/// blocks").
fn checked_address(wanted: Option<Ipv4Addr>, subnet: &Subnet) -> Result<Option<Ipv4Addr>, Error> {
    let Some(address) = wanted else { return Ok(None) };
    let first = u32::from(subnet.cidr.network()).saturating_add(4);
    let usable = first..u32::from(subnet.cidr.broadcast());
    if !usable.contains(&address.into()) {
        let rule = format!("is in {} and not one of its first four addresses or its last", subnet.cidr);
        return Err(Error::invalid("private_ip", address, rule));
    }
    Ok(Some(address))
}
