//! Names and bytes that a power cut leaves as they are.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::OFlags;

use crate::PoolError;
use crate::error::file;

/// Makes the names in `directory` durable.
pub(crate) fn sync(directory: &Path) -> Result<(), PoolError> {
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(file(directory))
}

/// Makes all of a directory's file system durable.
pub(crate) fn sync_all(directory: &Path) -> Result<(), PoolError> {
    let sync = |directory: File| Ok(rustix::fs::syncfs(&directory)?);
    File::open(directory).and_then(sync).map_err(file(directory))
}

/// Renames a directory into another one and makes both names durable. The target must not exist.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), PoolError> {
    fs::rename(from, to).map_err(file(to))?;
    for path in [to, from] {
        if let Some(parent) = path.parent() {
            sync(parent)?;
        }
    }
    Ok(())
}

/// Makes a directory that others may pass through and not list; it may be there already.
pub(crate) fn make_directory(path: &Path) -> Result<(), PoolError> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(file(path)(error)),
        Ok(()) | Err(_) => {}
    }
    open_way(path)
}

/// Opens a file that a guest may be writing, to clone or grow it. A pool may be on a filer: past the cache (`O_DIRECT`), so that
/// its client asks for no delegation (RFC 8881, 10.2), which the filer would call back while it let the guest's writes wait.
pub(crate) fn open_in_use(path: &Path, options: &mut OpenOptions) -> Result<File, PoolError> {
    let direct = i32::try_from(OFlags::DIRECT.bits()).unwrap_or_default();
    options.custom_flags(direct).open(path).map_err(file(path))
}

/// QEMU's user passes through to a file that it was given.
pub(crate) fn open_way(path: &Path) -> Result<(), PoolError> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o711)).map_err(file(path))
}
