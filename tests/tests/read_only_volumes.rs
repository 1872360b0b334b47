//! Volumes that guests of two hosts read at once and none writes: real tgtd and ganesha, QEMU's own clients.

use serde_json::{Value, json};
use tepui_tests::{Cloud, Ec2Session, Hypervisor, until};

const PATIENCE: u64 = 120;

/// The backends of the two pools, which are also their classes, and the places of their volumes.
const BACKENDS: [(&str, &str); 2] = [("iscsi", "/dev/sdf"), ("nfs", "/dev/sdg")];

/// Waits for the volumes and writes to each of them.
const WRITER: &str = "#!/bin/sh
while [ ! -b /dev/vdb ] || [ ! -b /dev/vdc ]; do sleep 1; done
echo 'once and for all' > /dev/vdb; echo 'for all to read' > /dev/vdc; sync && echo 'volumes written'
";
/// Waits for the volumes, tries to write to them, and tells what is on them, again and again.
const READER: &str = "#!/bin/sh
while [ ! -b /dev/vdb ] || [ ! -b /dev/vdc ]; do sleep 1; done
for disk in vdb vdc; do
  echo 'not mine' 2>/dev/null | dd of=/dev/$disk conv=notrunc,fsync 2>/dev/null && echo \"$disk was written\"
  echo \"$disk: ro=$(cat /sys/class/block/$disk/ro) [$(head -n 1 /dev/$disk)]\"
done
round=0
while [ $round -lt 300 ]; do
  round=$((round + 1)); sleep 1
  echo 3 > /proc/sys/vm/drop_caches
  echo \"round $round: [$(head -n 1 /dev/vdb), $(head -n 1 /dev/vdc)]\"
done
";

#[test]
fn guests_of_two_hosts_read_one_volume_and_leave_it_one_by_one() {
    let cloud = Cloud::start(Hypervisor::Libvirt, 2);
    cloud.import("tiny", "root");
    let image = cloud.image_id("tiny");
    let mut ec2 = Ec2Session::start(&cloud, std::time::Duration::from_secs(60));
    cloud.make_pools(&cloud.host(1));
    let sources = BACKENDS.map(|(class, _)| {
        cloud.tepui(&["volume", "create", class, "--size", "1", "--class", class]).ok();
        text(&cloud.tepui_json(&["volume", "show", class])["id"])
    });
    let writer = launch(&mut ec2, &image, WRITER);
    for (volume, (_, device)) in sources.iter().zip(BACKENDS) {
        ec2.attach(volume, &writer, device);
    }
    ec2.wait_console(&writer, "volumes written", PATIENCE);
    let golden = BACKENDS.map(|(class, _)| {
        let (snapshot, name) = (format!("{class}-taken"), format!("{class}-golden"));
        cloud.tepui(&["snapshot", "create", &snapshot, "--volume", class]).ok();
        cloud.tepui(&["volume", "create", &name, "--snapshot", &snapshot, "--read-only"]).ok();
        let made = cloud.tepui_json(&["volume", "show", &name]);
        assert_eq!(made["read_only"], true, "{made}");
        text(&made["id"])
    });

    let readers = [launch(&mut ec2, &image, READER), launch(&mut ec2, &image, READER)];
    for reader in &readers {
        for (volume, (_, device)) in golden.iter().zip(BACKENDS) {
            // One after the other: so the guest numbers them in this order. It waits for this instance's.
            cloud.tepui(&["volume", "attach", volume, reader, "--device", device]).ok();
        }
    }
    for reader in &readers {
        let heard = ec2.wait_console(reader, "round 1: ", PATIENCE);
        for line in ["vdb: ro=1 [once and for all]", "vdc: ro=1 [for all to read]"] {
            assert!(heard.contains(line), "{heard}");
        }
        assert!(!heard.contains("was written"), "{heard}");
    }
    for volume in &golden {
        let shown = ec2.volume(volume);
        assert_eq!((&shown["State"], &shown["MultiAttachEnabled"]), (&json!("in-use"), &json!(true)));
        let users: Vec<_> = shown["Attachments"].as_array().into_iter().flatten().map(instance).collect();
        assert!(readers.iter().all(|reader| users.contains(reader)) && users.len() == 2, "{shown}");
        let unnamed = cloud.tepui(&["volume", "detach", volume]);
        assert!(unnamed.stderr.contains("is needed: 2 instances"), "{}", unnamed.stderr);
    }

    // One leaves, and the other reads on.
    for volume in &golden {
        cloud.tepui(&["volume", "detach", volume, "--instance", &readers[0]]).ok();
    }
    let before = rounds(&mut ec2, &readers[1]);
    until("the other one reads on", PATIENCE, || (rounds(&mut ec2, &readers[1]) > before + 3).then_some(()));
    ec2.act("terminate_instances", &[readers[1].clone()]);
    for volume in &golden {
        ec2.wait_volume(volume, "available");
        cloud.tepui(&["volume", "modify", volume, "--read-only", "off"]).ok();
        ec2.call("delete_volume", &json!({ "VolumeId": volume })).answer();
    }
    ec2.act("terminate_instances", &[readers[0].clone(), writer]);
    cloud.assert_healthy();
    cloud.down();
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn instance(attachment: &Value) -> String {
    text(&attachment["InstanceId"])
}

fn launch(ec2: &mut Ec2Session, image: &str, script: &str) -> String {
    let ids = ec2.launch(image, 1, json!({ "UserData": script }));
    ec2.wait_state(&ids, "running", PATIENCE);
    ids[0].clone()
}

/// How often a reader has read what is on the volumes, and found it there.
fn rounds(ec2: &mut Ec2Session, reader: &str) -> usize {
    let heard = ec2.wait_console(reader, "round 1: ", PATIENCE);
    heard.matches("[once and for all, for all to read]").count()
}
