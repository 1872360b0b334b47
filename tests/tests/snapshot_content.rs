//! What snapshots hold, from real pools into a file and to a pool of another host.

use tepui_tests::{Cloud, Ec2Session, Host, Hypervisor, file_system, until};

const PATIENCE: u64 = 120;

/// An XFS of this host's own beside that of another host.
#[track_caller]
fn second_file_system(cloud: &Cloud, host: &Host) -> String {
    let image = cloud.scratch().join("far.xfs").display().to_string();
    let mount = host.run_dir().join("far").display().to_string();
    host.run("truncate", &["--size", "2G", &image]).ok();
    host.run("mkfs.xfs", &["-q", "-m", "reflink=1", &image]).ok();
    host.run("mkdir", &["-p", &mount]).ok();
    host.run("mount", &["-o", "loop", &image, &mount]).ok();
    mount
}

#[test]
fn a_snapshot_is_downloaded_and_copied_to_another_host_with_the_same_bytes() {
    let cloud = Cloud::start(Hypervisor::Libvirt, 2);
    let mut ec2 = Ec2Session::start(&cloud, std::time::Duration::from_secs(60));
    let near = format!("{}/near", file_system(&cloud, &cloud.host(1)));
    let far = format!("{}/far", second_file_system(&cloud, &cloud.host(2)));
    for (name, node, path) in [("near", 1, &near), ("far", 2, &far)] {
        let host = cloud.host(node);
        host.run("mkdir", &["-p", path]).ok();
        let create = ["pool", "create", name, "--class", name, "--backend", "local", "--node", &host.name()];
        cloud.tepui(&[&create[..], &["--path", path]].concat()).ok();
    }
    until("the pools are there", PATIENCE, || {
        let pools = cloud.tepui_json(&["pool", "list"]);
        (pools[0]["usage"].is_object() && pools[1]["usage"].is_object()).then_some(())
    });
    cloud.tepui(&["volume", "create", "data", "--size", "1", "--class", "near"]).ok();
    let volume = cloud.tepui_json(&["volume", "show", "data"])["id"].as_str().unwrap_or_default().to_owned();
    ec2.wait_volume(&volume, "available");
    // Nobody has it attached: this is what its guest would have written, with holes between.
    let disk = format!("of={near}/volumes/{volume}/disk.raw");
    for seek in ["seek=0", "seek=3", "seek=700"] {
        let words = ["if=/dev/urandom", &disk, "bs=1M", "count=2", seek, "conv=notrunc,fsync", "status=none"];
        cloud.host(1).run("dd", &words).ok();
    }
    cloud.tepui(&["snapshot", "create", "before", "--volume", "data"]).ok();
    cloud.tepui(&["snapshot", "copy", "before", "kept", "--class", "far"]).ok();

    let digest = |path: &str| {
        let told = cloud.host(1).run("openssl", &["dgst", "-sha256", "-r", path]).ok();
        told.split(' ').next().unwrap_or_default().to_owned()
    };
    let written = digest(&format!("{near}/volumes/{volume}/disk.raw"));
    for snapshot in ["before", "kept"] {
        let file = cloud.scratch().join(format!("{snapshot}.raw")).display().to_string();
        cloud.tepui(&["snapshot", "download", snapshot, &file]).ok();
        assert_eq!(digest(&file), written, "{snapshot}");
    }
    for snapshot in ["before", "kept"] {
        cloud.tepui(&["snapshot", "delete", snapshot, "--yes"]).ok();
    }
    cloud.tepui(&["volume", "delete", "data", "--yes"]).ok();
    cloud.assert_healthy();
}
