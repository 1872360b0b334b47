//! Snapshots of root disks that are local to their hosts, of guests that run and of one that is off, on real hypervisors.

use std::time::Duration;

use serde_json::json;
use tepui_tests::{Cloud, Ec2Session, Host, Hypervisor, until};

const PATIENCE: u64 = 120;

/// The tiny guest counts its boots on its root disk: what begins with that disk counts on.
#[test]
fn a_local_root_is_snapshotted_and_cloned_while_its_guest_runs_and_while_it_is_off() {
    let cloud = Cloud::start(Hypervisor::Libvirt, 2);
    cloud.import("tiny", "root");
    let image = cloud.image_id("tiny");
    let mut ec2 = Ec2Session::start(&cloud, Duration::from_secs(60));
    let (storage, compute) = (cloud.host(1), cloud.host(2));
    cloud.tepui(&["node", "drain", &storage.name()]).ok();
    let source = ec2.launch(&image, 1, json!({})).remove(0);
    let all = std::slice::from_ref(&source);
    ec2.wait_state(all, "running", PATIENCE);
    ec2.wait_console(&source, "tepui-tiny: boot 1", PATIENCE);
    let refused = cloud.tepui(&["instance", "clone", &source, "none"]);
    assert!(refused.stderr.contains("needs a pool of class 'gp3'"), "{refused:?}");

    let _pool = cloud.make_pool(&storage);
    cloud.tepui(&["node", "undrain", &storage.name()]).ok();
    let root = ec2.wait_state(all, "running", 5)[0]["BlockDeviceMappings"][0]["Ebs"]["VolumeId"].clone();
    let snapshot = ec2.call("create_snapshot", &json!({ "VolumeId": root })).answer();
    let snapshot = snapshot["SnapshotId"].as_str().unwrap_or_default().to_owned();
    until("the snapshot is completed", PATIENCE, || {
        let found = ec2.call("describe_snapshots", &json!({ "SnapshotIds": [&snapshot] })).answer();
        (found["Snapshots"][0]["State"] == "completed").then_some(())
    });
    let run = ["instance", "run", "tiny", "--name", "restored", "--quiet", "--root-snapshot", &snapshot];
    ec2.wait_console(cloud.tepui(&run).ok().trim(), "tepui-tiny: boot 2", PATIENCE);
    ec2.wait_console(&clone(&cloud, &source, "running"), "tepui-tiny: boot 2", PATIENCE);
    assert_eq!(cloud.instance(&source)["State"]["Name"], "running");
    assert_eq!(captures(&compute), [""; 0], "nothing is left");

    ec2.act("stop_instances", all);
    ec2.wait_state(all, "stopped", PATIENCE);
    ec2.wait_console(&clone(&cloud, &source, "stopped"), "tepui-tiny: boot 2", PATIENCE);
    ec2.act("start_instances", all);
    ec2.wait_console(&source, "tepui-tiny: boot 2", PATIENCE);
    assert_eq!(captures(&compute), [""; 0], "nothing is left");
    let left = cloud.tepui_json(&["snapshot", "list"]);
    assert_eq!(left.as_array().map(Vec::len), Some(1), "those of the clones are gone: {left}");
    cloud.assert_healthy();
    cloud.down();
}

/// Clones a guest; the id of the other.
fn clone(cloud: &Cloud, guest: &str, name: &str) -> String {
    let made = cloud.tepui_json(&["instance", "clone", guest, name]);
    made["id"].as_str().unwrap_or_default().to_owned()
}

/// The captures that lie among a host's disks.
fn captures(host: &Host) -> Vec<String> {
    let listed = host.run("ls", &[&host.data_dir().join("disks").display().to_string()]).ok();
    listed.lines().filter(|name| name.ends_with(".capture")).map(str::to_owned).collect()
}
