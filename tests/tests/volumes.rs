//! Volumes of pools on one host, used by guests of two as users do it, by the AWS CLI: real XFS, real tgtd and ganesha,
//! QEMU's own clients, and file systems of the guests' on them.

use serde_json::{Value, json};
use tepui_tests::{Cloud, Ec2Session, Host, Hypervisor, until};

const PATIENCE: u64 = 120;

/// The backends of the two pools, which are also their classes, and the places of their volumes.
const BACKENDS: [(&str, &str); 2] = [("iscsi", "/dev/sdf"), ("nfs", "/dev/sdg")];

/// Where guests have them.
const DISKS: [&str; 2] = ["vdb", "vdc"];

/// What all guests do: `fill` writes files and a list of their checksums, whose own checksum it tells once all of it is on
/// the disk; `look` tells that of each list whose files are as it says; `check` says whether a file system is clean.
const COMMON: &str = r#"#!/bin/sh
fill() {
  for n in 1 2 3 4; do
    mkdir /tmp/$1/$2-$n && dd if=/dev/urandom of=/tmp/$1/$2-$n/file bs=65536 count=4 2>/dev/null
  done
  cd /tmp/$1 && sha256sum $2-*/file >$2.sums && sync && echo "$1 $2: $(sha256sum <$2.sums)"; cd /
}
look() {
  mkdir -p /tmp/$1 && mount -t ext4 /dev/$1 /tmp/$1 && cd /tmp/$1 && for list in *.sums; do
    sha256sum -c $list && echo "$1 ${list%.sums}: $(sha256sum <$list)"
  done
  cd /; umount /tmp/$1
}
check() {
  e2fsck -fn /dev/$1 >/tmp/$1.fsck && ! grep '? no' /tmp/$1.fsck && echo "$1 is clean"; cat /tmp/$1.fsck
}
"#;
/// Makes a file system on each volume and fills it, and fills it again when both have grown; then lets go of it.
const WRITER: &str = r#"
use() {
  while [ ! -b /dev/$1 ]; do sleep 1; done
  mkfs.ext4 -q /dev/$1 && mkdir /tmp/$1 && mount -t ext4 /dev/$1 /tmp/$1 && fill $1 first
  while [ $(cat /sys/class/block/$1/size) -lt 4194304 ]; do sleep 1; done
  resize2fs /dev/$1 && fill $1 later
  umount /tmp/$1 && echo "$1 is free"
}
use vdb & use vdc & wait
"#;
/// Waits for the volumes, and tells what is on them as they were left.
const READER: &str = r#"
while [ ! -b /dev/vdb ] || [ ! -b /dev/vdc ]; do sleep 1; done
for disk in vdb vdc; do check $disk; look $disk; done
echo "all is told"
"#;
/// Waits for nothing and tells what is on the volumes, which nobody let go of before they were as they are: mounting them
/// takes over what their journals have.
const LOOKER: &str = r#"
for disk in vdb vdc; do look $disk; check $disk; done
echo "all is told"
"#;

