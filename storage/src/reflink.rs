//! Clones of a file's extents, and whether a file system can make them.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use rustix::io::Errno;

use crate::PoolError;
use crate::error::file;

/// Makes `to` share all extents of `from`, whose dirty pages the kernel writes out first.
pub(crate) fn clone(from: &File, to: &File) -> io::Result<()> {
    Ok(rustix::fs::ioctl_ficlone(to, from)?)
}

/// As [`clone`]; `false` where the two are on file systems between which there are no clones.
pub(crate) fn try_clone(from: &File, to: &File) -> io::Result<bool> {
    match rustix::fs::ioctl_ficlone(to, from) {
        Ok(()) => Ok(true),
        Err(error) if is_never(error) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Whether the two files can have no extents in common.
fn is_never(error: Errno) -> bool {
    matches!(error, Errno::OPNOTSUPP | Errno::NOTTY | Errno::INVAL | Errno::NOSYS | Errno::XDEV)
}

/// Refuses a directory whose file system cannot clone. Asked of the file system itself: XFS may have been made
/// without reflink, and a name tells nothing of that.
pub(crate) fn probe(directory: &Path) -> Result<(), PoolError> {
    let scratch = || tempfile::tempfile_in(directory).map_err(file(directory));
    let (mut from, to) = (scratch()?, scratch()?);
    // A file without an extent could be cloned anywhere.
    from.write_all(&[1; 4096]).map_err(file(directory))?;
    match rustix::fs::ioctl_ficlone(&to, &from) {
        Ok(()) => Ok(()),
        Err(error) if is_never(error) => {
            let file_system = name(&from).map_err(file(directory))?;
            Err(PoolError::NoReflink { path: directory.to_owned(), file_system })
        }
        Err(error) => Err(file(directory)(error.into())),
    }
}

/// Whether a file system never has a later name without an earlier clone: XFS, all of whose changes go through one log, in
/// their order. Btrfs flushes files by logs of their own, which need not hold what a name leads to.
pub(crate) fn keeps_order(directory: &Path) -> Result<bool, PoolError> {
    let found = rustix::fs::statfs(directory).map_err(|error| file(directory)(error.into()))?;
    Ok(found.f_type == XFS)
}

/// statfs(2).
const XFS: rustix::fs::FsWord = 0x5846_5342;

/// The magic numbers are those of statfs(2).
fn name(on: &File) -> io::Result<String> {
    let magic = rustix::fs::fstatfs(on)?.f_type;
    Ok(match magic {
        0xef53 => "ext2/ext3/ext4".into(),
        XFS => "xfs".into(),
        0x0102_1994 => "tmpfs".into(),
        0x6969 => "nfs".into(),
        0x794c_7630 => "overlayfs".into(),
        0x2fc1_2fc1 => "zfs".into(),
        other => format!("a file system of type {other:#x}"),
    })
}
