//! The room of a deleted volume, on a real host: it is kept until an operator reclaims it.

use std::time::Duration;

use serde_json::json;
use tepui_tests::{Cloud, Ec2Session, Hypervisor, until};

const PATIENCE: u64 = 60;

#[test]
fn a_deleted_volume_lies_in_its_pool_until_an_operator_reclaims_it() {
    let cloud = Cloud::start(Hypervisor::Libvirt, 1);
    let mut ec2 = Ec2Session::start(&cloud, Duration::from_secs(60));
    let host = cloud.host(1);
    cloud.make_pool(&host);
    let volume = ec2.make_volume();
    let trash = host.run_dir().join("pool/fast/trash").display().to_string();
    let lies_there =
        || host.run("find", &[&trash, "-mindepth", "1", "-maxdepth", "1"]).ok().contains(&volume);
    ec2.call("delete_volume", &json!({ "VolumeId": volume })).answer();
    let leftovers = || cloud.tepui_json(&["pool", "reclaim", "fast"]);
    until("it is in quarantine", PATIENCE, || (leftovers()[0]["state"] == "quarantined").then_some(()));
    assert_eq!(leftovers()[0]["id"], volume.as_str());
    assert!(lies_there());

    let told = cloud.tepui(&["pool", "reclaim", "fast", "--now", "--dry-run"]);
    assert!(told.stderr.contains(&format!("unlinks: volume {volume}")), "{told:?}");
    assert_eq!(leftovers()[0]["state"], "quarantined", "a dry run does nothing");
    cloud.tepui(&["pool", "reclaim", "fast", "--now", "--yes"]).ok();
    until("it is unlinked", PATIENCE, || leftovers().as_array().is_some_and(Vec::is_empty).then_some(()));
    assert!(!lies_there());
    cloud.assert_healthy();
    cloud.down();
}
