//! A host is cut off while its guest writes to a volume: it becomes another's once not one more byte can come from
//! there, and not before.

use std::time::Duration;

use serde_json::{Value, json};
use tepui_tests::{Cloud, Ec2Session, Fault, Host, Hypervisor, Pool, QEMU, until};

/// How long a step may take, in seconds. A connection that is cut off is given up after half a minute.
const PATIENCE: u64 = 120;

/// Tries a write to the next block each second, whatever became of those before.
const FIRST: &str = "#!/bin/sh
while [ ! -b /dev/vdb ]; do sleep 1; done
n=100
while :; do
  n=$((n+1))
  echo \"tries $n\"
  (yes \"first $n\" | head -c 4096 >/tmp/$n
   dd if=/tmp/$n of=/dev/vdb bs=4096 seek=$n oflag=direct conv=notrunc status=none && echo \"wrote $n\"
   rm /tmp/$n) &
  sleep 1
done
";
/// Writes the same blocks of each disk that it is given, once.
const SECOND: &str = "#!/bin/sh
for disk in vdb vdc vdd; do
  while [ ! -b /dev/$disk ]; do sleep 1; done
  for n in 101 102 103 104 300 301; do
    yes \"second $n\" | head -c 4096 >/tmp/$n
    dd if=/tmp/$n of=/dev/$disk bs=4096 seek=$n oflag=direct conv=notrunc status=none || echo \"failed at $n\"
  done
  echo \"all is on $disk\"
done
";

/// Writes to each disk that it is given, one after the other, and then has it without using it.
const IDLE: &str = "#!/bin/sh
for n in 1 2; do
  while [ ! -b /dev/vdb ]; do sleep 1; done
  echo idle >/dev/vdb && sync && echo \"uses no more of its disk $n\"
  while [ -b /dev/vdb ]; do sleep 1; done
  echo \"disk $n is gone\"
done
";

/// Two hosts: one has the pool and the second guest, the other one the guests that are cut off.
struct Scene {
    cloud: Cloud,
    ec2: Ec2Session,
    image: String,
    storage: Host,
    far: Host,
    /// The first is of the class `iscsi`.
    pools: Vec<Pool>,
    second: String,
}

#[test]
fn not_one_byte_from_a_host_that_is_cut_off_lands_once_its_volume_is_anothers() {
    let mut scene = Scene::start();
    scene.pools = scene.cloud.make_pools(&scene.storage).into();
    let idle = scene.launch(&json!({ "UserData": IDLE }));
    let idle_volume = scene.ec2.make_volume_of("iscsi");
    scene.ec2.attach(&idle_volume, &idle, "/dev/sdf");
    scene.ec2.wait_console(&idle, "uses no more of its disk 1", PATIENCE);
    // A guest that is well lets go of it before it is shut out.
    scene.tear_away(&idle_volume);
    scene.ec2.wait_console(&idle, "disk 1 is gone", PATIENCE);
    assert_eq!(scene.volumes_in_use(), 0);

    scene.ec2.attach(&idle_volume, &idle, "/dev/sdf");
    scene.ec2.wait_console(&idle, "uses no more of its disk 2", PATIENCE);
    scene.fence(Fault::Cut, "/dev/sdf", "vdb", Some(&idle_volume));
    scene.end(&[idle]);
    scene.fence(Fault::Orphaned, "/dev/sdg", "vdc", None);
    scene.fence_nfs("nfs", "/dev/sdh", "vdd");
    scene.cloud.assert_healthy();
    scene.cloud.down();
}

/// No server of ours is there, and the filer is told nothing: what the cut-off guest wrote comes to it, and is taken.
#[test]
fn late_writes_to_a_filer_do_not_land_in_the_volume() {
    let mut scene = Scene::start();
    let (pool, filer) = scene.cloud.make_filer_pool(&scene.storage);
    scene.pools = vec![pool];
    scene.fence_nfs("filer", "/dev/sdf", "vdb");
    scene.cloud.assert_healthy();
    scene.cloud.down();
    drop(filer);
}

