//! The instance types, in the sizes AWS gives them (EC2 user guide, "Instance types": general
//! purpose, compute optimized, memory optimized).

/// A size that instances come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InstanceType {
    /// For example `t3.micro`.
    pub name: &'static str,
    /// Virtual CPUs.
    pub vcpus: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// AWS bills CPU credits for it; here it only changes what Describe shows.
    pub burstable: bool,
    /// Its instance storage in GB, as AWS gives it; 0 is none. Only types with one such disk are here.
    pub storage_gb: u32,
}

impl InstanceType {
    /// The scratch disk that an instance of the type has whatever is asked for, in GiB; 0 is none.
    pub const fn scratch_gib(&self) -> u32 {
        (self.storage_gb as u64 * 1_000_000_000).div_ceil(1 << 30) as u32
    }
}

const fn size(name: &'static str, vcpus: u32, memory_mib: u64) -> InstanceType {
    let burstable = matches!(name.as_bytes().first(), Some(b't'));
    InstanceType { name, vcpus, memory_mib, burstable, storage_gb: 0 }
}

/// One with instance storage.
const fn storing(name: &'static str, vcpus: u32, memory_mib: u64, storage_gb: u32) -> InstanceType {
    InstanceType { storage_gb, ..size(name, vcpus, memory_mib) }
}

/// Every type, smallest first in each family.
pub const INSTANCE_TYPES: &[InstanceType] = &[
    size("t2.nano", 1, 512),
    size("t2.micro", 1, 1024),
    size("t2.small", 1, 2048),
    size("t2.medium", 2, 4096),
    size("t2.large", 2, 8192),
    size("t2.xlarge", 4, 16_384),
    size("t2.2xlarge", 8, 32_768),
    size("t3.nano", 2, 512),
    size("t3.micro", 2, 1024),
    size("t3.small", 2, 2048),
    size("t3.medium", 2, 4096),
    size("t3.large", 2, 8192),
    size("t3.xlarge", 4, 16_384),
    size("t3.2xlarge", 8, 32_768),
    size("m5.large", 2, 8192),
    size("m5.xlarge", 4, 16_384),
    size("m5.2xlarge", 8, 32_768),
    size("m5.4xlarge", 16, 65_536),
    size("m5.8xlarge", 32, 131_072),
    size("m5.12xlarge", 48, 196_608),
    size("m5.16xlarge", 64, 262_144),
    size("m5.24xlarge", 96, 393_216),
    storing("m5d.large", 2, 8192, 75),
    storing("m5d.xlarge", 4, 16_384, 150),
    storing("m5d.2xlarge", 8, 32_768, 300),
    size("c5.large", 2, 4096),
    size("c5.xlarge", 4, 8192),
    size("c5.2xlarge", 8, 16_384),
    size("c5.4xlarge", 16, 32_768),
    size("c5.9xlarge", 36, 73_728),
    size("c5.12xlarge", 48, 98_304),
    size("c5.18xlarge", 72, 147_456),
    size("c5.24xlarge", 96, 196_608),
    storing("c5d.large", 2, 4096, 50),
    storing("c5d.xlarge", 4, 8192, 100),
    storing("c5d.2xlarge", 8, 16_384, 200),
    storing("c5d.4xlarge", 16, 32_768, 400),
    storing("c5d.9xlarge", 36, 73_728, 900),
    size("r5.large", 2, 16_384),
    size("r5.xlarge", 4, 32_768),
    size("r5.2xlarge", 8, 65_536),
    size("r5.4xlarge", 16, 131_072),
    size("r5.8xlarge", 32, 262_144),
    size("r5.12xlarge", 48, 393_216),
    size("r5.16xlarge", 64, 524_288),
    size("r5.24xlarge", 96, 786_432),
    storing("r5d.large", 2, 16_384, 75),
    storing("r5d.xlarge", 4, 32_768, 150),
    storing("r5d.2xlarge", 8, 65_536, 300),
];

/// The type of this name.
pub fn instance_type(name: &str) -> Option<&'static InstanceType> {
    INSTANCE_TYPES.iter().find(|t| t.name == name)
}
