//! Good images arrive whole and sealed; nothing is left of bad ones.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "each test file uses its part of the support")]
mod support;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Command;

use support::Bench;
use tepui_marketplace::{Content, ImportError, Limits};
use tepui_types::Digest;

#[tokio::test]
async fn raw_and_qcow2_of_the_same_disk_become_one_sealed_file() {
    let bench = Bench::new();
    let raw = bench.raw("disk.raw");
    let expected = Digest::of(&fs::read(&raw).unwrap());
    let qcow2 = bench.qcow2("disk.qcow2");
    bench.qemu_img(&["convert", "-c", "-f", "raw", "-O", "qcow2", "disk.raw", "small.qcow2"]);
    bench.qemu_img(&["convert", "-f", "raw", "-O", "qcow2", "-o", "compat=0.10", "disk.raw", "v2.qcow2"]);
    for source in [&raw, &qcow2, &bench.path("small.qcow2"), &bench.path("v2.qcow2")] {
        let stored = bench.store.import(source, &Limits::default(), Some(expected)).await.unwrap();
        assert_eq!((stored.digest, stored.size_bytes), (expected, 1 << 20), "{}", source.display());
    }
    assert_eq!(bench.stored(), [expected.to_string()]);
    let sealed = fs::metadata(bench.store.path(&expected)).unwrap();
    assert_eq!((sealed.uid(), sealed.gid(), sealed.mode() & 0o777), (0, 0, 0o444));
    assert!(sealed.blocks() * 512 < 100_000, "zeros are holes: {} blocks", sealed.blocks());
    assert_eq!(fs::read(bench.store.path(&expected)).unwrap(), fs::read(&raw).unwrap());
    bench.store.remove(&expected).unwrap();
    bench.store.remove(&expected).unwrap();
    assert!(bench.store.digests().unwrap().is_empty());
}

#[tokio::test]
async fn a_sparse_disk_costs_no_space() {
    let bench = Bench::new();
    bench.qcow2("disk.qcow2");
    bench.qemu_img(&["resize", "-f", "qcow2", "disk.qcow2", "2G"]);
    let limits = Limits::default();
    let stored = bench.store.import(&bench.path("disk.qcow2"), &limits, None).await.unwrap();
    assert_eq!(stored.size_bytes, 2 << 30);
    assert!(fs::metadata(bench.store.path(&stored.digest)).unwrap().blocks() * 512 < 1 << 20);
}

#[tokio::test]
async fn content_other_than_announced_is_refused_and_removed() {
    let bench = Bench::new();
    let announced = Digest::of(b"something else");
    let error =
        bench.store.import(&bench.raw("disk.raw"), &Limits::default(), Some(announced)).await.unwrap_err();
    assert!(matches!(error, ImportError::WrongDigest { expected, .. } if expected == announced));
    assert!(bench.stored().is_empty());
}

#[tokio::test]
async fn what_unpacks_to_more_than_the_limit_is_refused_and_removed() {
    let bench = Bench::new();
    let mut bytes = vec![b'x'; 8 << 20];
    bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
    fs::write(bench.path("bomb.raw"), bytes).unwrap();
    bench.qemu_img(&["convert", "-c", "-f", "raw", "-O", "qcow2", "bomb.raw", "bomb.qcow2"]);
    assert!(fs::metadata(bench.path("bomb.qcow2")).unwrap().len() < 1 << 20);
    let limits = Limits { max_stored_bytes: 1 << 20, ..Limits::default() };
    for name in ["bomb.raw", "bomb.qcow2"] {
        let error = bench.store.import(&bench.path(name), &limits, None).await.unwrap_err();
        assert!(error.to_string().contains("more than 1048576 bytes of data"), "{name}: {error}");
        assert!(bench.stored().is_empty(), "{name}");
    }
}