#[test]
fn volumes_keep_their_bytes_from_one_guest_to_another_on_another_host() {
    let cloud = Cloud::start(Hypervisor::Libvirt, 2);
    cloud.import("tiny", "root");
    let image = cloud.image_id("tiny");
    // It only looks: each call of the CLI takes a second.
    let mut ec2 = Ec2Session::start(&cloud, std::time::Duration::from_secs(60));
    cloud.make_pools(&cloud.host(1));
    cloud.ec2(&["create-placement-group", "--group-name", "apart", "--strategy", "spread"]);
    let zone = text(&cloud.ec2(&["describe-availability-zones"])["AvailabilityZones"][0]["ZoneName"]);
    let volumes = BACKENDS.map(|(class, _)| {
        let wanted = ["--availability-zone", &zone, "--size", "1", "--volume-type", class];
        text(&cloud.ec2(&[&["create-volume"], &wanted[..]].concat())["VolumeId"])
    });
    let apart = ["--placement", "GroupName=apart"];
    let writer = launch(&cloud, &image, WRITER, &apart);
    cloud.ec2_wait("volume-available", "--volume-ids", &volumes);
    attach(&cloud, &mut ec2, &volumes, &writer);
    for disk in DISKS {
        ec2.wait_console(&writer, &format!("{disk} first: "), PATIENCE);
    }
    // Somebody makes an account by hand, and the control plane hears of it, below.
    tgtadm(&cloud.host(1), "new");
    let snapshots = volumes
        .clone()
        .map(|volume| text(&cloud.ec2(&["create-snapshot", "--volume-id", &volume])["SnapshotId"]));
    cloud.ec2_wait("snapshot-completed", "--snapshot-ids", &snapshots);

    // They grow under their guest, and are limited.
    let throttles = |device: &str| {
        let device = device.replace("/dev/s", "v");
        [cloud.host(1), cloud.host(2)].iter().flat_map(|host| host.throttles(&device)).collect::<Vec<_>>()
    };
    for (volume, (_, device)) in volumes.iter().zip(BACKENDS) {
        assert_eq!(throttles(device), [(0, 0)], "nobody asked for a limit");
        modify(&cloud, &mut ec2, volume, &["--size", "2", "--iops", "700", "--throughput", "50"]);
        assert_eq!(throttles(device), [(700, 50 << 20)]);
    }
    // What a client sends without being asked takes them away.
    modify(&cloud, &mut ec2, &volumes[1], &["--iops", "3000", "--throughput", "125"]);
    assert_eq!((throttles("/dev/sdf"), throttles("/dev/sdg")), (vec![(700, 50 << 20)], vec![(0, 0)]));
    for disk in DISKS {
        ec2.wait_console(&writer, &format!("{disk} is free"), PATIENCE);
    }
    let wrote = ec2.wait_console(&writer, "vdc later: ", PATIENCE);

    for volume in &volumes {
        until("what the guest wrote is counted", PATIENCE, || {
            let io = cloud.tepui_json(&["volume", "show", volume])["io"].clone();
            (io["writes"].as_u64()? >= 16 && io["written_bytes"].as_u64()? >= 2 << 20).then_some(())
        });
    }
    let near = cloud.host_of(&writer);
    only_the_guests_host_opens(&cloud, &near);
    nobody_reads_passwords(&cloud);

    for volume in &volumes {
        cloud.ec2(&["detach-volume", "--volume-id", volume]);
    }
    let reader = launch(&cloud, &image, READER, &apart);
    cloud.ec2_wait("volume-available", "--volume-ids", &volumes);
    attach(&cloud, &mut ec2, &volumes, &reader);
    assert_ne!(cloud.host_of(&reader).number(), near.number());
    let read = ec2.wait_console(&reader, "all is told", PATIENCE);
    for disk in DISKS {
        for list in ["first", "later"] {
            assert_eq!(checksum(&read, disk, list), checksum(&wrote, disk, list), "{disk} {list}: {read}");
        }
        assert!(read.contains(&format!("{disk} is clean")) && !read.contains("FAILED"), "{read}");
    }
    assert_eq!(read.matches("/524288 blocks").count(), 2, "file systems of 2 GiB: {read}");

    // They outlive their instance, and are another's once nobody can write to them any more.
    cloud.ec2(&["terminate-instances", "--instance-ids", &reader]);
    // Others made from the snapshots are there from their guest's first second on.
    let mappings = [0, 1].map(|number| {
        let (class, device) = BACKENDS[number];
        json!({ "DeviceName": device, "Ebs": { "SnapshotId": snapshots[number], "VolumeType": class } })
    });
    let mappings = json!(mappings).to_string();
    let again = launch(&cloud, &image, LOOKER, &["--block-device-mappings", &mappings]);
    let read = ec2.wait_console(&again, "all is told", PATIENCE);
    for disk in DISKS {
        assert_eq!(checksum(&read, disk, "first"), checksum(&wrote, disk, "first"), "{disk}: {read}");
        assert_eq!(checksum(&read, disk, "later"), None, "{disk}: {read}");
        assert!(read.contains(&format!("{disk} is clean")) && !read.contains("FAILED"), "{read}");
    }
    assert_eq!(read.matches("/262144 blocks").count(), 2, "file systems of 1 GiB: {read}");
    for volume in &volumes {
        ec2.wait_volume(volume, "available");
    }

    // A guest starts with what it has; its passwords come to it then too.
    cloud.ec2(&["stop-instances", "--instance-ids", &again]);
    ec2.wait_state(std::slice::from_ref(&again), "stopped", PATIENCE);
    cloud.ec2(&["start-instances", "--instance-ids", &again]);
    ec2.wait_state(std::slice::from_ref(&again), "running", PATIENCE);
    nobody_reads_passwords(&cloud);

    let finding = "WARN  node node-1: stranger: tgtd has this account";
    let is_told = || cloud.tepui(&["doctor", "--problems"]).stdout.contains(finding);
    until("tepui doctor tells of the account", PATIENCE, || is_told().then_some(()));
    tgtadm(&cloud.host(1), "delete");
    until("tepui doctor forgets it", PATIENCE, || (!is_told()).then_some(()));

    cloud.ec2(&["terminate-instances", "--instance-ids", &writer, &again]);
    for volume in &volumes {
        cloud.ec2(&["delete-volume", "--volume-id", volume]);
    }
    for snapshot in &snapshots {
        cloud.ec2(&["delete-snapshot", "--snapshot-id", snapshot]);
    }
    until("nothing is left in the pools", PATIENCE, || {
        let pools = cloud.tepui_json(&["pool", "list"]);
        let empty = |number: usize| pools[number]["volumes"] == 0 && pools[number]["snapshots"] == 0;
        (empty(0) && empty(1)).then_some(())
    });
    for (backend, _) in BACKENDS {
        cloud.tepui(&["pool", "delete", backend, "--yes"]).ok();
    }
    cloud.assert_healthy();
    cloud.down();
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Starts a guest with this script.
fn launch(cloud: &Cloud, image: &str, script: &str, besides: &[&str]) -> String {
    let script = format!("{COMMON}{script}");
    let wanted = ["--image-id", image, "--instance-type", "t3.nano", "--user-data", &script];
    text(&cloud.ec2(&[&["run-instances"], &wanted[..], besides].concat())["Instances"][0]["InstanceId"])
}

/// One after the other: so the guest numbers them in this order.
fn attach(cloud: &Cloud, ec2: &mut Ec2Session, volumes: &[String; 2], instance: &str) {
    ec2.wait_state(&[instance.to_owned()], "running", PATIENCE);
    for (volume, (_, device)) in volumes.iter().zip(BACKENDS) {
        let place = ["--instance-id", instance, "--device", device];
        cloud.ec2(&[&["attach-volume", "--volume-id", volume], &place[..]].concat());
        ec2.wait_volume(volume, "attached");
    }
    cloud.ec2_wait("volume-in-use", "--volume-ids", volumes);
}

/// Modifies a volume, and waits until its guest has it so.
fn modify(cloud: &Cloud, ec2: &mut Ec2Session, volume: &str, change: &[&str]) {
    cloud.ec2(&[&["modify-volume", "--volume-id", volume], change].concat());
    until("its guest has it so", PATIENCE, || {
        let found = ec2.call("describe_volumes_modifications", &json!({ "VolumeIds": [volume] })).answer();
        (found["VolumesModifications"][0]["ModificationState"] == "completed").then_some(())
    });
}

/// The checksum of a list of checksums that a guest told for a disk.
fn checksum<'a>(console: &'a str, disk: &str, list: &str) -> Option<&'a str> {
    let start = format!("{disk} {list}: ");
    let told = console.lines().find_map(|line| line.strip_prefix(&start))?;
    let sum = told.split(' ').next()?;
    assert_eq!(sum.len(), 64, "{console}");
    Some(sum)
}

