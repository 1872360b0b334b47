//! The header of a new qcow2 overlay, byte for byte as `qemu-img create` writes it, and the part of it
//! that is read back (QEMU's `docs/interop/qcow2.rst`).
//!
//! qemu-img itself takes a process with a dozen threads and five flushes for these few hundred bytes,
//! while a launch waits.

use std::fs::File;
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

pub(super) const MAGIC: &[u8; 4] = b"QFI\xfb";
pub(super) const VERSION: u32 = 3;
pub(super) const CLUSTER_BITS: u32 = 16;
pub(super) const CLUSTER: u64 = 1 << CLUSTER_BITS;
/// Reference counts of 2^4 bits.
const REFCOUNT_ORDER: u32 = 4;
const HEADER_LENGTH: u32 = 0x70;
/// The clusters in order: header, table of reference counts, one block of them, mapping (L1).
const REFCOUNT_TABLE: u64 = CLUSTER;
const REFCOUNT_BLOCK: u64 = 2 * CLUSTER;
const MAPPING: u64 = 3 * CLUSTER;
/// What one entry of the mapping stands for: a cluster of 8-byte entries, a cluster each.
pub(super) const BYTES_OF_ENTRY: u64 = CLUSTER / 8 * CLUSTER;
/// QEMU's limit for the mapping, 32 MiB.
const MOST_ENTRIES: u64 = (32 << 20) / 8;
/// The format's limit.
const LONGEST_NAME: usize = 1023;

const BACKING_FORMAT: u32 = 0xe279_2aca;
const FEATURE_NAMES: u32 = 0x6803_f857;
/// Kind (incompatible, compatible, autoclear), bit, name: for programs that know fewer of them.
const FEATURES: [(u8, u8, &str); 8] = [
    (0, 0, "dirty bit"),
    (0, 1, "corrupt bit"),
    (0, 2, "external data file"),
    (0, 3, "compression type"),
    (0, 4, "extended L2 entries"),
    (1, 0, "lazy refcounts"),
    (2, 0, "bitmaps"),
    (2, 1, "raw external data"),
];

/// Writes an overlay of `size` bytes on the raw image `base` into an empty file; `size` is rounded up to
/// a sector of 512.
pub(super) fn write_overlay(file: &File, base: &Path, size: u64) -> io::Result<()> {
    let size = size.next_multiple_of(512);
    let entries = size.div_ceil(BYTES_OF_ENTRY);
    if entries > MOST_ENTRIES {
        return Err(invalid("the disk is larger than 2 PiB, which qcow2 cannot hold"));
    }
    let clusters = (MAPPING + entries * 8).div_ceil(CLUSTER);
    let counts: Vec<u8> = (0..clusters).flat_map(|_| 1_u16.to_be_bytes()).collect();
    file.write_all_at(&header(base, size, entries)?, 0)?;
    file.write_all_at(&REFCOUNT_BLOCK.to_be_bytes(), REFCOUNT_TABLE)?;
    file.write_all_at(&counts, REFCOUNT_BLOCK)?;
    file.set_len(MAPPING + entries * 8)
}

fn header(base: &Path, size: u64, entries: u64) -> io::Result<Vec<u8>> {
    let name = base.as_os_str().as_bytes();
    if name.len() > LONGEST_NAME {
        return Err(invalid("a backing file's name is at most 1023 bytes"));
    }
    let extensions = extensions();
    let name_at = HEADER_LENGTH + u32::try_from(extensions.len()).unwrap_or_default();
    let mut bytes = MAGIC.to_vec();
    push(&mut bytes, &[VERSION, 0, name_at, u32::try_from(name.len()).unwrap_or_default(), CLUSTER_BITS]);
    bytes.extend(size.to_be_bytes());
    let no_encryption = 0;
    push(&mut bytes, &[no_encryption, u32::try_from(entries).unwrap_or_default()]);
    let (no_snapshots, no_features) = (0, 0);
    for field in [MAPPING, REFCOUNT_TABLE] {
        bytes.extend(field.to_be_bytes());
    }
    push(&mut bytes, &[1, no_snapshots, 0, 0]);
    bytes.extend([no_features; 3].into_iter().flat_map(u64::to_be_bytes));
    // The last word says that clusters are compressed by zlib, if any.
    push(&mut bytes, &[REFCOUNT_ORDER, HEADER_LENGTH, 0, 0]);
    bytes.extend(extensions);
    bytes.extend(name);
    Ok(bytes)
}

