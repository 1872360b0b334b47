//! What snapshots hold, from real pools into a file, to a pool of another host, and back from a file.

use serde_json::json;
use tepui_tests::{Cloud, Ec2Session, Hypervisor};

const PATIENCE: u64 = 120;

/// Waits for the volume and writes to it.
const WRITER: &str = "#!/bin/sh
while [ ! -b /dev/vdb ]; do sleep 1; done
echo 'its owner was here' > /dev/vdb; sync && echo 'volume written'
";
/// Tells what is on the volume that is there from the first second on.
const READER: &str = "#!/bin/sh
echo \"volume says: [$(head -n 1 /dev/vdb)]\"
";

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

#[test]
fn a_downloaded_snapshot_of_a_guests_volume_is_uploaded_and_another_guest_reads_the_same() {
    let cloud = Cloud::start(Hypervisor::Libvirt, 1);
    cloud.import("tiny", "root");
    let image = cloud.image_id("tiny");
    let mut ec2 = Ec2Session::start(&cloud, std::time::Duration::from_secs(60));
    cloud.make_pool(&cloud.host(1));
    let volume = ec2.make_volume();
    let writer = ec2.launch(&image, 1, json!({ "UserData": WRITER }));
    ec2.wait_state(&writer, "running", PATIENCE);
    ec2.attach(&volume, &writer[0], "/dev/sdf");
    ec2.wait_console(&writer[0], "volume written", PATIENCE);
    cloud.tepui(&["snapshot", "create", "before", "--volume", &volume]).ok();
    ec2.act("terminate_instances", &writer);
    ec2.wait_volume(&volume, "available");

    let file = cloud.scratch().join("data.raw").display().to_string();
    cloud.tepui(&["snapshot", "download", "before", &file]).ok();
    cloud.tepui(&["snapshot", "delete", "before", "--yes"]).ok();
    cloud.tepui(&["snapshot", "upload", &file, "--name", "again", "--tag", "from=file"]).ok();
    let again = cloud.tepui_json(&["snapshot", "show", "again"]);
    assert_eq!((&again["state"], &again["tags"]["from"]), (&json!("completed"), &json!("file")), "{again}");
    let images = cloud.tepui_json(&["image", "list"]);
    assert_eq!(images.as_array().map(Vec::len), Some(1), "what it was on the way is gone: {images}");

    let snapshot = again["id"].as_str().unwrap_or_default();
    let mapping =
        json!({ "DeviceName": "/dev/sdf", "Ebs": { "SnapshotId": snapshot, "DeleteOnTermination": true } });
    let parameters = json!({ "UserData": READER, "BlockDeviceMappings": [mapping] });
    let reader = ec2.launch(&image, 1, parameters);
    ec2.wait_state(&reader, "running", PATIENCE);
    let heard = ec2.wait_console(&reader[0], "volume says: [", PATIENCE);
    assert!(heard.contains("volume says: [its owner was here]"), "{heard}");
    let copy = cloud.scratch().join("again.raw").display().to_string();
    cloud.tepui(&["snapshot", "download", "again", &copy]).ok();
    cloud.host(1).run("cmp", &[&file, &copy]).ok();

    ec2.act("terminate_instances", &reader);
    cloud.tepui(&["snapshot", "delete", "again", "--yes"]).ok();
    cloud.tepui(&["volume", "delete", &volume, "--yes"]).ok();
    cloud.assert_healthy();
    cloud.down();
}