/// Has tgtd make or forget an account that no order names.
#[track_caller]
fn tgtadm(host: &Host, operation: &str) {
    let socket = format!("TGT_IPC_SOCKET={}", host.run_dir().join("run/iscsi/tgt").display());
    let account = ["--lld", "iscsi", "--mode", "account", "--op", operation, "--user", "stranger"];
    let password: &[&str] = if operation == "new" { &["--password", "not-of-tepui"] } else { &[] };
    host.run("env", &[&[&socket, "tgtadm"], &account[..], password].concat()).ok();
}

/// Stock tools open on the guest's host what it has, with the right password, and nothing with another or elsewhere.
fn only_the_guests_host_opens(cloud: &Cloud, near: &Host) {
    let far = cloud.host(3 - near.number());
    let exports = cloud.exports();
    for export in &exports {
        let told = export.ask(near, &export.secret);
        if export.is_iscsi() {
            assert!(told.stdout.contains(&export.volume.replace('-', "")), "{told:?}");
            let refused = export.ask(near, "WrongSecret123456").refused();
            assert!(refused.contains("Authentication failure"), "{refused}");
        } else {
            assert_eq!(told.stdout.trim(), "4096", "{told:?}");
            let refused = export.ask(&far, "");
            assert!(refused.stdout.trim() == "0" && refused.stderr.contains("MNT3ERR"), "{refused:?}");
        }
    }
    assert_eq!(exports.len(), 2);
}

/// What opens the volume over iSCSI stands nowhere in the open.
fn nobody_reads_passwords(cloud: &Cloud) {
    let exports = cloud.exports();
    let secrets: Vec<&str> = exports.iter().filter(|one| one.is_iscsi()).map(|one| &*one.secret).collect();
    assert_eq!(secrets.len(), 1, "{exports:?}");
    for host in [cloud.host(1), cloud.host(2)] {
        host.assert_unreadable(cloud, secrets[0]);
    }
}
