//! libvirtd dies in the middle of an operation on a real guest.

use std::time::Duration;

use serde_json::{Value, json};
use tepui_tests::{Cloud, Ec2Session, Hypervisor, QEMU};

#[test]
fn run_stop_start_reboot_and_terminate_are_finished_although_libvirtd_is_killed_in_the_middle() {
    let mut cloud = Cloud::start(Hypervisor::Libvirt, 1);
    cloud.import("tiny", "root");
    let image = cloud.image_id("tiny");
    let mut ec2 = Ec2Session::start(&cloud, Duration::from_secs(30));
    let run = json!({
        "ImageId": image, "InstanceType": "t3.nano", "MinCount": 1, "MaxCount": 1, "ClientToken": "killed"
    });
    let made = ec2.call("run_instances", &run).answer();
    kill_libvirtd(&mut cloud);
    let id = made["Instances"][0]["InstanceId"].as_str().unwrap_or_default().to_owned();
    let ids = json!({ "InstanceIds": [id] });
    finished(&cloud, &id, "running", 1);
    // Only a guest that is up hears its power button.
    cloud.wait_console(&id, "tepui-tiny: ready", 120);

    let mut cut = |call: &str, parameters: &Value, state: &str, guests: usize| {
        ec2.call(call, parameters).answer();
        kill_libvirtd(&mut cloud);
        finished(&cloud, &id, state, guests);
        if call == "reboot_instances" {
            cloud.wait_console(&id, "tepui-tiny: boot 2", 120);
        }
    };
    cut("reboot_instances", &ids, "running", 1);
    cut("stop_instances", &json!({ "InstanceIds": [id], "Force": true }), "stopped", 0);
    cut("start_instances", &ids, "running", 1);
    cut("terminate_instances", &ids, "terminated", 0);
    assert_eq!(ec2.call("run_instances", &run).answer()["ReservationId"], made["ReservationId"]);
    cloud.down();
}

fn kill_libvirtd(cloud: &mut Cloud) {
    cloud.host(1).kill("libvirtd");
    cloud.up();
}

/// The instance is in the state, the host has so many guests, and nobody finds a fault.
#[track_caller]
fn finished(cloud: &Cloud, id: &str, state: &str, guests: usize) {
    cloud.wait_state(id, state, 150);
    assert_eq!(cloud.host(1).processes(QEMU).len(), guests, "{state}");
    cloud.assert_healthy();
}