impl Scene {
    fn start() -> Self {
        let cloud = Cloud::start(Hypervisor::Libvirt, 2);
        cloud.import("tiny", "root");
        let image = cloud.image_id("tiny");
        let mut ec2 = Ec2Session::start(&cloud, Duration::from_secs(60));
        // So large that the other host is the emptier one for all that come later.
        let launched = ec2.launch(&image, 1, json!({ "UserData": SECOND, "InstanceType": "t3.medium" }));
        ec2.wait_state(&launched, "running", PATIENCE);
        let (one, two) = (cloud.host(1), cloud.host(2));
        let (storage, far) = if one.processes(QEMU).is_empty() { (two, one) } else { (one, two) };
        Self { cloud, ec2, image, storage, far, pools: vec![], second: launched[0].clone() }
    }

    /// One more guest on the host that is cut off later.
    fn launch(&mut self, besides: &Value) -> String {
        let before = self.far.processes(QEMU).len();
        let ids = self.ec2.launch(&self.image, 1, besides.clone());
        self.ec2.wait_state(&ids, "running", PATIENCE);
        assert_eq!(self.far.processes(QEMU).len(), before + 1, "it is on the emptier host");
        ids[0].clone()
    }

    /// A guest writes to a volume and is cut off, the volume becomes that of the second guest, and the host comes back.
    fn fence(&mut self, fault: Fault, device: &str, disk: &str, idle: Option<&str>) {
        let first = self.launch(&json!({ "UserData": FIRST }));
        let volume = self.ec2.make_volume_of("iscsi");
        self.ec2.attach(&volume, &first, "/dev/sdf");
        self.wait_count("wrote", 110);
        let guests = self.far.processes(QEMU);

        let mut underlay = self.cloud.underlay();
        underlay.inject(&self.far, fault);
        self.ec2.call("detach_volume", &json!({ "VolumeId": volume })).answer();
        self.tries_more(5);
        let waits = self.ec2.volume(&volume);
        assert_eq!(
            (&waits["State"], &waits["Attachments"][0]["State"]),
            (&json!("in-use"), &json!("detaching")),
            "{fault:?}: nobody knows what its guest still does"
        );
        idle.into_iter().chain([volume.as_str()]).for_each(|volume| self.tear_away(volume));
        let (before, wrote) = (self.pools[0].digest(&volume), self.count("wrote"));
        self.tries_more(5);
        assert_eq!(self.pools[0].digest(&volume), before, "{fault:?}: a late write before anybody has it");

        let second = self.second.clone();
        self.ec2.attach(&volume, &second, device);
        let said = self.ec2.wait_console(&second, &format!("all is on {disk}"), PATIENCE);
        assert!(!said.contains("failed at"), "{said}");
        let now = self.pools[0].digest(&volume);
        assert_ne!(now, before);
        self.tries_more(5);
        assert_eq!(self.pools[0].digest(&volume), now, "{fault:?}: a late write while it is another's");

        // Its way to the storage host is free again.
        underlay.heal();
        until("the host is up", PATIENCE, || (state(&self.cloud, &self.far) == "up").then_some(()));
        self.tries_more(5);
        assert_eq!(self.pools[0].digest(&volume), now, "{fault:?}: a late write after the partition");
        assert_eq!(self.count("wrote"), wrote, "{fault:?}: no write is acknowledged that is not there");
        self.assert_content(0, &volume, wrote);
        assert_eq!(self.far.processes(QEMU), guests, "the guests run on");
        assert_eq!(
            self.volumes_in_use(),
            guests.len(),
            "and each QEMU answers, which still has its dead disk"
        );
        self.cloud.assert_finds_only("which the control plane does not name");
        self.rid(first);
    }

