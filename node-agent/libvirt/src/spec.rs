//! What a domain is made from.

use std::path::{Path, PathBuf};

use tepui_types::agent::ScratchKind;
use tepui_types::{InstanceId, MacAddress, PlacementId};

use crate::{Accelerator, DataDisk, Error};

/// The format of a disk file. Always stated, never probed: a guest can write any header it likes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DiskFormat {
    /// The guest-visible bytes themselves.
    Raw,
    /// QEMU's copy-on-write format.
    Qcow2,
}

/// Everything that becomes one domain. The agent owns the files and the tap: they exist before
/// [`LibvirtHost::start`](crate::LibvirtHost::start) and outlive the domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainSpec {
    /// Names the domain and gives it its UUID.
    pub placement_id: PlacementId,
    /// The domain's title, for operators at `virsh list --title`.
    pub instance_id: InstanceId,
    /// Virtual CPUs, at least 1.
    pub vcpus: u32,
    /// Guest memory in MiB, at least 1.
    pub memory_mib: u64,
    /// Hardware or emulation.
    pub accelerator: Accelerator,
    /// What it boots from.
    pub root: Root,
    /// Its other disks that are volumes.
    pub disks: Vec<DataDisk>,
    /// Its scratch disks, none of which has the letter of a volume.
    pub scratch: Vec<ScratchDisk>,
    /// The tap device of the first interface, made by the agent; at most 15 bytes.
    pub tap: String,
    /// The first interface's MAC address.
    pub mac: MacAddress,
    /// The first interface's MTU in bytes.
    pub mtu: u16,
    /// What the guest writes to its first serial port is appended here; see
    /// [`rotate_console`](crate::rotate_console).
    pub console_log: PathBuf,
}

/// What a domain boots from, as `vda`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Root {
    /// Files of this host.
    Overlay(Overlay),
    /// A volume, whose letter is `a`.
    Volume(DataDisk),
}

/// A root disk in files of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlay {
    /// A qcow2 overlay whose only backing file is `base`. libvirt gives it to QEMU's user while the domain runs and
    /// takes it back afterwards.
    pub path: PathBuf,
    /// The cached image below the overlay. It stays `root:root`: QEMU's user never owns a base.
    pub base: PathBuf,
    /// The format of `base`.
    pub base_format: DiskFormat,
    /// The serial as the guest sees it: 1 to 20 letters, digits, `-` or `_`.
    pub serial: String,
}

/// A scratch disk in a raw file of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScratchDisk {
    /// What it is for.
    pub kind: ScratchKind,
    /// Its place, `b` to `z`: the guest orders its disks by it.
    pub letter: char,
    /// The file. libvirt gives it to QEMU's user while the domain runs.
    pub path: PathBuf,
}

impl ScratchDisk {
    /// The serial by which the guest knows it.
    pub(crate) const fn serial(&self) -> &'static str {
        match self.kind {
            ScratchKind::Scratch => "ephemeral0",
            ScratchKind::Swap => "swap0",
        }
    }

    fn validate(&self) -> Result<(), Error> {
        require(
            "letter",
            self.letter,
            matches!(self.letter, 'b'..='z'),
            "must be b to z for a scratch disk",
        )?;
        check_path("scratch disk", &self.path)
    }
}

/// The kernel's limit for the name of a network device.
const TAP_BYTES: usize = 15;
/// What virtio-blk carries.
const SERIAL_BYTES: usize = 20;

impl DomainSpec {
    /// Refuses what libvirt would misread, and what it would refuse with less clear words.
    pub(crate) fn validate(&self) -> Result<(), Error> {
        require("vcpus", self.vcpus, self.vcpus > 0, "must be at least 1")?;
        require("memory_mib", self.memory_mib, self.memory_mib > 0, "must be at least 1")?;
        let rule = "must be 1 to 15 letters, digits, '-', '_' or '.', and not begin with 'vnet'";
        // libvirt takes devices that begin with vnet for its own and removes them.
        let fits = is_name(&self.tap, TAP_BYTES, "-_.") && !self.tap.starts_with("vnet");
        require("tap", &self.tap, fits, rule)?;
        check_path("console_log", &self.console_log)?;
        self.root.validate()?;
        for disk in &self.disks {
            require("letter", disk.letter, !disk.is_root(), "must be b to z for what is not the root disk")?;
            disk.validate()?;
        }
        for disk in &self.scratch {
            disk.validate()?;
            let is_free = self.disks.iter().all(|volume| volume.letter != disk.letter);
            require("letter", disk.letter, is_free, "must not be a volume's for a scratch disk")?;
        }
        Ok(())
    }

    /// All disks that are volumes.
    pub(crate) fn volumes(&self) -> impl Iterator<Item = &DataDisk> {
        let root = match &self.root {
            Root::Overlay(_) => None,
            Root::Volume(root) => Some(root),
        };
        root.into_iter().chain(&self.disks)
    }
}

impl Root {
    fn validate(&self) -> Result<(), Error> {
        match self {
            Self::Overlay(overlay) => {
                check_serial(&overlay.serial)?;
                check_path("overlay", &overlay.path)?;
                check_path("base", &overlay.base)
            }
            Self::Volume(root) => {
                require("letter", root.letter, root.is_root(), "must be a for the root disk")?;
                root.validate()
            }
        }
    }
}

pub(crate) fn check_serial(serial: &str) -> Result<(), Error> {
    let rule = "must be 1 to 20 letters, digits, '-' or '_'";
    require("serial", serial, is_name(serial, SERIAL_BYTES, "-_"), rule)
}

pub(crate) fn is_name(text: &str, most: usize, also: &str) -> bool {
    (1..=most).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || also.contains(c))
}

/// A control character is not allowed in XML or, as a line break, does not survive it.
pub(crate) fn check_path(field: &'static str, path: &Path) -> Result<(), Error> {
    let text = path.to_str().unwrap_or_default();
    let fits = text.starts_with('/') && !text.contains(char::is_control);
    require(field, path.display(), fits, "must be an absolute path in UTF-8 without control characters")
}

pub(crate) fn require(
    field: &'static str,
    value: impl ToString,
    fits: bool,
    rule: &'static str,
) -> Result<(), Error> {
    if fits {
        return Ok(());
    }
    Err(Error::Spec { field, value: value.to_string().escape_debug().to_string(), rule })
}
