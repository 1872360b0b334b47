//! The machine: identity, processor, memory, firmware.

use super::devices::devices;
use super::elements::{
    Boot, Clock, Cpu, Domain, Entry, Features, Memory, Mode, Os, OsType, SysInfo, SystemEntries,
};
use crate::{Accelerator, DomainSpec, Error, domain_name, system_uuid};

pub(super) fn domain(spec: &DomainSpec) -> Result<Domain<'_>, Error> {
    let uuid = system_uuid(spec.placement_id).to_string();
    Ok(Domain {
        kind: match spec.accelerator {
            Accelerator::Kvm => "kvm",
            Accelerator::Tcg => "qemu",
        },
        name: domain_name(spec.placement_id),
        title: spec.instance_id.to_string(),
        memory: Memory { unit: "MiB", size: spec.memory_mib },
        vcpu: spec.vcpus,
        sysinfo: sysinfo(&uuid),
        uuid,
        os: os(),
        features: Features { acpi: (), apic: () },
        cpu: cpu(spec.accelerator),
        clock: Clock { offset: "utc" },
        on_poweroff: "destroy",
        on_reboot: "restart",
        on_crash: "destroy",
        devices: devices(spec)?,
    })
}

/// cloud-init asks the EC2 metadata service only when the UUID begins with `ec2` and the serial is
/// the same.
fn sysinfo(uuid: &str) -> SysInfo {
    let entry = |name, value: &str| Entry { name, value: value.into() };
    SysInfo {
        kind: "smbios",
        system: SystemEntries {
            entry: vec![
                entry("manufacturer", "Tepui"),
                entry("product", "Tepui instance"),
                entry("serial", uuid),
                entry("uuid", uuid),
            ],
        },
    }
}

fn os() -> Os {
    Os {
        kind: OsType { arch: "x86_64", machine: "q35", kind: "hvm" },
        boot: Boot { dev: "hd" },
        smbios: Mode { mode: "sysinfo" },
    }
}

/// TCG has no processor to pass through. Nehalem is the x86-64-v2 level that distributions ask for;
/// newer models would make guests choose AVX code paths, which emulation makes slower, not faster.
fn cpu(accelerator: Accelerator) -> Cpu {
    match accelerator {
        Accelerator::Kvm => Cpu { mode: "host-passthrough", check: "none", model: None },
        Accelerator::Tcg => Cpu { mode: "custom", check: "none", model: Some("Nehalem") },
    }
}
