//! What snapshots hold, from real pools into a file and to a pool of another host.

use tepui_tests::{Cloud, Ec2Session, Hypervisor};

#[test]
fn a_snapshot_is_downloaded_and_copied_to_another_host_with_the_same_bytes() {
    let cloud = Cloud::start(Hypervisor::Libvirt, 2);
    let mut ec2 = Ec2Session::start(&cloud, std::time::Duration::from_secs(60));
    let near = cloud.make_local_pool("near", &cloud.host(1));
    cloud.make_local_pool("far", &cloud.host(2));
    cloud.tepui(&["volume", "create", "data", "--size", "1", "--class", "near"]).ok();
    let volume = cloud.tepui_json(&["volume", "show", "data"])["id"].as_str().unwrap_or_default().to_owned();
    ec2.wait_volume(&volume, "available");
    // Nobody has it attached: this is what its guest would have written, with holes between.
    let disk = format!("of={}", near.file(&volume));
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
    let written = near.digest(&volume);
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
    cloud.down();
}
