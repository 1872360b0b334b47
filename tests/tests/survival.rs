//! Guests outlive everything of ours: control plane, agent, libvirtd.

use std::collections::BTreeSet;
use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tepui_tests::{Cloud, Hypervisor, until};

#[test]
fn a_guest_runs_on_while_every_daemon_is_killed_and_comes_back() {
    let mut cloud = Cloud::start(Hypervisor::Libvirt, 1);
    cloud.import("tiny", "root");
    let image = cloud.image_id("tiny");
    let reply = cloud.ec2(&["run-instances", "--image-id", &image, "--instance-type", "t3.nano"]);
    let id = reply["Instances"][0]["InstanceId"].as_str().unwrap_or_default().to_owned();
    cloud.wait_console(&id, "tepui-tiny: ready", 120);
    let guests = pids(&cloud, "qemu-system-x86");
    assert_eq!(guests.len(), 1);

    for daemon in ["tepui-node", "tepui-api", "libvirtd"] {
        for pid in pids(&cloud, daemon) {
            kill(Pid::from_raw(pid), Signal::SIGKILL).ok();
        }
        until(&format!("{daemon} is dead"), 10, || pids(&cloud, daemon).is_empty().then_some(()));
        assert_eq!(pids(&cloud, "qemu-system-x86"), guests, "the guest outlived {daemon}");
        cloud.up();
        cloud.wait_state(&id, "running", 30);
        cloud.assert_healthy();
        assert_eq!(pids(&cloud, "qemu-system-x86"), guests, "the guest was adopted after {daemon} came back");
    }

    // And it is still ours to command.
    cloud.ec2(&["terminate-instances", "--instance-ids", &id]);
    cloud.wait_state(&id, "terminated", 150);
    assert!(pids(&cloud, "qemu-system-x86").is_empty());
    cloud.down();
}

/// Processes of this name whose command line or environment names the cloud's folder.
fn pids(cloud: &Cloud, name: &str) -> BTreeSet<i32> {
    let folder = cloud.cloud_folder();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid: &i32| {
            let read = |file| fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
            let comm = String::from_utf8_lossy(&read("comm")).trim().to_owned();
            let command = String::from_utf8_lossy(&read("cmdline")).into_owned();
            comm == name && command.contains(&*folder.to_string_lossy())
        })
        .collect()
}
