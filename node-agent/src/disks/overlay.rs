//! A qcow2 overlay on a raw image. The formats are always stated: qemu-img that is left to guess takes
//! a raw disk whose guest wrote a qcow2 header for qcow2, and follows its links into the host.

use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use super::DiskError;
use crate::durable;

const QCOW2_MAGIC: &[u8; 4] = b"QFI\xfb";

/// Makes `path` as an overlay of `size_bytes` on `base`. An overlay that is there already is left as it
/// is: it holds a guest's data.
pub async fn create_overlay(path: &Path, base: &Path, size_bytes: u64) -> Result<(), DiskError> {
    let file_error = |source| DiskError::File { path: path.to_owned(), source };
    if path.try_exists().map_err(file_error)? {
        return Ok(());
    }
    let half_written = path.with_added_extension("tmp");
    run_qemu_img(&half_written, base, size_bytes).await?;
    File::open(&half_written).and_then(|file| file.sync_all()).map_err(file_error)?;
    std::fs::rename(&half_written, path).map_err(file_error)?;
    durable::sync_parent(path).map_err(file_error)
}

async fn run_qemu_img(path: &Path, base: &Path, size_bytes: u64) -> Result<(), DiskError> {
    let failed = |message| DiskError::Overlay { path: path.to_owned(), message };
    let output = Command::new("qemu-img")
        .args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"])
        .arg(base)
        .arg(path)
        .arg(size_bytes.to_string())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

/// The backing file that an overlay's header names. The header is written by qemu-img and QEMU, never
/// by the guest. (QEMU's `docs/interop/qcow2.rst`: bytes 8-15 are the name's offset, 16-19 its length.)
pub fn backing_file(overlay: &Path) -> io::Result<PathBuf> {
    let file = File::open(overlay)?;
    let mut header = [0; 20];
    file.read_exact_at(&mut header, 0)?;
    let [magic @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = header;
    if &magic != QCOW2_MAGIC {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not a qcow2 file"));
    }
    let offset = header[8..16].iter().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
    let length = header[16..20].iter().fold(0_usize, |value, byte| value << 8 | usize::from(*byte));
    if length > 1023 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "a backing file's name is at most 1023 bytes",
        ));
    }
    let mut name = vec![0; length];
    file.read_exact_at(&mut name, offset)?;
    Ok(PathBuf::from(std::ffi::OsString::from_vec(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_overlay_names_its_base_and_a_second_call_leaves_it_alone() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().join("base");
        std::fs::write(&base, vec![0; 1 << 20]).unwrap();
        let overlay = dir.path().join("p.qcow2");
        create_overlay(&overlay, &base, 8 << 20).await.unwrap();
        assert_eq!(backing_file(&overlay).unwrap(), base);
        let before = std::fs::metadata(&overlay).unwrap().modified().unwrap();
        create_overlay(&overlay, &base, 16 << 20).await.unwrap();
        assert_eq!(std::fs::metadata(&overlay).unwrap().modified().unwrap(), before);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[tokio::test]
    async fn a_half_made_overlay_of_an_earlier_try_is_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().join("base");
        std::fs::write(&base, vec![0; 1 << 20]).unwrap();
        std::fs::write(dir.path().join("p.qcow2.tmp"), b"torn").unwrap();
        let overlay = dir.path().join("p.qcow2");
        create_overlay(&overlay, &base, 8 << 20).await.unwrap();
        assert_eq!(backing_file(&overlay).unwrap(), base);
    }

    #[tokio::test]
    async fn a_missing_base_is_told_with_the_words_of_qemu_img() {
        let dir = tempfile::tempdir().unwrap();
        let overlay = dir.path().join("p.qcow2");
        let error = create_overlay(&overlay, &dir.path().join("none"), 1 << 20).await.unwrap_err();
        assert!(error.to_string().contains("No such file"), "{error}");
        assert!(!overlay.exists());
    }

    #[test]
    fn a_file_that_is_no_overlay_has_no_backing_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("raw");
        std::fs::write(&path, [0; 64]).unwrap();
        assert_eq!(backing_file(&path).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
