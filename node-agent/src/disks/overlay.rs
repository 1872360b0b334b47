//! A qcow2 overlay on a raw image, there whole or not at all.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::{DiskError, qcow2};
use crate::durable;

/// Makes `path` as an overlay of `size_bytes` on `base`; it and its name are durable when this returns.
/// An overlay that is there already is left as it is: it holds a guest's data.
pub fn create_overlay(path: &Path, base: &Path, size_bytes: u64) -> Result<(), DiskError> {
    let file_error = |source| DiskError::File { path: path.to_owned(), source };
    if path.try_exists().map_err(file_error)? {
        return Ok(());
    }
    // QEMU would only say so when the domain starts.
    File::open(base).map_err(|source| DiskError::File { path: base.to_owned(), source })?;
    create(path, base, size_bytes).map_err(file_error)
}

fn create(path: &Path, base: &Path, size_bytes: u64) -> io::Result<()> {
    let half_written = path.with_added_extension("tmp");
    if let Err(error) = write(&half_written, base, size_bytes) {
        // On a full disk it would be in the way of what makes room.
        durable::remove(&half_written)?;
        return Err(error);
    }
    std::fs::rename(&half_written, path)?;
    durable::sync_parent(path)
}

fn write(path: &Path, base: &Path, size_bytes: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    qcow2::write_overlay(&file, base, size_bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disks::backing_file;

    #[test]
    fn an_overlay_names_its_base_and_a_second_call_leaves_it_alone() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().join("base");
        std::fs::write(&base, vec![0; 1 << 20]).unwrap();
        let overlay = dir.path().join("p.qcow2");
        create_overlay(&overlay, &base, 8 << 20).unwrap();
        assert_eq!(backing_file(&overlay).unwrap(), base);
        let before = std::fs::read(&overlay).unwrap();
        create_overlay(&overlay, &base, 16 << 20).unwrap();
        assert!(std::fs::read(&overlay).unwrap() == before);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_half_made_overlay_of_an_earlier_try_is_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().join("base");
        std::fs::write(&base, vec![0; 1 << 20]).unwrap();
        std::fs::write(dir.path().join("p.qcow2.tmp"), vec![7; 1 << 20]).unwrap();
        let (overlay, fresh) = (dir.path().join("p.qcow2"), dir.path().join("q.qcow2"));
        create_overlay(&overlay, &base, 8 << 20).unwrap();
        create_overlay(&fresh, &base, 8 << 20).unwrap();
        assert!(std::fs::read(&overlay).unwrap() == std::fs::read(&fresh).unwrap());
    }

    #[test]
    fn a_missing_base_is_named_and_no_overlay_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (overlay, base) = (dir.path().join("p.qcow2"), dir.path().join("none"));
        let error = create_overlay(&overlay, &base, 1 << 20).unwrap_err();
        assert!(error.to_string().contains("none"), "{error}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
