//! The elements of libvirt's domain format that we write, in libvirt's own order.
//! <https://libvirt.org/formatdomain.html>

use serde::Serialize;

use super::scratch_disk::ScratchElement;
use super::volume_disk::VolumeDisk;

#[derive(Serialize)]
#[serde(rename = "domain")]
pub(super) struct Domain<'a> {
    #[serde(rename = "@type")]
    pub(super) kind: &'static str,
    pub(super) name: String,
    pub(super) uuid: String,
    pub(super) title: String,
    pub(super) memory: Memory,
    pub(super) vcpu: u32,
    pub(super) sysinfo: SysInfo,
    pub(super) os: Os,
    pub(super) features: Features,
    pub(super) cpu: Cpu,
    pub(super) clock: Clock,
    pub(super) on_poweroff: &'static str,
    pub(super) on_reboot: &'static str,
    pub(super) on_crash: &'static str,
    pub(super) devices: Devices<'a>,
}

#[derive(Serialize)]
pub(super) struct Memory {
    #[serde(rename = "@unit")]
    pub(super) unit: &'static str,
    #[serde(rename = "$text")]
    pub(super) size: u64,
}

#[derive(Serialize)]
pub(super) struct SysInfo {
    #[serde(rename = "@type")]
    pub(super) kind: &'static str,
    pub(super) system: SystemEntries,
}

#[derive(Serialize)]
pub(super) struct SystemEntries {
    pub(super) entry: Vec<Entry>,
}

#[derive(Serialize)]
pub(super) struct Entry {
    #[serde(rename = "@name")]
    pub(super) name: &'static str,
    #[serde(rename = "$text")]
    pub(super) value: String,
}

#[derive(Serialize)]
pub(super) struct Os {
    #[serde(rename = "type")]
    pub(super) kind: OsType,
    pub(super) boot: Boot,
    pub(super) smbios: Mode,
}

#[derive(Serialize)]
pub(super) struct OsType {
    #[serde(rename = "@arch")]
    pub(super) arch: &'static str,
    #[serde(rename = "@machine")]
    pub(super) machine: &'static str,
    #[serde(rename = "$text")]
    pub(super) kind: &'static str,
}

#[derive(Serialize)]
pub(super) struct Boot {
    #[serde(rename = "@dev")]
    pub(super) dev: &'static str,
}

#[derive(Serialize)]
pub(super) struct Mode {
    #[serde(rename = "@mode")]
    pub(super) mode: &'static str,
}

#[derive(Serialize)]
pub(super) struct Features {
    pub(super) acpi: (),
    pub(super) apic: (),
}

#[derive(Serialize)]
pub(super) struct Cpu {
    #[serde(rename = "@mode")]
    pub(super) mode: &'static str,
    #[serde(rename = "@check")]
    pub(super) check: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) model: Option<&'static str>,
}

#[derive(Serialize)]
pub(super) struct Clock {
    #[serde(rename = "@offset")]
    pub(super) offset: &'static str,
}

#[derive(Serialize)]
pub(super) struct Devices<'a> {
    pub(super) disk: Vec<AnyDisk<'a>>,
    pub(super) controller: Vec<Controller>,
    pub(super) interface: Interface<'a>,
    pub(super) serial: CharacterDevice<'a>,
    pub(super) console: CharacterDevice<'a>,
    pub(super) channel: Channel,
    pub(super) memballoon: Balloon,
    pub(super) rng: Rng,
}

#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum AnyDisk<'a> {
    Overlay(Disk<'a>),
    Scratch(ScratchElement<'a>),
    Volume(VolumeDisk<'a>),
}

#[derive(Serialize)]
pub(super) struct Disk<'a> {
    #[serde(rename = "@type")]
    pub(super) kind: &'static str,
    #[serde(rename = "@device")]
    pub(super) device: &'static str,
    pub(super) driver: DiskDriver,
    pub(super) source: FileSource<'a>,
    #[serde(rename = "backingStore")]
    pub(super) backing_store: BackingStore<'a>,
    pub(super) target: Target<'a>,
    pub(super) serial: &'a str,
}

#[derive(Serialize)]
pub(super) struct DiskDriver {
    #[serde(rename = "@name")]
    pub(super) name: &'static str,
    #[serde(rename = "@type")]
    pub(super) format: &'static str,
    #[serde(rename = "@cache")]
    pub(super) cache: &'static str,
    #[serde(rename = "@error_policy")]
    pub(super) error_policy: &'static str,
    #[serde(rename = "@rerror_policy")]
    pub(super) rerror_policy: &'static str,
    #[serde(rename = "@io")]
    pub(super) io: &'static str,
    #[serde(rename = "@discard")]
    pub(super) discard: &'static str,
}

#[derive(Serialize)]
pub(super) struct FileSource<'a> {
    #[serde(rename = "@file")]
    pub(super) file: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) seclabel: Option<SecurityLabel>,
}

