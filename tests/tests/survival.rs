//! Guests outlive everything of ours: control plane, agent, libvirtd.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

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
    let host = host_namespace(&cloud);
    let guests = pids(&cloud, &host, "qemu-system-x86");
    assert_eq!(guests.len(), 1);

    for daemon in ["tepui-node", "tepui-api", "libvirtd"] {
        for pid in pids(&cloud, &host, daemon) {
            kill(Pid::from_raw(pid), Signal::SIGKILL).ok();
        }
        until(&format!("{daemon} is dead"), 10, || pids(&cloud, &host, daemon).is_empty().then_some(()));
        assert_eq!(pids(&cloud, &host, "qemu-system-x86"), guests, "the guest outlived {daemon}");
        cloud.up();
        cloud.wait_state(&id, "running", 30);
        cloud.assert_healthy();
        assert_eq!(
            pids(&cloud, &host, "qemu-system-x86"),
            guests,
            "the guest was adopted after {daemon} came back"
        );
    }

    // And it is still ours to command.
    cloud.ec2(&["terminate-instances", "--instance-ids", &id]);
    cloud.wait_state(&id, "terminated", 150);
    assert!(pids(&cloud, &host, "qemu-system-x86").is_empty());
    cloud.down();
}

/// The host's network namespace, by which its processes are told from others of the machine.
fn host_namespace(cloud: &Cloud) -> PathBuf {
    let folder = cloud.cloud_folder();
    let agent = processes("tepui-node").into_iter().find(|pid| {
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&command).contains(&*folder.to_string_lossy())
    });
    agent.map(namespace).unwrap_or_default()
}

/// Processes of this name on the host, or of the control plane beside it.
fn pids(cloud: &Cloud, host: &Path, name: &str) -> BTreeSet<i32> {
    let folder = cloud.cloud_folder();
    processes(name)
        .into_iter()
        .filter(|pid| {
            let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            namespace(*pid) == host || String::from_utf8_lossy(&command).contains(&*folder.to_string_lossy())
        })
        .collect()
}

fn processes(name: &str) -> BTreeSet<i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers
        .filter(|pid: &i32| {
            fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == name)
        })
        .filter(|pid| fs::read_link(format!("/proc/{pid}/exe")).is_ok())
        .collect()
}

fn namespace(pid: i32) -> PathBuf {
    fs::read_link(format!("/proc/{pid}/ns/net")).unwrap_or_default()
}
