//! A file system of its own for a test. Making one needs root.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    dead_code,
    reason = "a helper of a test fails the test; not every test binary uses all"
)]

pub(crate) mod client;
pub(crate) mod filer;
pub(crate) mod lab;
pub(crate) mod login;
pub(crate) mod nfs;
pub(crate) mod proxy;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use tepui_storage::{Pool, Watermarks};
use tepui_types::{PoolId, SnapshotId, VolumeId};

/// How a file system is made.
pub(crate) const XFS: &[&str] = &["mkfs.xfs", "-q", "-m", "reflink=1"];
pub(crate) const BTRFS: &[&str] = &["mkfs.btrfs", "-q"];
/// What mkfs.xfs makes at least.
pub(crate) const BYTES: u64 = 320 << 20;

/// Runs a test on a file system in a loop file. It is mounted in a namespace that ends with the test's process, also
/// when that is killed, and the loop device is set to end with the mount.
pub(crate) fn on(make: &'static [&'static str], bytes: u64, test: impl FnOnce(&Path) + Send + 'static) {
    let run = move || {
        unshare(CloneFlags::CLONE_NEWNS).expect("these tests need root");
        let nothing: Option<&str> = None;
        mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (image, point) = (folder.path().join("image"), folder.path().join("fs"));
        File::create(&image).unwrap().set_len(bytes).unwrap();
        std::fs::create_dir(&point).unwrap();
        call(Command::new(make[0]).args(&make[1..]).arg(&image));
        call(Command::new("mount").args(["-o", "loop"]).args([&image, &point]));
        let mounted = Mounted(point);
        test(&mounted.0);
    };
    if let Err(panic) = std::thread::spawn(run).join() {
        std::panic::resume_unwind(panic);
    }
}

struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        // What a test ended may close its last file a moment later.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// What is left of a file of a file system that [`on`] made when its host loses power.
pub(crate) fn after_power_cut(point: &Path, file: &Path) -> File {
    let name = file.strip_prefix(point).unwrap();
    what_a_power_cut_leaves(point, |left| File::open(left.join(name)).unwrap())
}

/// Looks at what is left of a file system that [`on`] made when its host loses power: nothing that is not on its disk.
/// Nobody can use the file system any more.
pub(crate) fn what_a_power_cut_leaves<T>(point: &Path, look: impl FnOnce(&Path) -> T) -> T {
    call(Command::new("xfs_io").args(["-x", "-c", "shutdown"]).arg(point));
    let [image, copy, after] = ["image", "copy", "after"].map(|name| point.with_file_name(name));
    call(Command::new("cp").args([&image, &copy]));
    std::fs::create_dir(&after).unwrap();
    call(Command::new("mount").args(["-o", "loop,nouuid"]).args([&copy, &after]));
    let _mounted = Mounted(after.clone());
    look(&after)
}

pub(crate) fn call(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {told}");
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) const MARKS: Watermarks = Watermarks { soft_percent: 80, hard_percent: 95 };
pub(crate) const MIB: u64 = 1 << 20;

pub(crate) fn pool_id() -> PoolId {
    PoolId::from_random(1)
}

pub(crate) fn volume(number: u128) -> VolumeId {
    VolumeId::from_random(number)
}

pub(crate) fn snapshot(number: u128) -> SnapshotId {
    SnapshotId::from_random(number)
}

pub(crate) fn pool(path: &Path) -> Pool {
    Pool::create(path, pool_id(), MARKS).unwrap()
}
