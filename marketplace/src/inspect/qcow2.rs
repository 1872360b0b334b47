//! The qcow2 header and tables, as far as safety needs them. Source of every offset and limit:
//! QEMU's `docs/interop/qcow2.rst`.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::{Format, InspectError, Inspection, Limits, Refusal, SECTOR, check_size};

const MAGIC: [u8; 4] = *b"QFI\xfb";
/// Length of a version 2 header and of the part that both versions share.
const V2_HEADER: u64 = 72;
/// Shortest header of version 3.
const V3_HEADER: u64 = 104;
/// QEMU refuses longer L1 tables too.
pub const MAX_L1_BYTES: u64 = 32 << 20;
/// No extension is longer in practice than a feature-name table; an area this long is an attack.
const MAX_EXTENSIONS: usize = 64;

const INCOMPATIBLE_DIRTY: u64 = 1 << 0;
const INCOMPATIBLE_CORRUPT: u64 = 1 << 1;
const INCOMPATIBLE_DATA_FILE: u64 = 1 << 2;
const INCOMPATIBLE_COMPRESSION: u64 = 1 << 3;
const INCOMPATIBLE_EXTENDED_L2: u64 = 1 << 4;

const EXTENSION_END: u32 = 0;
const EXTENSION_BACKING_FORMAT: u32 = 0xe279_2aca;
const EXTENSION_DATA_FILE: u32 = 0x4441_5441;
const EXTENSION_ENCRYPTION: u32 = 0x0537_be77;

const L1_OFFSET_MASK: u64 = 0x00ff_ffff_ffff_fe00;
const L2_COMPRESSED: u64 = 1 << 62;

pub(super) fn is_qcow2(head: &[u8]) -> bool {
    head.starts_with(&MAGIC)
}

pub(super) fn inspect(file: &File, length: u64, limits: &Limits) -> Result<Inspection, InspectError> {
    let header = Header::read(file, length)?;
    header.check_features()?;
    header.check_geometry(length, limits)?;
    check_extensions(file, length, &header)?;
    check_tables(file, length, &header)?;
    Ok(Inspection { format: Format::Qcow2, virtual_bytes: header.virtual_bytes })
}

/// The fields that matter, in host byte order.
struct Header {
    version: u32,
    backing_file_offset: u64,
    backing_file_size: u32,
    cluster_bits: u32,
    virtual_bytes: u64,
    crypt_method: u32,
    l1_entries: u32,
    l1_offset: u64,
    refcount_offset: u64,
    refcount_clusters: u32,
    snapshots: u32,
    incompatible: u64,
    header_length: u64,
    compression: u8,
}

impl Header {
    fn read(file: &File, length: u64) -> Result<Self, InspectError> {
        if length < V2_HEADER {
            return Err(Refusal::Truncated(format!("a qcow2 header has at least {V2_HEADER} bytes")).into());
        }
        let mut bytes = [0; V3_HEADER as usize + 8];
        let available = usize::try_from(length).unwrap_or(bytes.len()).min(bytes.len());
        file.read_exact_at(&mut bytes[..available], 0)?;
        let version = be32(&bytes, 4);
        if !(2..=3).contains(&version) {
            return Err(Refusal::Version(version).into());
        }
        let third = version == 3;
        if third && length < V3_HEADER {
            return Err(
                Refusal::Truncated(format!("a version 3 header has at least {V3_HEADER} bytes")).into()
            );
        }
        let header_length = if third { u64::from(be32(&bytes, 100)) } else { V2_HEADER };
        Ok(Self {
            version,
            backing_file_offset: be64(&bytes, 8),
            backing_file_size: be32(&bytes, 16),
            cluster_bits: be32(&bytes, 20),
            virtual_bytes: be64(&bytes, 24),
            crypt_method: be32(&bytes, 32),
            l1_entries: be32(&bytes, 36),
            l1_offset: be64(&bytes, 40),
            refcount_offset: be64(&bytes, 48),
            refcount_clusters: be32(&bytes, 56),
            snapshots: be32(&bytes, 60),
            incompatible: if third { be64(&bytes, 72) } else { 0 },
            header_length,
            compression: if third && header_length > V3_HEADER { bytes[104] } else { 0 },
        })
    }

    fn cluster_bytes(&self) -> u64 {
        1 << self.cluster_bits
    }

    fn check_features(&self) -> Result<(), Refusal> {
        if self.incompatible & INCOMPATIBLE_DATA_FILE != 0 {
            return Err(Refusal::ExternalDataFile);
        }
        if self.backing_file_offset != 0 || self.backing_file_size != 0 {
            return Err(Refusal::BackingFile);
        }
        if self.crypt_method != 0 {
            return Err(Refusal::Encrypted(self.crypt_method));
        }
        if self.snapshots != 0 {
            return Err(Refusal::InternalSnapshots(self.snapshots));
        }
        if self.incompatible & INCOMPATIBLE_DIRTY != 0 {
            return Err(Refusal::Unclean("dirty"));
        }
        if self.incompatible & INCOMPATIBLE_CORRUPT != 0 {
            return Err(Refusal::Unclean("corrupt"));
        }
        let unknown = self.incompatible & !(INCOMPATIBLE_COMPRESSION | INCOMPATIBLE_EXTENDED_L2);
        if unknown != 0 {
            return Err(Refusal::UnknownFeatures(unknown));
        }
        if self.compression > 1 {
            return Err(Refusal::Compression(self.compression));
        }
        Ok(())
    }

