//! What lists look like in each form, against golden files.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use serde_json::json;
use tepui_cli::output::{Format, Json, Shown, list, show};
use tepui_types::rest::{Image, Instance, Node};

fn instances() -> Vec<Instance> {
    let web = json!({
        "id": "i-0123456789abcdef0", "name": "web", "state": "running", "state_reason": null,
        "state_since": "2026-11-22T04:19:00Z", "health": "ok", "observed": "running",
        "reservation_id": "r-0123456789abcdef0", "image_id": "ami-0123456789abcdef0",
        "image_name": "debian-12", "login_user": "debian", "instance_type": "t3.micro", "vcpus": 2,
        "memory_mib": 1024, "key_name": "tepui-default", "private_ip": "172.31.0.4",
        "public_ip": "198.18.0.7", "interface_id": "eni-0123456789abcdef0",
        "group_ids": ["sg-0123456789abcdef0"], "vpc_id": "vpc-0123456789abcdef0",
        "subnet_id": "subnet-0123456789abcdef0", "boots_from_volume": false, "root_volume_id": "vol-0123456789abcdef0",
        "root_gib": 10, "placement_id": "p-0123456789abcdef0", "node_id": null,
        "shutdown_behavior": "stop", "disable_api_termination": false, "disable_api_stop": false,
        "tags": {"Name": "web", "team": "blue"}, "launched_at": "2026-11-22T04:18:58Z"
    });
    let mut lost = web.clone();
    for (field, value) in [
        ("id", json!("i-0fedcba9876543210")),
        ("name", json!(null)),
        ("health", json!("unknown")),
        ("image_name", json!(null)),
        ("public_ip", json!(null)),
    ] {
        lost[field] = value;
    }
    [web, lost].map(|value| serde_json::from_value(value).unwrap()).into()
}

fn nodes() -> Vec<Node> {
    let node = |name: &str, state: &str, schedulable: bool, impaired: Option<&str>| {
        let size = |vcpus| json!({"vcpus": vcpus, "memory_mib": 4096, "disk_gib": 100});
        serde_json::from_value(json!({
            "id": "node-0123456789abcdef0", "name": name, "state": state,
            "state_since": "2026-11-22T04:19:00Z", "schedulable": schedulable, "impaired": impaired,
            "underlay_address": "10.213.0.11", "capacity": size(8), "used": size(2),
            "agent_version": "0.1.0", "created_at": "2026-11-22T04:00:00Z"
        }))
        .unwrap()
    };
    vec![
        node("node-1", "up", true, None),
        node("node-2", "up", false, None),
        node("node-3", "up", true, Some("libvirtd is away")),
        node("node-4", "unreachable", true, None),
        node("node-5", "expunged", false, None),
    ]
}

fn images() -> Vec<Image> {
    let image = |name: &str, bytes: u64| {
        serde_json::from_value(json!({
            "id": "ami-0123456789abcdef0", "project_id": "123456789012", "name": name,
            "description": "", "digest": "0".repeat(64), "size_bytes": bytes, "login_user": "debian",
            "public": true, "created_at": "2026-11-22T04:19:00Z"
        }))
        .unwrap()
    };
    vec![image("tiny", 20 << 20), image("debian-12", 5 << 29)]
}

fn golden<T: Shown>(name: &str, rows: &[T]) {
    let forms = [
        ("table", Format::Table { width: Some(120) }),
        ("tabs", Format::Tabs),
        ("ids", Format::Ids),
        ("json", Format::Json(Json::default())),
    ];
    for (form, format) in &forms {
        insta::assert_snapshot!(format!("{name}_{form}"), list(format, rows).unwrap());
    }
    insta::assert_snapshot!(format!("{name}_show"), show(&forms[0].1, &rows[0]).unwrap());
}

#[test]
fn lists_look_as_they_did() {
    golden("instances", &instances());
    golden("nodes", &nodes());
    golden("images", &images());
}
