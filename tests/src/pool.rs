//! File systems that volumes can live on.

use crate::{Cloud, Host};

/// An XFS of its own, mounted where only this host sees it; goes with the host. A folder in it, for a pool.
#[track_caller]
pub fn file_system(cloud: &Cloud, host: &Host) -> String {
    let image = cloud.scratch().join("pool.xfs");
    let path = host.run_dir().join("pool");
    let (image, path) = (image.display().to_string(), path.display().to_string());
    host.run("truncate", &["--size", "2G", &image]).ok();
    host.run("mkfs.xfs", &["-q", "-m", "reflink=1", &image]).ok();
    host.run("mkdir", &["-p", &path]).ok();
    host.run("mount", &["-o", "loop", &image, &path]).ok();
    let folder = format!("{path}/volumes");
    host.run("mkdir", &["-p", &folder]).ok();
    folder
}
