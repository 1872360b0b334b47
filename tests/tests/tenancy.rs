//! Two projects have the same address ranges, and their guests cannot see each other.

use std::collections::BTreeMap;

use serde_json::Value;
use tepui_tests::{Cloud, Hypervisor, ask};

#[test]
fn projects_with_equal_ranges_cannot_see_each_other() {
    let cloud = Cloud::start(Hypervisor::Libvirt, 1);
    cloud.import("tiny", "root");
    let first = cloud.make_project("first");
    let second = cloud.make_project("second");
    for who in [&first, &second] {
        let groups = cloud.ec2_as(who, &["describe-security-groups"]);
        let group = groups["SecurityGroups"][0]["GroupId"].as_str().unwrap_or_default().to_owned();
        let rule = ["--group-id", &group, "--protocol", "tcp", "--port", "80", "--cidr", "172.31.0.0/16"];
        cloud.ec2_as(who, &[&["authorize-security-group-ingress"], &rule[..]].concat());
    }

    // Only the first project has a guest at .20; both have one at .10 that asks .20.
    let target = run(&cloud, &first, "172.31.0.20", "#!/bin/sh\ntrue\n");
    cloud.wait_console_as(&first, &target, "tepui-tiny: ready", 150);
    let friend = run(&cloud, &first, "172.31.0.10", &ask("172.31.0.20"));
    let stranger = run(&cloud, &second, "172.31.0.10", &ask("172.31.0.20"));

    let heard = cloud.wait_console_as(&first, &friend, "neighbour says:", 150);
    assert!(heard.contains(&target), "the friend reaches {target}: {heard}");
    let heard = cloud.wait_console_as(&second, &stranger, "neighbour says:", 150);
    assert!(heard.contains("neighbour says: []"), "the stranger hears nothing: {heard}");

    let refused = cloud.aws(&second, "ec2", &["describe-instances", "--instance-ids", &target]).refused();
    assert!(refused.contains("InvalidInstanceID.NotFound"), "{refused}");
    let refused = cloud.aws(&second, "ec2", &["terminate-instances", "--instance-ids", &target]).refused();
    assert!(refused.contains("InvalidInstanceID.NotFound"), "{refused}");
    cloud.assert_healthy();
    cloud.down();
}

fn run(cloud: &Cloud, who: &BTreeMap<String, String>, address: &str, script: &str) -> String {
    let images = cloud.ec2_as(who, &["describe-images", "--filters", "Name=name,Values=tiny"]);
    let image = images["Images"][0]["ImageId"].as_str().unwrap_or_default();
    let arguments = [
        "run-instances",
        "--image-id",
        image,
        "--instance-type",
        "t3.nano",
        "--private-ip-address",
        address,
        "--user-data",
        script,
    ];
    let reply: Value = cloud.ec2_as(who, &arguments);
    reply["Instances"][0]["InstanceId"].as_str().unwrap_or_default().to_owned()
}