    fn check_geometry(&self, length: u64, limits: &Limits) -> Result<(), Refusal> {
        let field = |field, value, rule| Err(Refusal::Header { field, value, rule });
        if !(9..=21).contains(&self.cluster_bits) {
            return field("cluster_bits", self.cluster_bits.into(), "it must be from 9 to 21");
        }
        if self.virtual_bytes == 0 || !self.virtual_bytes.is_multiple_of(SECTOR) {
            return field("size", self.virtual_bytes, "it must be a positive multiple of 512");
        }
        check_size(self.virtual_bytes, limits)?;
        let header_rule = "it must be a multiple of 8, at least 104 and at most a cluster";
        let header_fits = (V3_HEADER..=self.cluster_bytes()).contains(&self.header_length);
        if self.version == 3 && !(header_fits && self.header_length.is_multiple_of(8)) {
            return field("header_length", self.header_length, header_rule);
        }
        let l1_bytes = u64::from(self.l1_entries) * 8;
        if l1_bytes > MAX_L1_BYTES {
            return field("l1_size", self.l1_entries.into(), "the L1 table may have at most 32 MiB");
        }
        if u64::from(self.l1_entries) < self.l2_tables() {
            return field("l1_size", self.l1_entries.into(), "the L1 table must cover the whole disk");
        }
        self.check_area("l1_table_offset", self.l1_offset, l1_bytes, length)?;
        let refcount_bytes = u64::from(self.refcount_clusters) << self.cluster_bits;
        self.check_area("refcount_table_offset", self.refcount_offset, refcount_bytes, length)
    }

    /// L2 tables that map the disk, present or not.
    fn l2_tables(&self) -> u64 {
        let mapped_by_one = (self.cluster_bytes() / self.l2_entry_bytes()) << self.cluster_bits;
        self.virtual_bytes.div_ceil(mapped_by_one)
    }

    /// Subclusters double the entries.
    fn l2_entry_bytes(&self) -> u64 {
        if self.incompatible & INCOMPATIBLE_EXTENDED_L2 != 0 { 16 } else { 8 }
    }

    fn check_area(&self, field: &'static str, offset: u64, bytes: u64, length: u64) -> Result<(), Refusal> {
        if !offset.is_multiple_of(self.cluster_bytes()) {
            return Err(Refusal::Header {
                field,
                value: offset,
                rule: "it must be a multiple of the cluster size",
            });
        }
        match offset.checked_add(bytes) {
            Some(end) if end <= length => Ok(()),
            Some(_) | None => Err(Refusal::Truncated(format!(
                "{field} points at {bytes} bytes from byte {offset}, but the file has {length}"
            ))),
        }
    }
}

/// Header extensions can name files and formats too.
fn check_extensions(file: &File, length: u64, header: &Header) -> Result<(), InspectError> {
    let mut offset = header.header_length;
    let end = header.cluster_bytes().min(length);
    for _ in 0..MAX_EXTENSIONS {
        if offset + 8 > end {
            return Ok(());
        }
        let mut head = [0; 8];
        file.read_exact_at(&mut head, offset)?;
        match be32(&head, 0) {
            EXTENSION_END => return Ok(()),
            EXTENSION_BACKING_FORMAT => return Err(Refusal::BackingFile.into()),
            EXTENSION_DATA_FILE => return Err(Refusal::ExternalDataFile.into()),
            EXTENSION_ENCRYPTION => return Err(Refusal::Encrypted(2).into()),
            _ => offset += 8 + u64::from(be32(&head, 4)).next_multiple_of(8),
        }
    }
    let rule = "at most 64 header extensions are read";
    Err(Refusal::Header { field: "header extensions", value: MAX_EXTENSIONS as u64, rule }.into())
}

/// QEMU reads clusters beyond the end of the file as zeros, so a download that broke off would
/// import without an error and fail in the guest. Every cluster must be where the tables say. L1
/// entries beyond the disk's end map nothing and are not followed: a full L1 table that names one
/// L2 table a million times would cost terabytes of reading.
fn check_tables(file: &File, length: u64, header: &Header) -> Result<(), InspectError> {
    let l1 = read_entries(file, header.l1_offset, header.l2_tables() * 8)?;
    let mut l2 = Vec::new();
    for entry in l1.chunks_exact(8).map(|bytes| be64(bytes, 0)) {
        let offset = entry & L1_OFFSET_MASK;
        if offset == 0 {
            continue;
        }
        header.check_area("an L1 entry", offset, header.cluster_bytes(), length)?;
        l2.resize(header.cluster_bytes() as usize, 0);
        file.read_exact_at(&mut l2, offset)?;
        for entry in l2.chunks_exact(header.l2_entry_bytes() as usize) {
            check_cluster(be64(entry, 0), length, header)?;
        }
    }
    Ok(())
}

fn check_cluster(entry: u64, length: u64, header: &Header) -> Result<(), Refusal> {
    let (offset, bytes) = if entry & L2_COMPRESSED != 0 {
        let offset_bits = 62 - (header.cluster_bits - 8);
        let offset = entry & ((1 << offset_bits) - 1);
        let sectors = ((entry & (L2_COMPRESSED - 1)) >> offset_bits) + 1;
        // The last sector may end early where the file does.
        (offset, (sectors * SECTOR - offset % SECTOR).min(length.saturating_sub(offset).max(1)))
    } else {
        (entry & L1_OFFSET_MASK, header.cluster_bytes())
    };
    if offset == 0 {
        return Ok(());
    }
    match offset.checked_add(bytes) {
        Some(end) if end <= length => Ok(()),
        Some(_) | None => {
            Err(Refusal::Truncated(format!("a cluster lies at byte {offset}, but the file has {length}")))
        }
    }
}

fn read_entries(file: &File, offset: u64, bytes: u64) -> Result<Vec<u8>, InspectError> {
    let mut table = vec![0; bytes as usize];
    file.read_exact_at(&mut table, offset)?;
    Ok(table)
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_be_bytes(word)
}

fn be64(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_be_bytes(word)
}
