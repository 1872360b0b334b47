//! Operations that are not an instance's: the control plane dies at each of their steps, and the client
//! repeats what was not answered.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};
use tepui_core::failpoint::STEPS;
use tepui_tests::{Cloud, Daemon, Ec2Session, Hypervisor, Reply, image, until};

use crate::scene::run_parameters;

pub(crate) fn steps(operation: &str) -> &'static [&'static str] {
    STEPS.iter().find(|(name, _)| *name == operation).map_or(&[], |(_, steps)| steps)
}

#[test]
fn a_rule_whose_control_plane_dies_at_any_step_is_there_once_when_it_is_repeated() {
    let mut cloud = Cloud::start(Hypervisor::Simulated, 1);
    let mut ec2 = Ec2Session::start(&cloud, Duration::from_secs(30));
    for (port, point) in (1..).zip(steps("rules")) {
        let rule = json!({ "IpProtocol": "tcp", "FromPort": port, "ToPort": port,
                           "IpRanges": [{ "CidrIp": "10.0.0.0/8" }] });
        let parameters = json!({ "GroupName": "default", "IpPermissions": [rule] });
        let armed = cloud.start_armed(Daemon::Api, point);
        let cut = ec2.call("authorize_security_group_ingress", &parameters);
        assert!(matches!(cut, Reply::Lost(_)), "{point}: {cut:?}");
        armed.assert_died(10);
        cloud.up();
        match ec2.call("authorize_security_group_ingress", &parameters) {
            Reply::Answer(_) => {}
            Reply::Refused(code) => assert_eq!(code, "InvalidPermission.Duplicate", "{point}"),
            Reply::Lost(why) => unreachable!("{point}: {why}"),
        }
        assert_eq!(rules_of(&mut ec2, port), 1, "{point}");
    }
    cloud.assert_healthy();
    cloud.down();
}

fn rules_of(ec2: &mut Ec2Session, port: u64) -> usize {
    let all = ec2.call("describe_security_group_rules", &json!({})).answer();
    let rules = all["SecurityGroupRules"].as_array().cloned().unwrap_or_default();
    rules.iter().filter(|rule| rule["FromPort"] == port).count()
}

#[test]
fn an_import_whose_control_plane_dies_at_any_step_leaves_nothing_and_can_be_repeated() {
    let mut cloud = Cloud::start(Hypervisor::Simulated, 1);
    let file = image("tiny");
    let file = file.to_string_lossy();
    for (number, point) in steps("import").iter().enumerate() {
        let name = format!("image-{number}");
        let import = ["image", "import", &*file, "--name", &name, "--login-user", "root"];
        let armed = cloud.start_armed(Daemon::Api, point);
        cloud.tepui(&import).refused();
        armed.assert_died(10);
        cloud.up();
        let again = cloud.tepui(&import);
        let taken = again.code != Some(0) && again.stderr.contains("exists");
        assert!(again.code == Some(0) || taken, "{point}: {}", again.stderr);
        until(&format!("{name} is there, once"), 30, || {
            let images = cloud.ec2(&["describe-images", "--filters", &format!("Name=name,Values={name}")]);
            (images["Images"].as_array().map(Vec::len) == Some(1)).then_some(())
        });
        let tasks = cloud.tepui(&["api", "GET", "/v1/import-tasks"]).ok();
        assert!(!tasks.contains("\"active\""), "{point}: {tasks}");
    }
    assert_eq!(left(&cloud, "downloads"), 0);
    cloud.assert_healthy();
    cloud.down();
}

#[test]
fn tags_and_attributes_are_as_asked_although_the_control_plane_dies_at_any_step() {
    let mut cloud = Cloud::start(Hypervisor::Simulated, 1);
    cloud.import("tiny", "root");
    let mut ec2 = Ec2Session::start(&cloud, Duration::from_secs(30));
    let made = ec2.call("run_instances", &run_parameters(&cloud.image_id("tiny"), "one")).answer();
    let id = &made["Instances"][0]["InstanceId"];
    for point in steps("tags") {
        let tag = json!({ "Resources": [id], "Tags": [{ "Key": point, "Value": "v" }] });
        cut_off_and_repeated(&mut cloud, &mut ec2, point, ("create_tags", &tag));
    }
    let tags = ec2.call("describe_tags", &json!({})).answer();
    assert_eq!(tags["Tags"].as_array().map(Vec::len), Some(steps("tags").len()), "{tags}");
    let asked = json!({ "InstanceId": id, "Attribute": "disableApiStop" });
    for (point, on) in steps("attribute").iter().zip([true, false].into_iter().cycle()) {
        let change = json!({ "InstanceId": id, "DisableApiStop": { "Value": on } });
        cut_off_and_repeated(&mut cloud, &mut ec2, point, ("modify_instance_attribute", &change));
        let found = ec2.call("describe_instance_attribute", &asked).answer();
        assert_eq!(found["DisableApiStop"]["Value"], on, "{point}");
    }
    cloud.assert_healthy();
    cloud.down();
}

fn cut_off_and_repeated(
    cloud: &mut Cloud,
    ec2: &mut Ec2Session,
    point: &str,
    (call, parameters): (&str, &Value),
) {
    let armed = cloud.start_armed(Daemon::Api, point);
    let cut = ec2.call(call, parameters);
    assert!(matches!(cut, Reply::Lost(_)), "{point}: {cut:?}");
    armed.assert_died(10);
    cloud.up();
    ec2.call(call, parameters).answer();
}

/// Files in a folder of the control plane.
fn left(cloud: &Cloud, folder: &str) -> usize {
    fs::read_dir(cloud.cloud_folder().join("api").join(folder)).into_iter().flatten().count()
}

/// The steps of every operation in core are died at here, in `hosts.rs`, `volumes.rs` or `api.rs`, or are cut off in
/// core's own test alone.
#[test]
fn no_other_operation_is_left_out() {
    let here = ["rules", "import", "tags", "attribute", "enrol", "drain", "expunge"];
    let of_volumes = ["pool", "volume", "attach_volume", "detach_volume", "snapshot", "move", "storage_news"];
    // The second time of a schedule is a minute away at least, an end an hour, and that of a grace a day; the guest of
    // these tests has no guest agent, and never holds still; a move goes on with its hosts' word, before its reconciler looks.
    let in_core_alone =
        ["adopt", "schedule", "volume_end", "reclaim", "unlink", "freeze", "expire_freezes", "moves"];
    let of_instances = crate::api::walked();
    let elsewhere = |name: &str| of_volumes.contains(&name) || in_core_alone.contains(&name);
    let named = |name: &str| here.contains(&name) || elsewhere(name) || of_instances.contains(name);
    let left_out: Vec<Value> =
        STEPS.iter().filter(|(name, _)| !named(name)).map(|step| json!(step.0)).collect();
    assert!(left_out.is_empty(), "{left_out:?}");
}
