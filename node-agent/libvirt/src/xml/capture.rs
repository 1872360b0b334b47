//! A capture of a root disk as XML.

use std::path::Path;

use serde::Serialize;

use super::devices::text;
use super::elements::FileSource;
use super::write;
use crate::Error;

/// A backup of the disks that it names and of no other.
#[derive(Serialize)]
#[serde(rename = "domainbackup")]
struct Backup<'a> {
    #[serde(rename = "@mode")]
    mode: &'static str,
    disks: Disks<'a>,
}

#[derive(Serialize)]
struct Disks<'a> {
    disk: Disk<'a>,
}

#[derive(Serialize)]
struct Disk<'a> {
    #[serde(rename = "@name")]
    name: &'static str,
    #[serde(rename = "@backup")]
    backup: &'static str,
    #[serde(rename = "@type")]
    kind: &'static str,
    target: FileSource<'a>,
    driver: Driver,
}

#[derive(Serialize)]
struct Driver {
    #[serde(rename = "@type")]
    format: &'static str,
}

/// All of the root disk into this file, which has only what is no zero: QEMU would fill a raw one with room for all of the disk.
pub(crate) fn capture_xml(to: &Path) -> Result<String, Error> {
    let target = FileSource { file: text("capture", to)?, seclabel: None };
    let disk = Disk { name: "vda", backup: "yes", kind: "file", target, driver: Driver { format: "qcow2" } };
    let backup = Backup { mode: "push", disks: Disks { disk } };
    write(&backup)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_disk_alone_goes_into_the_file() {
        let xml = capture_xml(Path::new("/disks/p-1.capture")).unwrap();
        let lines: Vec<_> = xml.lines().map(str::trim).collect();
        assert_eq!(
            lines.concat(),
            "<domainbackup mode=\"push\"><disks><disk name=\"vda\" backup=\"yes\" type=\"file\">\
             <target file=\"/disks/p-1.capture\"/><driver type=\"qcow2\"/></disk></disks></domainbackup>"
        );
        let odd = capture_xml(Path::new("/a'b<c")).unwrap();
        assert!(odd.contains("b&lt;c"), "{odd}");
    }
}
