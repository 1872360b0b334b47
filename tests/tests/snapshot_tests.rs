//! Tests of snapshots in real pools: what is damaged on the pool's disk is found, and told.

use tepui_tests::{Cloud, Ec2Session, Hypervisor};

#[test]
fn a_test_of_a_snapshot_passes_until_its_file_is_damaged() {
    let cloud = Cloud::start(Hypervisor::Libvirt, 1);
    let mut ec2 = Ec2Session::start(&cloud, std::time::Duration::from_secs(60));
    let near = cloud.make_local_pool("near", &cloud.host(1));
    cloud.tepui(&["volume", "create", "data", "--size", "1", "--class", "near"]).ok();
    let volume = cloud.tepui_json(&["volume", "show", "data"])["id"].as_str().unwrap_or_default().to_owned();
    ec2.wait_volume(&volume, "available");
    write(&cloud, &near.file(&volume), "seek=3");
    cloud.tepui(&["snapshot", "create", "before", "--volume", "data"]).ok();
    let snapshot =
        cloud.tepui_json(&["snapshot", "show", "before"])["id"].as_str().unwrap_or_default().to_owned();
    cloud.tepui(&["snapshot", "test", "before"]).ok();
    let passed = cloud.tepui_json(&["snapshot", "show", "before"])["test"].clone();
    assert_eq!(passed["digest"].as_str().unwrap_or_default().len(), 64, "{passed}");
    // The volume is another thing.
    write(&cloud, &near.file(&volume), "seek=4");
    cloud.tepui(&["snapshot", "test", "before"]).ok();
    cloud.assert_healthy();

    let (from, to) = (format!("/volumes/{volume}/"), format!("/snapshots/{snapshot}/"));
    let file = near.file(&volume).replace(&from, &to);
    write(&cloud, &file, "seek=4");
    let failed = cloud.tepui(&["snapshot", "test", "before"]);
    assert!(failed.stderr.contains("its content has changed"), "{failed:?}");
    let shown = cloud.tepui_json(&["snapshot", "show", "before"]);
    assert_eq!((&shown["state"], &shown["test"]["digest"]), (&"completed".into(), &passed["digest"]));
    let told = cloud.tepui(&["doctor", "--problems"]);
    assert!(told.stdout.contains(&format!("snapshot {snapshot}: its test failed")), "{told:?}");
    cloud.tepui(&["snapshot", "delete", "before", "--yes"]).ok();
    cloud.assert_healthy();
    cloud.down();
}

/// Two MiB of noise.
fn write(cloud: &Cloud, file: &str, seek: &str) {
    let to = format!("of={file}");
    let words = ["if=/dev/urandom", &to, "bs=1M", "count=2", seek, "conv=notrunc,fsync", "status=none"];
    cloud.host(1).run("dd", &words).ok();
}
