//! Pools on hosts and volumes in them: what is done through EC2, and what is in the files and domains behind it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::cloud::text;
use crate::{Cloud, Ec2Session, Host, until};

/// How long a step to the next state may take, in seconds.
const PATIENCE: u64 = 120;
/// What mkfs.xfs makes besides, and a volume.
const BYTES: &str = "2G";

/// What serves volumes to other hosts; the class of each pool of [`Cloud::make_pools`].
pub const BACKENDS: [&str; 2] = ["iscsi", "nfs"];

/// A pool on a host, on an XFS in a loop file that is mounted where only this host sees it.
#[derive(Debug)]
pub struct Pool {
    host: Host,
    image: PathBuf,
    /// Its folder's name there.
    name: &'static str,
}

impl Cloud {
    /// Makes a pool named `fast` on a host and waits until it can be used.
    ///
    /// # Panics
    /// When it cannot within two minutes.
    #[track_caller]
    pub fn make_pool(&self, host: &Host) -> Pool {
        let image = file_system(self, host);
        self.pool("fast", "gp3", "iscsi", host, image)
    }

    /// Makes a pool of each of [`BACKENDS`] on a host, both on one file system, and waits until they can be used.
    ///
    /// # Panics
    /// When they cannot within two minutes.
    #[track_caller]
    pub fn make_pools(&self, host: &Host) -> [Pool; 2] {
        self.make_pools_of(BACKENDS.map(|backend| (backend, backend)), host)
    }

