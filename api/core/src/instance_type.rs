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
}

const fn size(name: &'static str, vcpus: u32, memory_mib: u64) -> InstanceType {
    InstanceType { name, vcpus, memory_mib, burstable: matches!(name.as_bytes().first(), Some(b't')) }
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
    size("c5.large", 2, 4096),
    size("c5.xlarge", 4, 8192),
    size("c5.2xlarge", 8, 16_384),
    size("c5.4xlarge", 16, 32_768),
    size("c5.9xlarge", 36, 73_728),
    size("c5.12xlarge", 48, 98_304),
    size("c5.18xlarge", 72, 147_456),
    size("c5.24xlarge", 96, 196_608),
    size("r5.large", 2, 16_384),
    size("r5.xlarge", 4, 32_768),
    size("r5.2xlarge", 8, 65_536),
    size("r5.4xlarge", 16, 131_072),
    size("r5.8xlarge", 32, 262_144),
    size("r5.12xlarge", 48, 393_216),
    size("r5.16xlarge", 64, 524_288),
    size("r5.24xlarge", 96, 786_432),
];

/// The type of this name.
pub fn instance_type(name: &str) -> Option<&'static InstanceType> {
    INSTANCE_TYPES.iter().find(|t| t.name == name)
}
