//! Scratch disks as XML.

use serde::Serialize;

use super::devices::text;
use super::elements::{DiskDriver, FileSource};
use crate::{Error, ScratchDisk};

/// A raw file of this host. As with a local root disk any file system will do, and a failed write stops the guest
/// until the host has space again.
#[derive(Serialize)]
#[serde(rename = "disk")]
pub(super) struct ScratchElement<'a> {
    #[serde(rename = "@type")]
    kind: &'static str,
    #[serde(rename = "@device")]
    device: &'static str,
    driver: DiskDriver,
    source: FileSource<'a>,
    target: Target,
    serial: &'static str,
}

#[derive(Serialize)]
struct Target {
    #[serde(rename = "@dev")]
    dev: String,
    #[serde(rename = "@bus")]
    bus: &'static str,
}

pub(super) fn scratch_disk(disk: &ScratchDisk) -> Result<ScratchElement<'_>, Error> {
    Ok(ScratchElement {
        kind: "file",
        device: "disk",
        driver: DiskDriver::of_file("raw"),
        source: FileSource { file: text("scratch disk", &disk.path)?, seclabel: None },
        target: Target { dev: format!("vd{}", disk.letter), bus: "virtio" },
        serial: disk.serial(),
    })
}
