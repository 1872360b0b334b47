//! The disk of a host is full. Each test has a file system of its own; making one needs root.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a helper of a test fails the test; clippy sees only test functions as tests"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use tepui_agent::disks::{DiskError, create_overlay};
use tepui_agent::hypervisor::{Hypervisor as _, LibvirtHypervisor};
use tepui_agent::images::{CacheLimits, ImageCache, ImageError, ImageSource};
use tepui_agent::link::LinkError;
use tepui_libvirt::LibvirtHost;
use tepui_types::Digest;

/// Runs a test on a file system of 1 MiB that ends with it.
fn on_a_small_disk(test: impl FnOnce(&Path) + Send + 'static) {
    std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNS).expect("these tests need root");
        let nothing: Option<&str> = None;
        mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing).unwrap();
        let folder = tempfile::tempdir().unwrap();
        mount(Some("disk"), folder.path(), Some("tmpfs"), MsFlags::empty(), Some("size=1m")).unwrap();
        test(folder.path());
        nix::mount::umount(folder.path()).unwrap();
    })
    .join()
    .unwrap();
}

/// Leaves no room at all.
fn fill(folder: &Path) -> PathBuf {
    let path = folder.join("other");
    let full = fs::write(&path, vec![1; 2 << 20]).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    path
}

fn is_full(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::StorageFull
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    entries.map(|name| name.into_string().unwrap()).collect()
}

#[test]
fn an_overlay_that_finds_no_room_leaves_nothing_and_is_made_once_there_is_some() {
    on_a_small_disk(|folder| {
        let base = folder.join("base");
        fs::write(&base, vec![0; 64 << 10]).unwrap();
        let (overlay, other) = (folder.join("p.qcow2"), fill(folder));
        let error = create_overlay(&overlay, &base, 1 << 30).unwrap_err();
        assert!(
            matches!(&error, DiskError::File { path, source } if path == &overlay && is_full(source)),
            "{error}"
        );
        assert!(!names(folder).iter().any(|name| name.starts_with("p.qcow2")), "{:?}", names(folder));
        fs::remove_file(other).unwrap();
        create_overlay(&overlay, &base, 1 << 30).unwrap();
        assert!(overlay.exists());
    });
}

/// Sends the same bytes again and again.
struct Source(Vec<u8>);

#[async_trait]
impl ImageSource for Source {
    async fn open(
        &self,
        _: Digest,
        from: u64,
    ) -> Result<BoxStream<'static, Result<Bytes, LinkError>>, LinkError> {
        let rest = self.0.get(usize::try_from(from).unwrap()..).unwrap_or_default();
        let pieces: Vec<_> = rest.chunks(100_000).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        Ok(stream::iter(pieces).boxed())
    }
}

#[test]
fn an_image_that_finds_no_room_gives_its_part_back_and_comes_once_there_is_some() {
    on_a_small_disk(|folder| {
        let content = vec![7; 700_000];
        let (digest, bytes) = (Digest::of(&content), content.len() as u64);
        let limits = CacheLimits { max_bytes: 0, grace: Duration::ZERO };
        let cache = ImageCache::open(&folder.join("images"), limits, Arc::new(Source(content))).unwrap();
        let other = folder.join("other");
        fs::write(&other, vec![1; 600 << 10]).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let error = runtime.block_on(cache.ensure(digest, bytes)).unwrap_err();
        assert!(matches!(error.as_ref(), ImageError::File { source, .. } if is_full(source)), "{error}");
        assert!(!error.is_permanent(), "it is tried again");
        assert_eq!(names(&folder.join("images")), [""; 0], "what came does not keep the disk full");
        fs::remove_file(other).unwrap();
        runtime.block_on(cache.ensure(digest, bytes)).unwrap();
        assert_eq!(fs::metadata(cache.path(digest)).unwrap().len(), bytes);
    });
}

#[test]
fn a_nearly_full_state_directory_of_libvirt_is_told_before_anybody_restarts_libvirtd() {
    on_a_small_disk(|folder| {
        let libvirt = LibvirtHost::new("test:///default", 1, Duration::from_secs(1)).unwrap();
        let hypervisor = LibvirtHypervisor::new(libvirt, folder.to_owned());
        assert_eq!(hypervisor.shortage(), None);
        let other = fill(folder);
        let told = hypervisor.shortage().unwrap_or_default();
        assert!(told.contains(&*folder.to_string_lossy()) && told.contains("libvirtd"), "{told}");
        fs::remove_file(other).unwrap();
        assert_eq!(hypervisor.shortage(), None);
    });
}