fn extensions() -> Vec<u8> {
    let mut bytes = Vec::new();
    push(&mut bytes, &[BACKING_FORMAT, 3]);
    bytes.extend(b"raw\0\0\0\0\0");
    push(&mut bytes, &[FEATURE_NAMES, 48 * FEATURES.len() as u32]);
    for (kind, bit, name) in FEATURES {
        bytes.extend([kind, bit]);
        bytes.extend(name.bytes().chain(std::iter::repeat(0)).take(46));
    }
    push(&mut bytes, &[0, 0]);
    bytes
}

fn push(bytes: &mut Vec<u8>, words: &[u32]) {
    bytes.extend(words.iter().flat_map(|word| word.to_be_bytes()));
}

/// The backing file that an overlay's header names. The header is written by this module and by QEMU,
/// never by the guest. (Bytes 8-15 are the name's offset, 16-19 its length.)
pub fn backing_file(overlay: &Path) -> io::Result<PathBuf> {
    let file = File::open(overlay)?;
    let mut header = [0; 20];
    file.read_exact_at(&mut header, 0)?;
    if !header.starts_with(MAGIC) {
        return Err(invalid("not a qcow2 file"));
    }
    let offset = header[8..16].iter().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
    let length = header[16..20].iter().fold(0_usize, |value, byte| value << 8 | usize::from(*byte));
    if length > LONGEST_NAME {
        return Err(invalid("a backing file's name is at most 1023 bytes"));
    }
    let mut name = vec![0; length];
    file.read_exact_at(&mut name, offset)?;
    Ok(PathBuf::from(std::ffi::OsString::from_vec(name)))
}

pub(super) fn invalid(rule: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, rule)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    const GIB: u64 = 1 << 30;

    fn qemu_img(arguments: &[&str]) {
        let output = Command::new("qemu-img").args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    #[test]
    fn an_overlay_is_byte_for_byte_what_qemu_img_creates_and_checks() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().join("base");
        File::create(&base).unwrap().set_len(1 << 20).unwrap();
        for size in [1 << 20, (1 << 20) + 1, GIB, 10 * GIB, 100 * GIB, 9 << 40] {
            let (ours, theirs) = (dir.path().join("ours"), dir.path().join("theirs"));
            write_overlay(&File::create(&ours).unwrap(), &base, size).unwrap();
            let (base, theirs_name) = (base.to_str().unwrap(), theirs.to_str().unwrap());
            let size_text = size.to_string();
            qemu_img(&["create", "-q", "-f", "qcow2", "-F", "raw", "-b", base, theirs_name, &size_text]);
            assert!(std::fs::read(&ours).unwrap() == std::fs::read(&theirs).unwrap(), "{size} bytes");
            qemu_img(&["check", "-q", "-f", "qcow2", ours.to_str().unwrap()]);
        }
    }

    #[test]
    fn what_the_format_cannot_hold_is_refused() {
        let file = tempfile::tempfile().unwrap();
        write_overlay(&file, Path::new("/base"), 2 << 50).unwrap();
        assert!(write_overlay(&file, Path::new("/base"), (2 << 50) + 1).is_err());
        assert!(write_overlay(&file, Path::new(&"x".repeat(1024)), GIB).is_err());
    }

    #[test]
    fn a_file_that_is_no_overlay_has_no_backing_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("raw");
        std::fs::write(&path, [0; 64]).unwrap();
        assert_eq!(backing_file(&path).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
