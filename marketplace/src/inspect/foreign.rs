//! Recognizes formats that are not imported, so that their owner is told which one it is. A format
//! missing here is refused all the same: as no disk.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Magic number, where it stands, and the format's name.
const MAGIC: &[(usize, &[u8], &str)] = &[
    (0, b"KDMV", "VMDK disk"),
    (0, b"COWD", "VMDK disk"),
    (0, b"# Disk DescriptorFile", "VMDK descriptor"),
    (0, b"vhdxfile", "VHDX disk"),
    (0, b"conectix", "VHD disk"),
    (0x40, &[0x7f, 0x10, 0xda, 0xbe], "VDI disk"),
    (0, b"QED\0", "QED disk"),
    (0, b"LUKS\xba\xbe", "LUKS volume"),
    (0, b"WithoutFreeSpace", "Parallels disk"),
    (0, b"WithouFreSpacExt", "Parallels disk"),
    (0, b"Bochs Virtual HD Image", "Bochs disk"),
    (0, b"OOOM", "COW disk"),
    (0, &[0x1f, 0x8b], "gzip archive"),
    (0, b"\xfd7zXZ\0", "xz archive"),
    (0, b"BZh", "bzip2 archive"),
    (0, &[0x28, 0xb5, 0x2f, 0xfd], "zstd archive"),
    (0, b"PK\x03\x04", "zip archive"),
    (257, b"ustar", "tar archive (an OVA is one)"),
    (0, b"\x7fELF", "program"),
    (0, b"<", "text file (a web page or XML)"),
    (0, b"{", "text file (JSON)"),
];
/// A fixed VHD has its magic only here, this many bytes before the end.
const VHD_FOOTER: u64 = 512;

pub(super) fn format_of(head: &[u8], file: &File, length: u64) -> io::Result<Option<&'static str>> {
    for (offset, magic, name) in MAGIC {
        if head.get(*offset..).is_some_and(|rest| rest.starts_with(magic)) {
            return Ok(Some(name));
        }
    }
    let mut footer = [0; 8];
    if length >= VHD_FOOTER {
        file.read_exact_at(&mut footer, length - VHD_FOOTER)?;
    }
    Ok((&footer == b"conectix").then_some("VHD disk"))
}
