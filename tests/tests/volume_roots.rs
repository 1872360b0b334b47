//! Guests that boot from volumes, over iSCSI and NFS: they move from host to host over a stop, and outlive their host.

use std::time::Duration;

use serde_json::json;
use tepui_tests::{BACKENDS, Cloud, Ec2Session, Host, Hypervisor, until};

/// How long a step may take, in seconds.
const PATIENCE: u64 = 120;

#[test]
fn a_guest_that_boots_from_a_volume_starts_on_any_host_and_outlives_its_own() {
    let cloud = Cloud::start(Hypervisor::Libvirt, 2);
    cloud.import("tiny", "root");
    let image = cloud.image_id("tiny");
    let mut ec2 = Ec2Session::start(&cloud, Duration::from_secs(60));
    // One has the pools, the other one is lost later.
    let (storage, lost) = (cloud.host(1), cloud.host(2));
    cloud.make_pools(&storage);

    only(&cloud, &lost, &storage);
    let guests: Vec<String> = BACKENDS
        .iter()
        .map(|class| {
            let disk =
                |device| json!({ "DeviceName": device, "Ebs": { "VolumeType": class, "VolumeSize": 1 } });
            let disks = [disk("/dev/sda1"), disk("/dev/sdf")];
            ec2.launch(&image, 1, json!({ "BlockDeviceMappings": disks }))[0].clone()
        })
        .collect();
    ec2.wait_state(&guests, "running", PATIENCE);
    boots(&mut ec2, &guests, 1);
    let roots = roots(&mut ec2, &guests);
    assert_eq!(run_on(&cloud, &lost, &guests), 2, "their root is on the other host");

    // From one host to the other and back: each start counts on the disk that they boot from.
    for (number, (to, from)) in (2..).zip([(&storage, &lost), (&lost, &storage)]) {
        ec2.act("stop_instances", &guests);
        ec2.wait_state(&guests, "stopped", PATIENCE);
        assert_eq!(run_on(&cloud, from, &guests), 0);
        only(&cloud, to, from);
        ec2.act("start_instances", &guests);
        ec2.wait_state(&guests, "running", PATIENCE);
        assert_eq!((run_on(&cloud, to, &guests), run_on(&cloud, from, &guests)), (2, 0), "start {number}");
        boots(&mut ec2, &guests, number);
    }
    cloud.assert_healthy();

    // A root grows under its guest, which is told of it.
    for root in &roots {
        ec2.call("modify_volume", &json!({ "VolumeId": root, "Size": 2 })).answer();
        until("its guest sees the new size", PATIENCE, || {
            let found = ec2.call("describe_volumes_modifications", &json!({ "VolumeIds": [root] })).answer();
            (found["VolumesModifications"][0]["ModificationState"] == "completed").then_some(())
        });
    }

    // Their host is lost for good: nothing runs anywhere before its operator gives it up.
    lost.power_off();
    until("the host is missed", PATIENCE, || (state(&cloud, &lost) == "unreachable").then_some(()));
    assert_eq!(run_on(&cloud, &storage, &guests), 0);
    cloud.tepui(&["node", "expunge", &lost.name(), "--yes"]).ok();
    ec2.wait_state(&guests, "stopped", PATIENCE);
    cloud.tepui(&["node", "undrain", &storage.name()]).ok();
    ec2.act("start_instances", &guests);
    ec2.wait_state(&guests, "running", PATIENCE);
    boots(&mut ec2, &guests, 4);

    // Others begin with the disks that they have now.
    let clones: Vec<String> = guests.iter().map(|guest| clone(&cloud, guest)).collect();
    boots(&mut ec2, &clones, 5);
    for clone in ec2.wait_state(&clones, "running", 5) {
        let devices = [0, 1].map(|at| clone["BlockDeviceMappings"][at]["DeviceName"].clone());
        assert_eq!(devices, ["/dev/sda1", "/dev/sdf"]);
    }
    assert_eq!(cloud.tepui_json(&["snapshot", "list"]), json!([]));

    let all = [guests, clones].concat();
    ec2.act("terminate_instances", &all);
    ec2.wait_state(&all, "terminated", PATIENCE);
    until("their roots go with them", PATIENCE, || {
        let pools = cloud.tepui_json(&["pool", "list"]);
        (pools[0]["volumes"] == 0 && pools[1]["volumes"] == 0).then_some(())
    });
    until("the doctor finds nothing", PATIENCE, || {
        let found = cloud.tepui(&["doctor", "--problems"]);
        eprint!("{}{}", found.stdout, found.stderr);
        (found.code == Some(0) && found.stdout.is_empty()).then_some(())
    });
    cloud.down();
}

/// What starts from now on starts on this host.
fn only(cloud: &Cloud, host: &Host, other: &Host) {
    cloud.tepui(&["node", "undrain", &host.name()]).ok();
    cloud.tepui(&["node", "drain", &other.name()]).ok();
}

/// Each has counted so many boots on its disk.
fn boots(ec2: &mut Ec2Session, guests: &[String], number: u32) {
    for guest in guests {
        ec2.wait_console(guest, &format!("tepui-tiny: boot {number}"), PATIENCE);
    }
}

/// Clones a guest, while it runs, and returns the id of the other.
fn clone(cloud: &Cloud, guest: &str) -> String {
    let made = cloud.tepui_json(&["instance", "clone", guest, &format!("clone-of-{guest}")]);
    made["id"].as_str().unwrap_or_default().to_owned()
}

fn roots(ec2: &mut Ec2Session, guests: &[String]) -> Vec<String> {
    let of = |guest: &Vec<serde_json::Value>| {
        let id = guest[0]["BlockDeviceMappings"][0]["Ebs"]["VolumeId"].as_str();
        id.unwrap_or_default().to_owned()
    };
    guests.iter().map(|guest| of(&ec2.wait_state(std::slice::from_ref(guest), "running", 5))).collect()
}

/// How many of them run on the host.
fn run_on(cloud: &Cloud, host: &Host, guests: &[String]) -> usize {
    guests.iter().filter(|guest| !host.guests_of(&cloud.instance(guest)).is_empty()).count()
}

fn state(cloud: &Cloud, host: &Host) -> serde_json::Value {
    let nodes = cloud.tepui_json(&["node", "list"]);
    let own = nodes.as_array().into_iter().flatten().find(|node| node["name"] == host.name());
    own.map_or(serde_json::Value::Null, |node| node["state"].clone())
}
