//! One guest through its whole life, driven by the AWS CLI on real libvirt.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;
use tepui_tests::{Cloud, Footprint, Hypervisor, until};

const WORDS: &str = "words of the user's own";

#[test]
fn an_ec2_client_takes_a_guest_through_its_life_and_nothing_is_left() {
    let before = Footprint::take();
    let cloud = Cloud::start(Hypervisor::Libvirt, 1);
    cloud.import("tiny", "root");
    let id = launch(&cloud);

    let instance = cloud.wait_state(&id, "running", 60);
    let console = cloud.wait_console(&id, "tepui-tiny: ready", 120);
    assert!(console.contains(WORDS), "{console}");
    security_group_rules_have_effect_on_packets(&cloud, &instance);

    attributes_read_back(&cloud, &id);
    cloud.reboot(&id, 150);

    cloud.ec2(&["stop-instances", "--instance-ids", &id]);
    cloud.wait_state(&id, "stopped", 150);
    cloud.ec2(&["start-instances", "--instance-ids", &id]);
    let restarted = cloud.wait_state(&id, "running", 60);
    assert_eq!(restarted["PrivateIpAddress"], instance["PrivateIpAddress"]);
    cloud.assert_healthy();

    cloud.ec2(&["terminate-instances", "--instance-ids", &id]);
    cloud.wait_state(&id, "terminated", 150);
    cloud.assert_healthy();
    cloud.down();
    assert_eq!(Footprint::take(), before);
}

fn launch(cloud: &Cloud) -> String {
    let script = format!("#!/bin/sh\necho \"{WORDS}\"\n");
    let image = cloud.image_id("tiny");
    let arguments = [
        "run-instances",
        "--image-id",
        &image,
        "--instance-type",
        "t3.nano",
        "--user-data",
        &script,
        "--client-token",
        "life-1",
        "--tag-specifications",
        "ResourceType=instance,Tags=[{Key=Name,Value=life}]",
    ];
    let first = cloud.ec2(&arguments);
    let id = first["Instances"][0]["InstanceId"].as_str().unwrap_or_default().to_owned();
    assert!(id.starts_with("i-"), "{first}");
    let again = cloud.ec2(&arguments);
    assert_eq!(again["ReservationId"], first["ReservationId"]);
    let mut other = arguments;
    other[4] = "t3.micro";
    assert!(cloud.ec2_refused(&other).contains("IdempotentParameterMismatch"));
    id
}

fn security_group_rules_have_effect_on_packets(cloud: &Cloud, instance: &Value) {
    let group = instance["SecurityGroups"][0]["GroupId"].as_str().unwrap_or_default();
    let address = instance["PublicIpAddress"].as_str().unwrap_or_default();
    assert!(!answers(address), "closed by default");
    let rule = ["--group-id", group, "--protocol", "tcp", "--port", "80", "--cidr", "0.0.0.0/0"];
    cloud.ec2(&[&["authorize-security-group-ingress"], &rule[..]].concat());
    until("port 80 answers once it is allowed", 30, || answers(address).then_some(()));
    cloud.ec2(&[&["revoke-security-group-ingress"], &rule[..]].concat());
    until("port 80 is closed again", 30, || (!answers(address)).then_some(()));
}

fn answers(address: &str) -> bool {
    let Ok(address) = format!("{address}:80").parse::<SocketAddr>() else { return false };
    TcpStream::connect_timeout(&address, Duration::from_secs(2)).is_ok()
}

fn attributes_read_back(cloud: &Cloud, id: &str) {
    cloud.ec2(&["modify-instance-attribute", "--instance-id", id, "--disable-api-termination"]);
    let refused = cloud.ec2_refused(&["terminate-instances", "--instance-ids", id]);
    assert!(refused.contains("OperationNotPermitted"), "{refused}");
    cloud.ec2(&["modify-instance-attribute", "--instance-id", id, "--no-disable-api-termination"]);
    let query = ["describe-instance-attribute", "--instance-id", id, "--attribute"];
    let reply = cloud.ec2(&[&query[..], &["disableApiTermination"]].concat());
    assert_eq!(reply["DisableApiTermination"]["Value"], false);
    let dry = cloud.ec2_refused(&["stop-instances", "--instance-ids", id, "--dry-run"]);
    assert!(dry.contains("DryRunOperation"), "{dry}");
}