/// A file system of 512 KiB; taken away when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(folder: PathBuf) -> Self {
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=512k", "tmpfs"]).arg(&folder).status();
        assert!(mounted.unwrap().success(), "a small file system needs root");
        Self(folder)
    }

    fn used_bytes(&self) -> u64 {
        let of = nix::sys::statvfs::statvfs(&self.0).unwrap();
        (of.blocks() - of.blocks_free()) * of.fragment_size()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// `large.raw` and `large.qcow2`, which have no room on a small disk.
fn large(bench: &Bench) {
    let mut bytes = vec![b'x'; 1 << 20];
    bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
    fs::write(bench.path("large.raw"), bytes).unwrap();
    bench.qemu_img(&["convert", "-f", "raw", "-O", "qcow2", "large.raw", "large.qcow2"]);
}

#[tokio::test]
async fn a_full_disk_is_named_and_nothing_is_left_on_it() {
    let bench = Bench::new();
    let _disk = SmallDisk::mount(bench.path("images"));
    large(&bench);
    let told = format!("the disk of the image store {} is full", bench.path("images").display());
    for name in ["large.raw", "large.qcow2"] {
        let error = bench.store.import(&bench.path(name), &Limits::default(), None).await.unwrap_err();
        assert_eq!(error.to_string(), told, "{name}");
        assert!(bench.stored().is_empty(), "{name}");
    }
}

#[tokio::test]
async fn a_small_image_finds_the_room_that_a_large_one_left() {
    let bench = Bench::new();
    let disk = SmallDisk::mount(bench.path("images"));
    large(&bench);
    let small = bench.raw("small.raw");
    for large in ["large.raw", "large.qcow2"].iter().cycle().take(20) {
        let error = bench.store.import(&bench.path(large), &Limits::default(), None).await.unwrap_err();
        assert!(matches!(error, ImportError::DiskFull(_)), "{large}: {error}");
        assert_eq!(disk.used_bytes(), 0, "{large}");
        let stored = bench.store.import(&small, &Limits::default(), None).await.unwrap();
        bench.store.remove(&stored.digest).unwrap();
    }
}

#[tokio::test]
async fn what_a_crash_left_is_removed_and_images_stay() {
    let bench = Bench::new();
    let stored = bench.store.import(&bench.raw("disk.raw"), &Limits::default(), None).await.unwrap();
    fs::write(bench.path("images/.import-torn"), b"half").unwrap();
    let converter = tepui_marketplace::Converter::new("/nonexistent".into());
    let reopened = tepui_marketplace::ImageStore::open(bench.path("images"), converter).unwrap();
    assert_eq!(reopened.digests().unwrap(), [stored.digest]);
    assert_eq!(bench.stored(), [stored.digest.to_string()]);
}

#[tokio::test]
async fn links_and_pipes_are_not_followed() {
    let bench = Bench::new();
    bench.raw("disk.raw");
    std::os::unix::fs::symlink(bench.path("disk.raw"), bench.path("link.raw")).unwrap();
    nix::unistd::mkfifo(&bench.path("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    for name in ["link.raw", "pipe"] {
        bench.store.import(&bench.path(name), &Limits::default(), None).await.unwrap_err();
    }
    assert!(bench.stored().is_empty());
}

#[tokio::test]
async fn what_need_not_boot_is_taken_by_its_header_or_as_it_is() {
    let bench = Bench::new();
    let blank = bench.path("blank.raw");
    fs::write(&blank, vec![0; 1 << 20]).unwrap();
    let qcow2 = bench.qcow2("disk.qcow2");
    let take = async |content, source: &PathBuf| {
        bench.store.import_as(content, source, &Limits::default(), None).await.map(|stored| stored.digest)
    };
    let bytes = |source: &PathBuf| Digest::of(&fs::read(source).unwrap());
    assert!(take(Content::Bootable, &blank).await.is_err());
    for content in [Content::Data, Content::Raw] {
        assert_eq!(take(content, &blank).await.unwrap(), bytes(&blank));
    }
    let unpacked = bytes(&bench.path("source.raw"));
    assert_eq!(take(Content::Data, &qcow2).await.unwrap(), unpacked);
    assert_eq!(take(Content::Raw, &qcow2).await.unwrap(), bytes(&qcow2), "nothing is read out of it");
}