    /// The same over NFS, whose client waits with its guest: what it wrote into the partition is in its connection,
    /// and comes to the server once the host is back.
    fn fence_nfs(&mut self, class: &str, device: &str, disk: &str) {
        let first = self.launch(&json!({ "UserData": FIRST }));
        let volume = self.ec2.make_volume_of(class);
        let pool = self.pools.len() - 1;
        self.ec2.attach(&volume, &first, "/dev/sdf");
        self.wait_count("wrote", 110);
        let guests = self.far.processes(QEMU);

        let mut underlay = self.cloud.underlay();
        underlay.inject(&self.far, Fault::Cut);
        until("the guest writes into the partition", PATIENCE, || (self.unsent() > 4096).then_some(()));
        self.tear_away(&volume);
        let wrote = self.count("wrote");
        let second = self.second.clone();
        self.ec2.attach(&volume, &second, device);
        let said = self.ec2.wait_console(&second, &format!("all is on {disk}"), PATIENCE);
        assert!(!said.contains("failed at"), "{said}");
        let now = self.pools[pool].digest(&volume);
        assert!(self.unsent() > 4096, "the late writes are still to come");

        underlay.heal();
        until("the late writes are at the server", PATIENCE, || (self.unsent() == 0).then_some(()));
        until("the host is up", PATIENCE, || (state(&self.cloud, &self.far) == "up").then_some(()));
        assert_eq!(self.pools[pool].digest(&volume), now, "a late write after the partition");
        assert_eq!(self.count("wrote"), wrote, "no write is acknowledged that is not there");
        self.assert_content(pool, &volume, wrote);
        assert_eq!(self.far.processes(QEMU), guests, "the guests run on");
        // The one whose writes are refused stands still, which the doctor tells, until it is rid of the disk.
        self.rid(first);
    }

    /// Bytes that the NFS clients of the far host's guests have sent and the server has not taken.
    fn unsent(&self) -> u64 {
        let sockets = self.far.run("ss", &["-Htn", "state", "established", "( dport = :2049 )"]).ok();
        sockets.lines().filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).sum()
    }

    /// By force: QEMU cannot end by itself while a disk owes it an answer.
    fn end(&mut self, guests: &[String]) {
        self.ec2.call("stop_instances", &json!({ "InstanceIds": guests, "Force": true })).answer();
        self.ec2.wait_state(guests, "stopped", PATIENCE);
        self.ec2.act("terminate_instances", guests);
        self.ec2.wait_state(guests, "terminated", PATIENCE);
    }

    fn tear_away(&mut self, volume: &str) {
        self.ec2.call("detach_volume", &json!({ "VolumeId": volume, "Force": true })).answer();
        self.ec2.wait_volume(volume, "available");
    }

    /// QEMU cannot let go of a disk that owes it an answer: the plug of its guest has to be pulled, once.
    fn rid(&mut self, guest: String) {
        let (guest, before) = ([guest], self.volumes_in_use());
        self.ec2.call("stop_instances", &json!({ "InstanceIds": guest, "Force": true })).answer();
        self.ec2.wait_state(&guest, "stopped", PATIENCE);
        self.ec2.act("start_instances", &guest);
        self.ec2.wait_console(&guest[0], "tepui-tiny: boot 2", PATIENCE);
        assert_eq!(self.volumes_in_use(), before - 1, "it starts without what is not its own");
        self.end(&guest);
    }

    /// The volumes that domains on the far host have.
    fn volumes_in_use(&self) -> usize {
        let is_volume = |source: &&String| source.starts_with("iqn.") || source.ends_with("disk.raw");
        self.far.live_disks().iter().filter(is_volume).count()
    }

    /// The highest number behind this word on the console of the first guest.
    fn count(&self, word: &str) -> u64 {
        let said = self.far.consoles();
        let numbers = said.lines().filter_map(|line| line.trim().strip_prefix(word)?.trim().parse().ok());
        numbers.max().unwrap_or(0)
    }

    #[track_caller]
    fn wait_count(&self, word: &str, count: u64) {
        until(&format!("the guest {word} {count}"), PATIENCE, || (self.count(word) >= count).then_some(()));
    }

    /// The first guest goes on trying.
    #[track_caller]
    fn tries_more(&self, times: u64) {
        self.wait_count("tries", self.count("tries") + times);
    }

    /// Every write that the first guest was told of is there, where the second did not write later.
    #[track_caller]
    fn assert_content(&self, pool: usize, volume: &str, wrote: u64) {
        let found = self.pools[pool].blocks(volume, 101, 300);
        for (number, found) in (101..).zip(found) {
            let wanted = match number {
                101..=104 | 300..=301 => format!("second {number}"),
                105.. if number <= wrote => format!("first {number}"),
                _ => continue,
            };
            assert_eq!(found, wanted, "block {number}");
        }
    }
}

fn state(cloud: &Cloud, host: &Host) -> Value {
    let nodes = cloud.tepui_json(&["node", "list"]);
    let own = nodes.as_array().into_iter().flatten().find(|node| node["name"] == host.name());
    own.map_or(Value::Null, |node| node["state"].clone())
}
