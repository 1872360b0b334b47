//! Makes images with the real qemu-img, and damages them.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use tepui_marketplace::{Converter, ImageStore};

/// A folder with a store in it.
pub(crate) struct Bench {
    pub(crate) folder: TempDir,
    pub(crate) store: ImageStore,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let converter = Converter::new(env!("CARGO_BIN_EXE_tepui-image-convert").into());
        let store = ImageStore::open(folder.path().join("images"), converter).unwrap();
        Self { folder, store }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Names of everything in the store's folder.
    pub(crate) fn stored(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("images")).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    /// A raw disk of 1 MiB with a boot signature and some data.
    pub(crate) fn raw(&self, name: &str) -> PathBuf {
        let mut bytes = vec![0; 1 << 20];
        bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
        bytes[700_000..700_011].copy_from_slice(b"hello guest");
        fs::write(self.path(name), bytes).unwrap();
        self.path(name)
    }

    pub(crate) fn qemu_img(&self, arguments: &[&str]) {
        let output =
            Command::new("qemu-img").args(arguments).current_dir(self.folder.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// A qcow2 image of [`Bench::raw`]'s content.
    pub(crate) fn qcow2(&self, name: &str) -> PathBuf {
        self.raw("source.raw");
        self.qemu_img(&["convert", "-f", "raw", "-O", "qcow2", "source.raw", name]);
        self.path(name)
    }
}

/// Overwrites bytes of a file.
pub(crate) fn patch(path: &Path, offset: u64, bytes: &[u8]) {
    OpenOptions::new().write(true).open(path).unwrap().write_all_at(bytes, offset).unwrap();
}
