//! A guest writes until its host's disk is full.

use std::time::Duration;

use serde_json::json;
use tepui_tests::{Cloud, Ec2Session, Hypervisor, QEMU, until};

/// Twelve MiB behind the file system that the guest booted from, and each byte on the disk before it says so.
const WRITE: &str = "#!/bin/sh
dd if=/dev/urandom of=/dev/vda bs=64k seek=16384 count=192 conv=fsync && echo all is written
";

#[test]
fn a_guest_that_fills_the_disk_stands_still_is_told_of_and_goes_on_once_there_is_room() {
    let cloud = Cloud::start(Hypervisor::Libvirt, 1);
    cloud.import("tiny", "root");
    let image = cloud.image_id("tiny");
    let mut ec2 = Ec2Session::start(&cloud, Duration::from_secs(60));
    let host = cloud.host(1);
    let disks = host.data_dir().join("disks");
    let disks = disks.to_string_lossy();
    host.run("mount", &["-t", "tmpfs", "-o", "size=8m,mode=0711", "disks", &disks]).ok();

    let volume = json!([{ "DeviceName": "/dev/sda1", "Ebs": { "VolumeSize": 2 } }]);
    let ids = ec2.launch(&image, 1, json!({ "UserData": WRITE, "BlockDeviceMappings": volume }));
    let impaired = || {
        let nodes = cloud.tepui_json(&["node", "list"]);
        nodes[0]["impaired"].as_str().map(str::to_owned)
    };
    until("the host says that a guest stands still", 120, || {
        impaired()?.contains("stand still").then_some(())
    });
    let instance = ec2.wait_state(&ids, "running", 5).remove(0);
    let guest = host.guests_of(&instance);
    let said = ec2.wait_console(&ids[0], "tepui-tiny", 20);
    assert!(!said.contains("all is written") && !said.contains("rror"), "the guest heard of it: {said}");

    host.run("mount", &["-o", "remount,size=64m", &disks]).ok();
    ec2.wait_console(&ids[0], "all is written", 60);
    until("the host is well again", 30, || impaired().is_none().then_some(()));
    assert_eq!(host.processes(QEMU), guest, "it is the same process");
    cloud.assert_healthy();
    ec2.act("terminate_instances", &ids);
    ec2.wait_state(&ids, "terminated", 150);
    host.run("umount", &[&disks]).ok();
    cloud.assert_healthy();
    cloud.down();
}
