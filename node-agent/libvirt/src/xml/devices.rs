//! The devices of a domain. All are virtio but the serial port; there is no screen, no USB, and
//! nothing that a caller could choose.

use std::path::Path;

use super::elements::{
    Address, AnyDisk, Backend, BackingStore, Balloon, Channel, ChannelTarget, CharacterDevice, Controller,
    Devices, Disk, DiskDriver, FileSource, Format, Interface, LogSource, ModelType, Mtu, PortTarget, Rng,
    Rom, SecurityLabel, Target,
};
use super::scratch_disk::scratch_disk;
use super::volume_disk::volume_disk;
use crate::{DiskFormat, DomainSpec, Error, Overlay, Root};

/// Root ports that the devices of this file fill: disk, network, serial bus of the guest agent,
/// balloon, rng.
const USED_PORTS: usize = 5;
/// Root ports for disks and interfaces that are attached later: a running q35 machine cannot grow
/// ports.
const SPARE_PORTS: usize = 8;

pub(super) fn devices(spec: &DomainSpec) -> Result<Devices<'_>, Error> {
    Ok(Devices {
        disk: disks(spec)?,
        controller: controllers(spec.scratch.len()),
        interface: interface(spec),
        serial: serial_port(spec, "isa-serial")?,
        console: serial_port(spec, "serial")?,
        channel: Channel {
            kind: "unix",
            target: ChannelTarget { kind: "virtio", name: "org.qemu.guest_agent.0" },
        },
        memballoon: Balloon { model: "virtio", free_page_reporting: "on" },
        rng: Rng { model: "virtio", backend: Backend { model: "random", path: "/dev/urandom" } },
    })
}

/// The firmware boots from the first one.
fn disks(spec: &DomainSpec) -> Result<Vec<AnyDisk<'_>>, Error> {
    let mut disks = vec![match &spec.root {
        Root::Overlay(overlay) => AnyDisk::Overlay(overlay_disk(overlay)?),
        Root::Volume(root) => AnyDisk::Volume(volume_disk(root)),
    }];
    for disk in &spec.scratch {
        disks.push(AnyDisk::Scratch(scratch_disk(disk)?));
    }
    disks.extend(spec.disks.iter().map(|disk| AnyDisk::Volume(volume_disk(disk))));
    Ok(disks)
}

impl DiskDriver {
    /// How QEMU treats a file of this host.
    ///
    /// - `writeback` shows the guest a disk with a write cache. A guest's flush becomes an fdatasync of
    ///   the overlay and returns after it, so what the guest was told is durable is durable, as with
    ///   `none`. Unlike with `none` (O_DIRECT, which also holds for the base below), all guests of an
    ///   image share its blocks in the host's page cache, and any file system will do.
    /// - `threads`, because `native` needs O_DIRECT and io_uring is switched off on many hosts.
    /// - A failed write stops the guest instead of telling it: it goes on undamaged once the host has
    ///   space again.
    pub(super) const fn of_file(format: &'static str) -> Self {
        Self {
            name: "qemu",
            format,
            cache: "writeback",
            error_policy: "stop",
            rerror_policy: "stop",
            io: "threads",
            discard: "unmap",
        }
    }
}

fn overlay_disk(overlay: &Overlay) -> Result<Disk<'_>, Error> {
    Ok(Disk {
        kind: "file",
        device: "disk",
        driver: DiskDriver::of_file(format_name(DiskFormat::Qcow2)),
        source: FileSource { file: text("overlay", &overlay.path)?, seclabel: None },
        backing_store: base(overlay)?,
        target: Target { dev: "vda", bus: Some("virtio"), managed: None },
        serial: &overlay.serial,
    })
}

/// Without the label libvirt would give the base to QEMU's user at the first start and never take
/// it back, and an owner may make a read-only file writable.
fn base(overlay: &Overlay) -> Result<BackingStore<'_>, Error> {
    let seclabel = Some(SecurityLabel { model: "dac", relabel: "no" });
    Ok(BackingStore {
        kind: "file",
        format: Format { kind: format_name(overlay.base_format) },
        source: FileSource { file: text("base", &overlay.base)?, seclabel },
        end: (),
    })
}

fn format_name(format: DiskFormat) -> &'static str {
    match format {
        DiskFormat::Raw => "raw",
        DiskFormat::Qcow2 => "qcow2",
    }
}

/// Scratch disks have ports of their own, and take none of the spare ones.
fn controllers(scratch_disks: usize) -> Vec<Controller> {
    let pci = |model| Controller { kind: "pci", model };
    let mut controllers = vec![Controller { kind: "usb", model: "none" }, pci("pcie-root")];
    controllers.resize(controllers.len() + USED_PORTS + scratch_disks + SPARE_PORTS, pci("pcie-root-port"));
    controllers
}

/// The agent owns the tap (`managed='no'`), so its filters are complete before the first packet.
/// Without its boot ROM the interface costs the firmware no time: nothing boots from the network.
fn interface(spec: &DomainSpec) -> Interface<'_> {
    Interface {
        kind: "ethernet",
        mac: Address { address: spec.mac.to_string() },
        target: Target { dev: &spec.tap, bus: None, managed: Some("no") },
        model: ModelType { kind: "virtio" },
        mtu: Mtu { size: spec.mtu },
        rom: Rom { enabled: "no" },
    }
}

/// `append` makes QEMU write at the end of the file wherever that is, which is what lets
/// [`rotate_console`](crate::rotate_console) cut it while the guest runs. virtlogd would rotate by
/// itself, but is not there on every host.
fn serial_port<'a>(spec: &'a DomainSpec, target: &'static str) -> Result<CharacterDevice<'a>, Error> {
    Ok(CharacterDevice {
        kind: "file",
        source: LogSource { path: text("console_log", &spec.console_log)?, append: "on" },
        target: PortTarget { kind: target, port: 0 },
    })
}

pub(super) fn text<'a>(field: &'static str, path: &'a Path) -> Result<&'a str, Error> {
    path.to_str().ok_or_else(|| Error::Spec {
        field,
        value: path.display().to_string(),
        rule: "must be valid UTF-8",
    })
}
