//! A stock Debian with stock cloud-init finds its EC2 source at once, and its user logs in.

use tepui_tests::{Cloud, Hypervisor, until};

#[test]
fn debian_finds_its_ec2_source_without_a_retry_and_its_user_logs_in() {
    let cloud = Cloud::start(Hypervisor::Libvirt, 1);
    cloud.import("debian-12", "debian");
    let script = cloud.scratch().join("user-data");
    let written = std::fs::write(&script, "#!/bin/sh\necho user data of $(cloud-id) ran >/dev/ttyS0\n");
    assert!(written.is_ok());
    let script = script.to_string_lossy().into_owned();
    let run = ["instance", "run", "debian-12", "--name", "web", "--user-data", &script, "--quiet"];
    let id = cloud.tepui(&[&run[..], &["--scratch", "2", "--swap", "1"]].concat()).ok();
    assert!(id.starts_with("i-"), "stdout is the id alone: {id}");
    until("the user data of cloud-init's source ran", 400, || {
        cloud.console(cloud.variables(), &id).contains("user data of aws ran").then_some(())
    });

    let ssh = |command: &str| cloud.tepui(&["instance", "ssh", "web", "--", command]).ok();
    assert_eq!(ssh("cloud-init status --wait | tail -n 1"), "status: done");
    let log = ssh("sudo cat /var/log/cloud-init.log");
    assert!(log.contains("DataSourceEc2"), "{log}");
    // The words of cloud-init's url_helper before each further try.
    assert!(!log.contains("Please wait") && !log.contains("Giving up"), "cloud-init tried again: {log}");
    let without_token = "python3 -c 'import urllib.request as r; r.urlopen(\"http://169.254.169.254/latest/meta-data/\")' 2>&1 | tail -n 1";
    assert!(ssh(without_token).contains("401"), "version 2 is required by default");
    assert_eq!(ssh("systemctl is-active qemu-guest-agent"), "active");

    // By their names in the metadata cloud-init mounts the one scratch disk and swaps to the other.
    let disks = "findmnt --noheadings --output SOURCE,FSTYPE /mnt; sudo swapon --noheadings --show=NAME; \
                 readlink -f /dev/disk/by-id/virtio-ephemeral0 /dev/disk/by-id/virtio-swap0; ls /mnt";
    let uses = |content: &str| {
        let found = cloud.tepui(&["instance", "ssh", "web", "--", disks]).stdout;
        let wanted = ["/dev/vdb", "ext4", "/dev/vdc", "/dev/vdb", "/dev/vdc", content];
        found.split_whitespace().eq(wanted).then_some(())
    };
    until("the guest uses its scratch disks", 30, || uses("lost+found"));
    assert_eq!(ssh("sudo rmdir /mnt/lost+found && echo words | sudo tee /mnt/words"), "words");
    until("the file is there", 30, || uses("words"));
    cloud.tepui(&["instance", "stop", "web"]).ok();
    cloud.tepui(&["instance", "start", "web"]).ok();
    until("the guest uses new ones after a stop", 400, || uses("lost+found"));
    cloud.assert_healthy();
    cloud.down();
}
