//! Hosts that join, are drained and are given up: the control plane dies at each step, and the call is
//! repeated.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use serde_json::{Value, json};
use tepui_tests::{Cloud, Daemon, Hypervisor, binary, until};

use crate::operations::steps;

#[test]
fn a_host_joins_once_is_drained_and_given_up_although_the_control_plane_dies_at_any_step() {
    let mut cloud = Cloud::start(Hypervisor::Simulated, 1);
    cloud.import("tiny", "root");
    let hosts: Vec<_> =
        (1..).zip(steps("enrol")).map(|(number, point)| join(&mut cloud, number, point)).collect();
    for point in steps("drain") {
        drain(&mut cloud, "sim-0", point);
    }
    let instances = run_one_on_each(&cloud, hosts.len() + 1);
    // Nobody works for those that joined; a node is not given up before it was silent for 90 s.
    until("the new hosts are unreachable", 150, || {
        hosts.iter().all(|host| state(&cloud, host) == ["unreachable"]).then_some(())
    });
    for (host, point) in hosts.iter().zip(steps("expunge")) {
        give_up(&mut cloud, host, point);
    }
    let states = ended(&cloud, &instances);
    assert_eq!(states, BTreeSet::from([("running".into(), 1), ("terminated".into(), hosts.len())]));
    cloud.assert_healthy();
    cloud.down();
}

/// A host of its own whose control plane dies at `point` while it joins; its name.
fn join(cloud: &mut Cloud, number: u8, point: &str) -> String {
    let name = format!("new-{number}");
    let folder = cloud.scratch().join(&name);
    let config = [
        format!("api_url = 'https://{}'", cloud.agents_address()),
        format!("data_dir = '{}'", folder.join("data").display()),
        format!("run_dir = '{}'", folder.join("run").display()),
        format!("name = '{name}'"),
        format!("underlay_address = '10.193.0.{number}'"),
        "uplink = 'none'".to_owned(),
        "hypervisor = { kind = 'simulated' }".to_owned(),
    ];
    let file = cloud.scratch().join(format!("{name}.toml"));
    assert!(fs::write(&file, config.join("\n")).is_ok(), "{}", file.display());
    let token = cloud.tepui(&["node", "join-token"]).ok();
    let joins = || {
        let mut command = Command::new(binary("tepui-node"));
        command.arg("--config").arg(&file).args(["join", &token]).output()
    };
    let has_joined = |answer: &std::io::Result<std::process::Output>| {
        answer.as_ref().is_ok_and(|output| output.status.success())
    };
    let armed = cloud.start_armed(Daemon::Api, point);
    let cut = joins();
    assert!(!has_joined(&cut), "{point}: {cut:?}");
    armed.assert_died(10);
    cloud.up();
    let again = joins();
    assert!(has_joined(&again), "{point}: {again:?}");
    assert_eq!(state(cloud, &name), ["up"], "{point}");
    name
}

fn drain(cloud: &mut Cloud, host: &str, point: &str) {
    let armed = cloud.start_armed(Daemon::Api, point);
    cloud.tepui(&["node", "drain", host]).refused();
    armed.assert_died(10);
    cloud.up();
    cloud.tepui(&["node", "drain", host]).ok();
    let is_open = || cloud.tepui_json(&["node", "show", host])["schedulable"].clone();
    assert_eq!(is_open(), false, "{point}");
    cloud.tepui(&["node", "undrain", host]).ok();
    assert_eq!(is_open(), true, "{point}");
}

fn give_up(cloud: &mut Cloud, host: &str, point: &str) {
    // By its id: a node that was given up has no name any more that a command would find it by.
    let id = of(cloud, host).remove(0)["id"].as_str().unwrap_or_default().to_owned();
    let armed = cloud.start_armed(Daemon::Api, point);
    cloud.tepui(&["node", "expunge", &id, "--yes"]).refused();
    armed.assert_died(10);
    cloud.up();
    cloud.tepui(&["node", "expunge", &id, "--yes"]).ok();
    assert_eq!(state(cloud, host), ["expunged"], "{point}");
}

/// One instance on each of `count` hosts.
fn run_one_on_each(cloud: &Cloud, count: usize) -> Vec<Value> {
    cloud.ec2(&["create-placement-group", "--group-name", "apart", "--strategy", "spread"]);
    let (image, count) = (cloud.image_id("tiny"), count.to_string());
    let run = ["run-instances", "--instance-type", "t3.nano", "--placement", "GroupName=apart"];
    let made = cloud.ec2(&[&run[..], &["--image-id", &image, "--count", &count]].concat());
    made["Instances"].as_array().cloned().unwrap_or_default()
}

/// How many of these instances are in which state.
fn ended(cloud: &Cloud, instances: &[Value]) -> BTreeSet<(String, usize)> {
    let states: Vec<_> = instances
        .iter()
        .filter_map(|instance| instance["InstanceId"].as_str())
        .map(|id| cloud.ec2(&["describe-instances", "--instance-ids", id]))
        .map(|found| found["Reservations"][0]["Instances"][0]["State"]["Name"].clone())
        .collect();
    let count = |state: &Value| states.iter().filter(|other| *other == state).count();
    states.iter().map(|state| (state.as_str().unwrap_or_default().to_owned(), count(state))).collect()
}

/// The nodes of this name.
fn of(cloud: &Cloud, host: &str) -> Vec<Value> {
    let nodes = cloud.tepui_json(&["node", "list"]);
    let all = nodes.as_array().cloned().unwrap_or_default();
    all.into_iter().filter(|node| node["name"] == *host).collect()
}

/// Their states.
fn state(cloud: &Cloud, host: &str) -> Vec<Value> {
    of(cloud, host).into_iter().map(|node| json!(node["state"])).collect()
}
