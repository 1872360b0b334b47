//! What a pool refuses and what fails in it.

use std::io;
use std::path::{Path, PathBuf};

use tepui_types::failpoint::Tripped;
use tepui_types::frames::FrameError;
use tepui_types::{Digest, PoolId, SnapshotId, VolumeId};

/// Why something in a pool was not done.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// The file system cannot clone extents.
    #[error(
        "{} is on {file_system} without reflink, on which snapshots and clones of volumes rest; \
         put the pool on a file system made by `mkfs.xfs -m reflink=1 DEVICE`, or on btrfs",
        path.display()
    )]
    NoReflink {
        /// The directory.
        path: PathBuf,
        /// What the kernel calls the file system.
        file_system: String,
    },
    /// There is no pool in the directory.
    #[error("{} is no pool: it has no file `{}`; is its file system mounted?", path.display(), crate::pool::MARKER)]
    NotAPool {
        /// The directory.
        path: PathBuf,
    },
    /// Another pool is in the directory.
    #[error("{} is the pool {found} and not {wanted}; is another file system mounted there?", path.display())]
    OtherPool {
        /// The directory.
        path: PathBuf,
        /// What its file says.
        found: String,
        /// What was expected.
        wanted: PoolId,
    },
    /// Something is in a directory in which a pool was to be made.
    #[error("{} is not empty, and a pool is made in an empty directory only", path.display())]
    NotEmpty {
        /// The directory.
        path: PathBuf,
    },
    /// Another process has the pool open.
    #[error("the pool {} is in use by another process", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// A snapshot of another host came to fill the pool beyond its hard watermark, and would each time.
    #[error("the pool {} has no room for the snapshot", path.display())]
    Outgrown {
        /// The directory.
        path: PathBuf,
    },
    /// The pool is used beyond its hard watermark.
    #[error("the pool {} is full: {used} of {capacity} bytes are used, its hard watermark is {hard_percent} %", path.display())]
    Full {
        /// The directory.
        path: PathBuf,
        /// Bytes used.
        used: u64,
        /// Bytes that the file system has.
        capacity: u64,
        /// The watermark.
        hard_percent: u8,
    },
    /// What is to be written would bring the pool to its hard watermark.
    #[error("{needed} bytes more would bring the pool {} to its hard watermark", path.display())]
    NoRoom {
        /// The directory.
        path: PathBuf,
        /// What was to be written.
        needed: u64,
    },
    /// A size that no volume may have.
    #[error("a volume of {bytes} bytes: the size is a multiple of 4096 bytes and not 0")]
    Size {
        /// What was asked for.
        bytes: u64,
    },
    /// A volume would lose its end.
    #[error("{id} has {from} bytes and cannot shrink to {to}")]
    Shrink {
        /// The volume.
        id: VolumeId,
        /// What it has.
        from: u64,
        /// What was asked for.
        to: u64,
    },
    /// A volume would not hold its snapshot.
    #[error("a volume of {bytes} bytes cannot hold {snapshot}, which has {needed}")]
    SmallerThanSnapshot {
        /// The snapshot.
        snapshot: SnapshotId,
        /// Its size.
        needed: u64,
        /// What was asked for.
        bytes: u64,
    },
    /// A volume or snapshot would not hold its image.
    #[error("a disk of {bytes} bytes cannot hold the image {image}, which has {needed}")]
    SmallerThanImage {
        /// The image.
        image: Digest,
        /// Its size.
        needed: u64,
        /// What was asked for.
        bytes: u64,
    },
    /// The file of an image has another length than the image is said to have.
    #[error("{} has {found} bytes, and the image {image} is said to have {wanted}", path.display())]
    ImageLength {
        /// The file.
        path: PathBuf,
        /// The image.
        image: Digest,
        /// What it has.
        found: u64,
        /// What it is said to have.
        wanted: u64,
    },
    /// The volume is there with fewer bytes than it was to be made with.
    #[error("{id} exists and has {found} bytes, not {wanted}")]
    OtherSize {
        /// The volume.
        id: VolumeId,
        /// What it has.
        found: u64,
        /// What was asked for.
        wanted: u64,
    },
    /// The pool has no such volume.
    #[error("the pool has no {0}")]
    NoVolume(VolumeId),
    /// The pool has no such snapshot.
    #[error("the pool has no {0}")]
    NoSnapshot(SnapshotId),
    /// The pool has no base of the image.
    #[error("the pool has no copy of the image {0}")]
    NoBase(Digest),
    /// What has been removed is not made anew: the order to make it came late.
    #[error("{id} was removed and lies in the trash")]
    Removed {
        /// A volume or snapshot.
        id: String,
    },
    /// What came from another host cannot be read.
    #[error(transparent)]
    Frames(#[from] FrameError),
    /// What came from another host has fewer or more bytes than it was said to have.
    #[error("{received} of {wanted} bytes came")]
    CutOff {
        /// What came.
        received: u64,
        /// What was said.
        wanted: u64,
    },
    /// Nobody wants any more what was being made.
    #[error("it was called off")]
    Stopped,
    /// The file system refused.
    #[error("{}", path.display())]
    File {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A test made it fail.
    #[error(transparent)]
    Failpoint(#[from] Tripped),
}

/// Names the path in an error of the file system.
pub(crate) fn file(path: &Path) -> impl FnOnce(io::Error) -> PoolError {
    move |source| PoolError::File { path: path.to_owned(), source }
}