    /// Makes pools on a host, each of a class of its name and of a backend, all on one file system, and waits until they
    /// can be used.
    ///
    /// # Panics
    /// When they cannot within two minutes.
    #[track_caller]
    pub fn make_pools_of<const N: usize>(&self, pools: [(&'static str, &str); N], host: &Host) -> [Pool; N] {
        let image = file_system(self, host);
        pools.map(|(name, backend)| self.pool(name, name, backend, host, image.clone()))
    }

    /// Makes a pool of a class of its name on a host, whose volumes only that host's guests have.
    ///
    /// # Panics
    /// When it cannot be used within two minutes.
    #[track_caller]
    pub fn make_local_pool(&self, name: &'static str, host: &Host) -> Pool {
        let image = file_system(self, host);
        self.pool(name, name, "local", host, image)
    }

    /// Makes a pool of a class and backend on a host that has none yet, and waits until it can be used.
    ///
    /// # Panics
    /// When it cannot within two minutes.
    #[track_caller]
    pub fn make_pool_of(&self, name: &'static str, class: &str, backend: &str, host: &Host) -> Pool {
        let image = file_system(self, host);
        self.pool(name, class, backend, host, image)
    }

    /// Makes a pool named `filer` of a folder that the filer at an address serves under the name that the host has for it.
    #[track_caller]
    pub(crate) fn filer_pool(&self, host: &Host, image: PathBuf, address: &str) -> Pool {
        let pool = Pool { host: host.clone(), image, name: "filer" };
        let folder = format!("{address}:{}", pool.folder());
        self.create(pool, &["--class", "filer", "--backend", "nfs", "--filer", &folder])
    }

    #[track_caller]
    fn pool(&self, name: &'static str, class: &str, backend: &str, host: &Host, image: PathBuf) -> Pool {
        let pool = Pool { host: host.clone(), image, name };
        self.create(pool, &["--class", class, "--backend", backend])
    }

    #[track_caller]
    fn create(&self, pool: Pool, how: &[&str]) -> Pool {
        let (name, path) = (pool.name, pool.folder());
        pool.host.run("mkdir", &["-p", &path]).ok();
        let place = ["--node", &pool.host.name(), "--path", &path];
        self.tepui(&[&["pool", "create", name], how, &place].concat()).ok();
        until("the pool is there", PATIENCE, || self.has_pool(name).then_some(()));
        pool
    }

    /// Whether the host of a pool has said how full it is.
    pub fn has_pool(&self, name: &str) -> bool {
        let pools = self.tepui_json(&["pool", "list"]);
        pools.as_array().into_iter().flatten().any(|pool| pool["name"] == name && pool["usage"].is_object())
    }
}

/// An XFS of its own, mounted where only this host sees it; goes with the host. The file that holds it.
#[track_caller]
pub(crate) fn file_system(cloud: &Cloud, host: &Host) -> PathBuf {
    let image = cloud.scratch().join(format!("{}.xfs", host.name()));
    let file = image.display().to_string();
    host.run("truncate", &["--size", BYTES, &file]).ok();
    host.run("mkfs.xfs", &["-q", "-m", "reflink=1", &file]).ok();
    mount(host, &image);
    image
}

#[track_caller]
fn mount(host: &Host, image: &Path) {
    let path = host.run_dir().join("pool").display().to_string();
    host.run("mkdir", &["-p", &path]).ok();
    host.run("mount", &["-o", "loop", &image.display().to_string(), &path]).ok();
}

impl Pool {
    /// Mounts its file system, as a host that boots again does.
    #[track_caller]
    pub fn mount(&self) {
        mount(&self.host, &self.image);
    }

    fn folder(&self) -> String {
        self.host.run_dir().join("pool").join(self.name).display().to_string()
    }

    /// The raw file of a volume.
    pub fn file(&self, volume: &str) -> String {
        format!("{}/volumes/{volume}/disk.raw", self.folder())
    }

    /// The SHA-256 of all bytes of a volume, as the pool's host has them now.
    #[track_caller]
    pub fn digest(&self, volume: &str) -> String {
        let told = self.host.run("openssl", &["dgst", "-sha256", "-r", &self.file(volume)]).ok();
        told.split(' ').next().unwrap_or_default().to_owned()
    }

    /// The files in the root folder of the ext4 that a guest has made on a volume, by their names. Nobody uses the volume
    /// now. A copy of it is mounted, by which the kernel takes over what its journal has, and is clean then.
    ///
    /// # Panics
    /// With what `e2fsck` finds.
    #[track_caller]
    pub fn ext4_files(&self, volume: &str) -> BTreeMap<String, String> {
        let disk = self.image.with_file_name(volume);
        let place = |end: &str| disk.with_extension(end).display().to_string();
        let (copy, mounted, files) = (place("raw"), place("mounted"), place("files"));
        self.host.run("cp", &["--sparse=always", &self.file(volume), &copy]).ok();
        self.host.run("mkdir", &[&mounted]).ok();
        self.host.run("mount", &["-t", "ext4", "-o", "loop", &copy, &mounted]).ok();
        self.host.run("cp", &["--recursive", &mounted, &files]).ok();
        self.host.run("umount", &[&mounted]).ok();
        let found = self.host.run("e2fsck", &["-f", "-n", &copy]).ok();
        // It ends with 0 where counts alone are wrong.
        assert!(!found.contains("? no"), "{found}");
        let entries = fs::read_dir(&files).into_iter().flatten().flatten();
        let read = entries.filter_map(|entry| {
            let bytes = fs::read(entry.path()).ok()?;
            Some((entry.file_name().into_string().ok()?, String::from_utf8_lossy(&bytes).into_owned()))
        });
        read.collect()
    }

    /// What the lines of text say with which these blocks of 4 KiB are filled, each block by one.
    #[track_caller]
    pub fn blocks(&self, volume: &str, first: u64, count: u64) -> Vec<String> {
        let (skip, count) = (format!("skip={first}"), format!("count={count}"));
        let from = format!("if={}", self.file(volume));
        let words = self.host.run("dd", &[&from, "bs=4096", &skip, &count, "status=none"]).stdout;
        let blocks = words.as_bytes().chunks(4096).map(|block| String::from_utf8_lossy(block).into_owned());
        blocks.map(one_line).collect()
    }
}

/// The line that a block is full of; all of it where it holds different ones.
fn one_line(block: String) -> String {
    let line = block.lines().next().unwrap_or_default().to_owned();
    let is_full = !line.is_empty() && format!("{line}\n").repeat(4096).starts_with(&block);
    if is_full { line } else { block }
}

impl Host {
    /// What the serial consoles of its guests said, read on the host: also while nobody else reaches it.
    pub fn consoles(&self) -> String {
        let entries = fs::read_dir(self.agent_folder().join("consoles")).into_iter().flatten().flatten();
        entries
            .map(|file| String::from_utf8_lossy(&fs::read(file.path()).unwrap_or_default()).into_owned())
            .collect()
    }

    /// The sources of the disks that its running guests have, as libvirt tells them.
    ///
    /// # Panics
    /// When libvirt does not answer.
    #[track_caller]
    pub fn live_disks(&self) -> Vec<String> {
        let names = self.virsh(&["list", "--name"]);
        let listed = names.split_whitespace().map(|name| self.virsh(&["domblklist", name]));
        let lines = listed.flat_map(|table| table.lines().skip(2).map(str::to_owned).collect::<Vec<_>>());
        lines.filter_map(|line| line.split_whitespace().nth(1).map(str::to_owned)).collect()
    }

    /// What QEMU holds its running guests to on the disk at this device, of each that has one: operations and bytes a
    /// second, by QEMU's own word.
    ///
    /// # Panics
    /// When libvirt does not answer.
    #[track_caller]
    pub fn throttles(&self, device: &str) -> Vec<(u64, u64)> {
        let names = self.virsh(&["list", "--name"]);
        let has = |name: &&str| self.virsh(&["domblklist", name]).contains(device);
        let of = |name| {
            let told = self.virsh(&["blkdeviotune", name, device]);
            let figure = |label: &str| {
                let line =
                    told.lines().find(|line| line.split(':').next().unwrap_or_default().trim() == label);
                line.and_then(|line| line.split(':').nth(1)?.trim().parse().ok()).unwrap_or_default()
            };
            (figure("total_iops_sec"), figure("total_bytes_sec"))
        };
        names.split_whitespace().filter(has).map(of).collect()
    }

    #[track_caller]
    fn virsh(&self, arguments: &[&str]) -> String {
        self.run("virsh", &[&["-c", "qemu:///system"], arguments].concat()).ok()
    }
}

impl Ec2Session {
    /// A volume of one GiB, once it is available.
    ///
    /// # Panics
    /// When it is not within two minutes.
    #[track_caller]
    pub fn make_volume(&mut self) -> String {
        self.make_volume_of("gp3")
    }

    /// The same in a pool of a class.
    ///
    /// # Panics
    /// When it is not available within two minutes.
    #[track_caller]
    pub fn make_volume_of(&mut self, class: &str) -> String {
        let zones = self.call("describe_availability_zones", &json!({})).answer();
        let zone = &zones["AvailabilityZones"][0]["ZoneName"];
        let wanted = json!({ "AvailabilityZone": zone, "Size": 1, "VolumeType": class });
        let volume = text(&self.call("create_volume", &wanted).answer()["VolumeId"]);
        self.wait_volume(&volume, "available");
        volume
    }

    /// The volume as DescribeVolumes shows it.
    #[track_caller]
    pub fn volume(&mut self, id: &str) -> Value {
        self.call("describe_volumes", &json!({ "VolumeIds": [id] })).answer()["Volumes"][0].clone()
    }

    /// Waits until it, or its attachment, is in a state.
    ///
    /// # Panics
    /// When it is not within two minutes.
    #[track_caller]
    pub fn wait_volume(&mut self, id: &str, state: &str) {
        until(&format!("{id} is {state}"), PATIENCE, || {
            let found = self.volume(id);
            (found["State"] == state || found["Attachments"][0]["State"] == state).then_some(())
        });
    }

    /// Attaches a volume to an instance, and waits until that has it.
    ///
    /// # Panics
    /// When it has not within two minutes.
    #[track_caller]
    pub fn attach(&mut self, volume: &str, instance: &str, device: &str) {
        let parameters = json!({ "VolumeId": volume, "InstanceId": instance, "Device": device });
        self.call("attach_volume", &parameters).answer();
        self.wait_volume(volume, "attached");
    }
}
