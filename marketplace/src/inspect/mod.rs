//! Decides from a file's own bytes, read by nobody but us, whether it may be imported.

mod foreign;
mod qcow2;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

pub use qcow2::MAX_L1_BYTES;

/// Bytes in which foreign formats show their magic numbers.
const HEAD_BYTES: usize = 64 * 1024;
/// The unit in which disks are addressed.
pub(crate) const SECTOR: u64 = 512;

/// What an import may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest disk the guest may see, in bytes.
    pub max_virtual_bytes: u64,
    /// Largest number of bytes the store keeps for it, holes not counted.
    pub max_stored_bytes: u64,
}

impl Default for Limits {
    /// 1 TiB seen by the guest, 64 GiB stored: above every public cloud image, below what fills a
    /// usual host.
    fn default() -> Self {
        Self { max_virtual_bytes: 1 << 40, max_stored_bytes: 64 << 30 }
    }
}

/// What a file is to be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Content {
    /// A disk that boots: qcow2, or raw with a boot sector.
    #[default]
    Bootable,
    /// A disk with anything on it: qcow2 or raw.
    Data,
    /// A disk's bytes as they are. Nothing is read out of them.
    Raw,
}

/// The formats that can be imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The guest's bytes as they are.
    Raw,
    /// qcow2, version 2 or 3.
    Qcow2,
}

/// A file that passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inspection {
    /// Its format.
    pub format: Format,
    /// Size of the disk the guest will see, in bytes.
    pub virtual_bytes: u64,
}

/// Why an image is refused: the rule it breaks, in words for its owner.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A format that is not imported.
    #[error("the file is a {0}; only raw and qcow2 (version 2 or 3) images are imported")]
    ForeignFormat(&'static str),
    /// Neither qcow2 nor a disk.
    #[error("the file is no disk image: it has neither a qcow2 header nor a boot sector (55 aa at byte 510)")]
    NotADisk,
    /// Shorter than its header says, or than any image.
    #[error("the file is truncated: {0}")]
    Truncated(String),
    /// The old first version, which has no feature bits to check.
    #[error("qcow2 version {0} is not imported; convert it to version 3")]
    Version(u32),
    /// It would read another file of the host.
    #[error("the image has a backing file; an imported image must stand alone")]
    BackingFile,
    /// It would read another file of the host.
    #[error("the image keeps its data in an external file; an imported image must stand alone")]
    ExternalDataFile,
    /// Its bytes cannot be verified.
    #[error("the image is encrypted (method {0}); import it decrypted")]
    Encrypted(u32),
    /// Snapshots hide data that nobody looks at.
    #[error("the image has {0} internal snapshots; import it without")]
    InternalSnapshots(u32),
    /// A feature we do not know could mean anything.
    #[error("the image needs qcow2 features that are not known here (incompatible bits {0:#x})")]
    UnknownFeatures(u64),
    /// It was not closed properly.
    #[error("the image is marked {0}; repair it with 'qemu-img check -r all' first")]
    Unclean(&'static str),
    /// Compressed by an unknown method.
    #[error("the image is compressed by method {0}; only zlib (0) and zstd (1) are known")]
    Compression(u8),
    /// A header field that cannot be.
    #[error("the qcow2 header is damaged: {field} is {value}, but {rule}")]
    Header {
        /// The field's name in the qcow2 specification.
        field: &'static str,
        /// Its value.
        value: u64,
        /// What it must be.
        rule: &'static str,
    },
    /// Larger than allowed.
    #[error("the disk has {virtual_bytes} bytes; at most {limit} are imported")]
    TooLarge {
        /// Its size.
        virtual_bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// Raw disks have whole sectors.
    #[error("the file has {0} bytes; a raw disk has whole sectors of 512")]
    PartialSector(u64),
}

/// Why a file could not be judged.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// It is refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It could not be read.
    #[error("the image file cannot be read")]
    Read(#[from] io::Error),
}

/// Judges a file by its bytes alone. Nothing it names is ever opened.
///
/// # Errors
/// [`InspectError::Refused`] with the rule it breaks.
pub fn inspect(file: &File, limits: &Limits) -> Result<Inspection, InspectError> {
    inspect_as(Content::Bootable, file, limits)
}

/// As [`inspect`], of a file that is to be `content`.
///
/// # Errors
/// Those of [`inspect`].
pub fn inspect_as(content: Content, file: &File, limits: &Limits) -> Result<Inspection, InspectError> {
    let length = file.metadata()?.len();
    if content == Content::Raw {
        return Ok(inspect_raw(length, limits)?);
    }
    let mut head = vec![0; HEAD_BYTES.min(usize::try_from(length).unwrap_or(HEAD_BYTES))];
    file.read_exact_at(&mut head, 0)?;
    if qcow2::is_qcow2(&head) {
        return qcow2::inspect(file, length, limits);
    }
    if let Some(name) = foreign::format_of(&head, file, length)? {
        return Err(Refusal::ForeignFormat(name).into());
    }
    if content == Content::Bootable && head.get(510..512) != Some(&[0x55, 0xaa]) {
        return Err(Refusal::NotADisk.into());
    }
    Ok(inspect_raw(length, limits)?)
}

fn inspect_raw(length: u64, limits: &Limits) -> Result<Inspection, Refusal> {
    if length == 0 {
        return Err(Refusal::Truncated("it is empty".into()));
    }
    if !length.is_multiple_of(SECTOR) {
        return Err(Refusal::PartialSector(length));
    }
    check_size(length, limits)?;
    Ok(Inspection { format: Format::Raw, virtual_bytes: length })
}

pub(crate) fn check_size(virtual_bytes: u64, limits: &Limits) -> Result<(), Refusal> {
    if virtual_bytes > limits.max_virtual_bytes {
        return Err(Refusal::TooLarge { virtual_bytes, limit: limits.max_virtual_bytes });
    }
    Ok(())
}
