//! Instance types.

use tepui_core::{Error, INSTANCE_TYPES, InstanceType, Kind};

use super::{fixed, text};
use crate::error::ApiError;
use crate::generated::{
    DescribeInstanceTypeOfferingsRequest, DescribeInstanceTypeOfferingsResult, DescribeInstanceTypesRequest,
    DescribeInstanceTypesResult, DiskInfo, EbsInfo, InstanceStorageInfo, InstanceTypeInfo,
    InstanceTypeOffering, MemoryInfo, NetworkCardInfo, NetworkInfo, PlacementGroupInfo, ProcessorInfo,
    VCpuInfo,
};
use crate::mechanism::{Field, apply, flag, one};
use crate::operation::{Context, Handle};
use crate::wire::Text;

const FILTERS: &[Field<InstanceTypeInfo>] = &[
    ("bare-metal", |t| flag(t.bare_metal)),
    ("burstable-performance-supported", |t| flag(t.burstable_performance_supported)),
    ("current-generation", |t| flag(t.current_generation)),
    ("free-tier-eligible", |t| flag(t.free_tier_eligible)),
    ("hibernation-supported", |t| flag(t.hibernation_supported)),
    ("hypervisor", |t| one(&t.hypervisor)),
    ("instance-storage-supported", |t| flag(t.instance_storage_supported)),
    ("instance-type", |t| one(&t.instance_type)),
    ("memory-info.size-in-mib", |t| number(t.memory_info.as_ref().and_then(|m| m.size_in_mi_b))),
    ("processor-info.supported-architecture", |t| {
        t.processor_info.iter().flat_map(|p| p.supported_architectures.clone()).collect()
    }),
    ("supported-boot-mode", |t| t.supported_boot_modes.clone()),
    ("supported-root-device-type", |t| t.supported_root_device_types.clone()),
    ("supported-usage-class", |t| t.supported_usage_classes.clone()),
    ("supported-virtualization-type", |t| t.supported_virtualization_types.clone()),
    ("vcpu-info.default-cores", |t| number(t.v_cpu_info.as_ref().and_then(|v| v.default_cores))),
    ("vcpu-info.default-vcpus", |t| number(t.v_cpu_info.as_ref().and_then(|v| v.default_v_cpus))),
];

const OFFERING_FILTERS: &[Field<InstanceTypeOffering>] =
    &[("instance-type", |o| one(&o.instance_type)), ("location", |o| one(&o.location))];

fn number(value: Option<i64>) -> Vec<Text> {
    value.map(|number| number.to_string().into()).into_iter().collect()
}

impl Handle for DescribeInstanceTypesRequest {
    async fn handle(self, cx: &Context) -> Result<DescribeInstanceTypesResult, ApiError> {
        let known = |name: &Text| INSTANCE_TYPES.iter().any(|kind| kind.name == name);
        if let Some(other) = self.instance_types.iter().find(|name| !known(name)) {
            return Err(Error::not_found(Kind::InstanceType, other).into());
        }
        let wanted = |kind: &&InstanceType| {
            self.instance_types.is_empty() || self.instance_types.iter().any(|name| name == kind.name)
        };
        let shapes = INSTANCE_TYPES.iter().filter(wanted).map(shape).collect();
        let shapes = apply(&cx.filters, FILTERS, |_| &[], shapes)?;
        let (instance_types, next_token) =
            cx.page.cut(shapes, |kind| kind.instance_type.clone().unwrap_or_default().into());
        Ok(DescribeInstanceTypesResult { instance_types, next_token })
    }
}

impl Handle for DescribeInstanceTypeOfferingsRequest {
    async fn handle(self, cx: &Context) -> Result<DescribeInstanceTypeOfferingsResult, ApiError> {
        let config = cx.cloud.config();
        let (kind, location) = match self.location_type.as_deref() {
            None | Some("region") => ("region", config.region.clone()),
            Some("availability-zone") => ("availability-zone", config.zone()),
            Some("availability-zone-id") => ("availability-zone-id", super::region::zone_id(&config.region)),
            Some(other) => {
                let rule = "It is region, availability-zone or availability-zone-id.";
                return Err(ApiError::invalid_value("LocationType", other, rule));
            }
        };
        let offering = |size: &InstanceType| InstanceTypeOffering {
            instance_type: fixed(size.name),
            location: text(&location),
            location_type: fixed(kind),
        };
        let shapes = INSTANCE_TYPES.iter().map(offering).collect();
        let shapes = apply(&cx.filters, OFFERING_FILTERS, |_| &[], shapes)?;
        let (instance_type_offerings, next_token) =
            cx.page.cut(shapes, |offering| offering.instance_type.clone().unwrap_or_default().into());
        Ok(DescribeInstanceTypeOfferingsResult { instance_type_offerings, next_token })
    }
}

fn shape(size: &'static InstanceType) -> InstanceTypeInfo {
    InstanceTypeInfo {
        auto_recovery_supported: Some(false),
        bare_metal: Some(false),
        burstable_performance_supported: Some(size.burstable),
        current_generation: Some(true),
        dedicated_hosts_supported: Some(false),
        ebs_info: Some(EbsInfo {
            ebs_optimized_support: fixed("unsupported"),
            encryption_support: fixed("unsupported"),
            nvme_support: fixed("unsupported"),
        }),
        free_tier_eligible: Some(false),
        hibernation_supported: Some(false),
        hypervisor: fixed("nitro"),
        instance_storage_info: storage(size),
        instance_storage_supported: Some(size.storage_gb > 0),
        instance_type: fixed(size.name),
        memory_info: Some(MemoryInfo { size_in_mi_b: i64::try_from(size.memory_mib).ok() }),
        network_info: Some(network()),
        nitro_enclaves_support: fixed("unsupported"),
        nitro_tpm_support: fixed("unsupported"),
        placement_group_info: Some(PlacementGroupInfo {
            supported_strategies: vec!["cluster".into(), "spread".into()],
        }),
        processor_info: Some(ProcessorInfo { supported_architectures: vec!["x86_64".into()] }),
        supported_boot_modes: vec!["legacy-bios".into()],
        supported_root_device_types: vec!["ebs".into()],
        supported_usage_classes: vec!["on-demand".into()],
        supported_virtualization_types: vec!["hvm".into()],
        v_cpu_info: Some(VCpuInfo {
            default_cores: Some(size.vcpus.into()),
            default_threads_per_core: Some(1),
            default_v_cpus: Some(size.vcpus.into()),
        }),
    }
}

fn storage(size: &InstanceType) -> Option<InstanceStorageInfo> {
    let gb = i64::from(size.storage_gb);
    (gb > 0).then(|| InstanceStorageInfo {
        disks: vec![DiskInfo { count: Some(1), size_in_gb: Some(gb) }],
        encryption_support: fixed("unsupported"),
        nvme_support: fixed("unsupported"),
        total_size_in_gb: Some(gb),
    })
}

fn network() -> NetworkInfo {
    NetworkInfo {
        default_network_card_index: Some(0),
        efa_supported: Some(false),
        ena_support: fixed("unsupported"),
        ipv4_addresses_per_interface: Some(1),
        ipv6_addresses_per_interface: Some(0),
        ipv6_supported: Some(false),
        maximum_network_cards: Some(1),
        maximum_network_interfaces: Some(1),
        network_cards: vec![NetworkCardInfo {
            maximum_network_interfaces: Some(1),
            network_card_index: Some(0),
            network_performance: fixed("Unlimited"),
        }],
        network_performance: fixed("Unlimited"),
    }
}
