//! A snapshot that is taken while a stock Debian holds still has what its programs wrote and nobody flushed. A guest without
//! a guest agent refuses and goes on.

use tepui_tests::{Cloud, Hypervisor, until};

const PATIENCE: u64 = 120;

#[test]
fn a_snapshot_of_a_guest_that_held_still_has_what_nobody_flushed() {
    let cloud = Cloud::start(Hypervisor::Libvirt, 1);
    let _pool = cloud.make_pool(&cloud.host(1));
    cloud.import("debian-12", "debian");
    let id = cloud.tepui(&["instance", "run", "debian-12", "--name", "web", "--quiet"]).ok();
    let ssh = |command: &str| cloud.tepui(&["instance", "ssh", "web", "--", command]).ok();
    cloud.wait_state(&id, "running", PATIENCE);
    until("the guest agent runs", 400, || {
        let told = cloud.tepui(&["instance", "ssh", "web", "--", "systemctl is-active qemu-guest-agent"]);
        (told.stdout.trim() == "active").then_some(())
    });
    attach(&cloud, "data", "web");
    ssh("until [ -b /dev/vdb ]; do sleep 1; done; sudo mkfs.ext4 -q /dev/vdb");
    ssh("sudo mount -o commit=300 /dev/vdb /mnt");
    // Nothing flushes it for minutes but the freeze.
    ssh(
        "sudo sh -c 'echo 300000 > /proc/sys/vm/dirty_expire_centisecs; echo nobody flushed this > /mnt/file'",
    );

    cloud.tepui(&["snapshot", "create", "still", "--volume", "data", "--freeze"]).ok();
    let shown = cloud.tepui_json(&["snapshot", "show", "still"]);
    assert_eq!(shown["state"], "completed");
    assert_eq!(shown["consistency"], "file-system");
    assert_eq!(ssh("sudo sh -c 'echo on > /mnt/after && cat /mnt/after'"), "on", "it goes on");
    assert_eq!(scheduled(&cloud, "data")["consistency"], "file-system");

    cloud.tepui(&["volume", "create", "restored", "--snapshot", "still"]).ok();
    cloud.tepui(&["volume", "attach", "restored", "web"]).ok();
    let read = ssh("sudo sh -c 'until [ -b /dev/vdc ]; do sleep 1; done; mkdir /restored;
         mount -o ro,noload /dev/vdc /restored && cat /restored/file; ls /restored'");
    assert!(read.contains("nobody flushed this") && !read.contains("after"), "{read}");
    cloud.assert_healthy();
    cloud.down();
}

#[test]
fn a_guest_without_a_guest_agent_refuses_to_hold_still_and_goes_on() {
    let cloud = Cloud::start(Hypervisor::Libvirt, 1);
    let _pool = cloud.make_pool(&cloud.host(1));
    cloud.import("tiny", "root");
    let id = cloud.tepui(&["instance", "run", "tiny", "--name", "web", "--quiet"]).ok();
    cloud.wait_state(&id, "running", PATIENCE);
    attach(&cloud, "data", "web");
    let refused = cloud.tepui(&["snapshot", "create", "still", "--volume", "data", "--freeze"]);
    assert!(refused.stderr.contains("guest agent"), "{refused:?}");
    assert_eq!(cloud.tepui_json(&["snapshot", "show", "still"])["state"], "error");
    cloud.tepui(&["snapshot", "delete", "still", "--yes"]).ok();
    cloud.tepui(&["snapshot", "create", "crash", "--volume", "data"]).ok();
    assert_eq!(cloud.tepui_json(&["snapshot", "show", "crash"])["consistency"], "crash");
    // It is paused for those of several volumes, which needs no help of its; its local root disk is beside them.
    attach(&cloud, "more", "web");
    cloud.tepui(&["snapshot", "create", "whole", "--instance", "web"]).ok();
    let taken = cloud.tepui_json(&["snapshot", "list"]);
    let of_all = taken.as_array().into_iter().flatten().filter(|one| one["name"] == "whole");
    let states: Vec<_> = of_all.map(|one| (one["state"].clone(), one["consistency"].clone())).collect();
    assert_eq!(states, vec![("completed".into(), "crash".into()); 3]);
    let scheduled = scheduled(&cloud, "data");
    assert_eq!(scheduled["consistency"], "crash", "a schedule takes what can be had");
    assert_eq!(scheduled["description"], "taken by a schedule; its guest did not hold still");
    assert_eq!(cloud.instance(&id)["State"]["Name"], "running");
    cloud.assert_healthy();
    cloud.down();
}

/// What a schedule whose guests hold still takes of a volume.
fn scheduled(cloud: &Cloud, volume: &str) -> serde_json::Value {
    let id = cloud.tepui_json(&["volume", "show", volume])["id"].as_str().unwrap_or_default().to_owned();
    cloud.tepui(&["tag", "set", &id, "backup=hourly"]).ok();
    let tag = ["--tag", "backup=hourly"];
    let rule = ["--every", "1h", "--keep", "1", "--freeze"];
    let words = [&["snapshot", "schedule", "create"][..], &tag[..], &rule[..]].concat();
    cloud.tepui(&words).ok();
    until("the schedule's snapshot is completed", PATIENCE, || {
        let all = cloud.tepui_json(&["snapshot", "list"]);
        let is_done = |one: &&serde_json::Value| {
            one["tags"]["tepui:schedule"].is_string() && one["state"] == "completed"
        };
        all.as_array()?.iter().find(is_done).cloned()
    })
}

/// A volume of 1 GiB that the guest has.
fn attach(cloud: &Cloud, volume: &str, instance: &str) {
    cloud.tepui(&["volume", "create", volume, "--size", "1"]).ok();
    cloud.tepui(&["volume", "attach", volume, instance]).ok();
}
