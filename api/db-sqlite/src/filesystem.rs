//! Refuses file systems on which SQLite's locks, its shared memory or fsync cannot be trusted.

use std::path::Path;

use nix::sys::statfs::statfs;

use crate::error::OpenError;

/// Magic numbers of `statfs(2)` and of the kernels' `linux/magic.h`. FUSE is among them because it
/// cannot be told apart from sshfs or GlusterFS.
const REFUSED: [(i64, &str); 14] = [
    (0x6969, "NFS"),
    (0x517b, "SMB"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB"),
    (0x00c3_6400, "Ceph"),
    (0x5346_414f, "AFS"),
    (0x7375_7245, "Coda"),
    (0x564c, "NCP"),
    (0x0102_1997, "9P"),
    (0x6573_5546, "FUSE"),
    (0x0bd0_0bd0, "Lustre"),
    (0x4750_4653, "GPFS"),
    (0x0116_1970, "GFS2"),
    (0x7461_636f, "OCFS2"),
];

/// Refuses a directory that is not on a local disk.
pub(crate) fn require_local(directory: &Path) -> Result<(), OpenError> {
    let unusable = |errno: nix::Error| OpenError::Path { path: directory.into(), source: errno.into() };
    let magic = statfs(directory).map_err(unusable)?.filesystem_type().0;
    match refused(magic) {
        None => Ok(()),
        Some(file_system) => Err(OpenError::NetworkFileSystem { path: directory.into(), file_system }),
    }
}

fn refused(magic: i64) -> Option<&'static str> {
    REFUSED.iter().find(|(number, _)| *number == magic).map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use nix::sys::statfs;

    use super::*;

    #[test]
    fn network_file_systems_are_refused_and_local_ones_are_not() {
        for network in [statfs::NFS_SUPER_MAGIC, statfs::SMB_SUPER_MAGIC, statfs::FUSE_SUPER_MAGIC] {
            assert!(refused(network.0).is_some(), "{network:?}");
        }
        for local in [statfs::EXT4_SUPER_MAGIC, statfs::XFS_SUPER_MAGIC, statfs::TMPFS_MAGIC] {
            assert_eq!(refused(local.0), None, "{local:?}");
        }
    }

    #[test]
    fn a_missing_directory_is_named_in_the_error() {
        let error = require_local(Path::new("/no/such/directory")).unwrap_err();
        assert_eq!(error.to_string(), "/no/such/directory: not a usable path for a database");
    }
}