#[derive(Serialize)]
pub(super) struct SecurityLabel {
    #[serde(rename = "@model")]
    pub(super) model: &'static str,
    #[serde(rename = "@relabel")]
    pub(super) relabel: &'static str,
}

#[derive(Serialize)]
pub(super) struct BackingStore<'a> {
    #[serde(rename = "@type")]
    pub(super) kind: &'static str,
    pub(super) format: Format,
    pub(super) source: FileSource<'a>,
    /// Always empty: it says that the chain ends here, so libvirt looks no further.
    #[serde(rename = "backingStore")]
    pub(super) end: (),
}

#[derive(Serialize)]
pub(super) struct Format {
    #[serde(rename = "@type")]
    pub(super) kind: &'static str,
}

#[derive(Serialize)]
pub(super) struct Target<'a> {
    #[serde(rename = "@dev")]
    pub(super) dev: &'a str,
    #[serde(rename = "@bus", skip_serializing_if = "Option::is_none")]
    pub(super) bus: Option<&'static str>,
    #[serde(rename = "@managed", skip_serializing_if = "Option::is_none")]
    pub(super) managed: Option<&'static str>,
}

#[derive(Clone, Serialize)]
pub(super) struct Controller {
    #[serde(rename = "@type")]
    pub(super) kind: &'static str,
    #[serde(rename = "@model")]
    pub(super) model: &'static str,
}

#[derive(Serialize)]
pub(super) struct Interface<'a> {
    #[serde(rename = "@type")]
    pub(super) kind: &'static str,
    pub(super) mac: Address,
    pub(super) target: Target<'a>,
    pub(super) model: ModelType,
    pub(super) mtu: Mtu,
    pub(super) rom: Rom,
}

#[derive(Serialize)]
pub(super) struct Address {
    #[serde(rename = "@address")]
    pub(super) address: String,
}

#[derive(Serialize)]
pub(super) struct ModelType {
    #[serde(rename = "@type")]
    pub(super) kind: &'static str,
}

#[derive(Serialize)]
pub(super) struct Mtu {
    #[serde(rename = "@size")]
    pub(super) size: u16,
}

#[derive(Serialize)]
pub(super) struct Rom {
    #[serde(rename = "@enabled")]
    pub(super) enabled: &'static str,
}

#[derive(Serialize)]
pub(super) struct CharacterDevice<'a> {
    #[serde(rename = "@type")]
    pub(super) kind: &'static str,
    pub(super) source: LogSource<'a>,
    pub(super) target: PortTarget,
}

#[derive(Serialize)]
pub(super) struct LogSource<'a> {
    #[serde(rename = "@path")]
    pub(super) path: &'a str,
    #[serde(rename = "@append")]
    pub(super) append: &'static str,
}

#[derive(Serialize)]
pub(super) struct PortTarget {
    #[serde(rename = "@type")]
    pub(super) kind: &'static str,
    #[serde(rename = "@port")]
    pub(super) port: u8,
}

#[derive(Serialize)]
pub(super) struct Channel {
    #[serde(rename = "@type")]
    pub(super) kind: &'static str,
    pub(super) target: ChannelTarget,
}

#[derive(Serialize)]
pub(super) struct ChannelTarget {
    #[serde(rename = "@type")]
    pub(super) kind: &'static str,
    #[serde(rename = "@name")]
    pub(super) name: &'static str,
}

#[derive(Serialize)]
pub(super) struct Balloon {
    #[serde(rename = "@model")]
    pub(super) model: &'static str,
    #[serde(rename = "@freePageReporting")]
    pub(super) free_page_reporting: &'static str,
}

#[derive(Serialize)]
pub(super) struct Rng {
    #[serde(rename = "@model")]
    pub(super) model: &'static str,
    pub(super) backend: Backend,
}

#[derive(Serialize)]
pub(super) struct Backend {
    #[serde(rename = "@model")]
    pub(super) model: &'static str,
    #[serde(rename = "$text")]
    pub(super) path: &'static str,
}
