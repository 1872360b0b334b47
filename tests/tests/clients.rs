//! Mechanisms of the EC2 surface as boto3 meets them, on simulated hosts.

use std::path::Path;

use tepui_tests::{Cloud, Hypervisor, until};

#[test]
fn boto3_finds_tokens_pages_filters_and_errors_as_on_aws() {
    let cloud = Cloud::start(Hypervisor::Simulated, 4);
    cloud.import("tiny", "root");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/ec2_mechanisms.py");
    let said = cloud.python(&script, &[]).ok();
    assert!(said.ends_with("all mechanisms hold"), "{said}");
    cloud.assert_healthy();
    cloud.down();
}

/// The ways of a volume by names, each command done when it answers.
#[test]
fn the_cli_takes_a_volume_to_a_guest_and_back() {
    let cloud = Cloud::start(Hypervisor::Simulated, 2);
    cloud.import("tiny", "root");
    let nodes = cloud.tepui_json(&["node", "list"]);
    let node = nodes[0]["name"].as_str().unwrap().to_owned();
    cloud
        .tepui(&["pool", "create", "fast", "--backend", "iscsi", "--node", &node, "--path", "/srv/fast"])
        .ok();
    until("the pool can be used", 60, || {
        let pools = cloud.tepui_json(&["pool", "list"]);
        pools[0]["usage"].is_object().then_some(())
    });
    cloud.tepui(&["instance", "run", "tiny", "--name", "web"]).ok();
    let state = |volume: &str, state: &str| {
        let shown = cloud.tepui_json(&["volume", "show", volume]);
        assert_eq!(shown["state"], state, "{shown}");
        shown
    };
    cloud.tepui(&["volume", "create", "data", "--size", "2"]).ok();
    state("data", "available");
    cloud.tepui(&["volume", "attach", "data", "web"]).ok();
    let shown = state("data", "in-use");
    let place = &shown["attachments"][0];
    assert_eq!((&place["state"], &place["device"]), (&"attached".into(), &"/dev/sdf".into()));
    let used = cloud.tepui(&["volume", "delete", "data", "--yes"]).refused();
    assert!(used.contains("is in use by instance"), "a volume in use stays: {used}");
    cloud.tepui(&["snapshot", "create", "before", "--volume", "data"]).ok();
    cloud.tepui(&["volume", "create", "copy", "--snapshot", "before"]).ok();
    cloud.tepui(&["volume", "attach", "copy", "web"]).ok();
    assert_eq!(state("copy", "in-use")["attachments"][0]["device"], "/dev/sdg", "the next free one");
    for volume in ["data", "copy"] {
        cloud.tepui(&["volume", "detach", volume]).ok();
        state(volume, "available");
        cloud.tepui(&["volume", "delete", volume, "--yes"]).ok();
    }
    cloud.tepui(&["snapshot", "delete", "before", "--yes"]).ok();
    until("nothing is left", 60, || {
        let pools = cloud.tepui_json(&["pool", "list"]);
        (pools[0]["volumes"] == 0 && pools[0]["snapshots"] == 0).then_some(())
    });
    cloud.tepui(&["pool", "delete", "fast", "--yes"]).ok();
    cloud.assert_healthy();
    cloud.down();
}
