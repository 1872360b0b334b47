//! Three real hosts on one machine: where guests are placed, and what they hear of each other.
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails the test; clippy sees only test functions as tests"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};
use tepui_tests::{Cloud, Ec2Session, Host, Hypervisor, Reply, ask};

#[test]
fn guests_spread_and_pack_over_real_hosts_meet_their_vpc_and_nobody_elses() {
    let cloud = Cloud::start(Hypervisor::Libvirt, 3);
    cloud.import("tiny", "root");
    let mut one = Project::new(&cloud, "one");
    let mut two = Project::new(&cloud, "two");

    // The target and its friend are on hosts of their own by rule; the stranger has the friend's address.
    let target = one.launch("apart", "172.31.0.20", "#!/bin/sh\ntrue\n");
    one.ec2.wait_console(&target, "tepui-tiny: ready", 120);
    let friend = one.launch("apart", "172.31.0.10", &ask("172.31.0.20"));
    let stranger = two.launch("apart", "172.31.0.10", &ask("172.31.0.20"));
    let heard = one.ec2.wait_console(&friend, "neighbour says:", 120);
    assert!(heard.contains(&target), "the friend reaches {target} on another host: {heard}");
    let heard = two.ec2.wait_console(&stranger, "neighbour says:", 120);
    assert!(heard.contains("neighbour says: []"), "the stranger hears nothing: {heard}");

    let apart = [one.host_of(&target), one.host_of(&friend), two.host_of(&stranger)];
    assert_ne!(apart[0], apart[1], "members of one spread group");
    assert_eq!(BTreeSet::from(apart).len(), 3, "and the emptiest host came first: {apart:?}");

    // A third member finds the third host, a fourth none.
    let third = one.launch("apart", "172.31.0.30", "");
    assert_eq!(one.host_of(&third), apart[2]);
    let fourth = one.ec2.call("run_instances", &one.parameters("apart", "172.31.0.40", ""));
    assert_eq!(fourth, Reply::Refused("InsufficientInstanceCapacity".into()));

    let together = [two.launch("together", "172.31.0.50", ""), two.launch("together", "172.31.0.51", "")];
    assert_eq!(two.host_of(&together[0]), two.host_of(&together[1]), "members of one cluster group");

    cloud.assert_healthy();
    cloud.down();
}

/// A project with a client, and a placement group of each kind.
struct Project {
    ec2: Ec2Session,
    image: String,
    hosts: Vec<Host>,
}

impl Project {
    fn new(cloud: &Cloud, name: &str) -> Self {
        let mut ec2 = Ec2Session::start_as(&user(cloud, name), Duration::from_secs(60));
        for (group, strategy) in [("apart", "spread"), ("together", "cluster")] {
            let parameters = json!({ "GroupName": group, "Strategy": strategy });
            ec2.call("create_placement_group", &parameters).answer();
        }
        let groups = ec2.call("describe_security_groups", &json!({})).answer();
        let from_all = json!([{ "CidrIp": "172.31.0.0/16" }]);
        let web = json!({
            "GroupId": groups["SecurityGroups"][0]["GroupId"],
            "IpPermissions": [{ "IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "IpRanges": from_all }],
        });
        ec2.call("authorize_security_group_ingress", &web).answer();
        Self { ec2, image: cloud.image_id("tiny"), hosts: (1..=3).map(|number| cloud.host(number)).collect() }
    }

    fn parameters(&self, group: &str, address: &str, script: &str) -> Value {
        json!({
            "ImageId": self.image, "InstanceType": "t2.nano", "MinCount": 1, "MaxCount": 1,
            "PrivateIpAddress": address, "UserData": script, "Placement": { "GroupName": group },
        })
    }

    /// Launches a guest and waits until it runs.
    fn launch(&mut self, group: &str, address: &str, script: &str) -> String {
        let parameters = self.parameters(group, address, script);
        let [id] = self.ec2.launch(&self.image, 1, parameters).try_into().unwrap();
        self.ec2.wait_state(std::slice::from_ref(&id), "running", 60);
        id
    }

    /// The number of the one host that has a process of the guest.
    fn host_of(&mut self, id: &str) -> u16 {
        let instance = &self.ec2.wait_state(&[id.to_owned()], "running", 60)[0];
        let guests = self.hosts.iter().map(|host| (host.number(), host.guests_of(instance).len()));
        let found: BTreeMap<u16, usize> = guests.filter(|(_, count)| *count > 0).collect();
        assert!(found.len() == 1 && found.values().all(|count| *count == 1), "{id} runs once: {found:?}");
        found.into_keys().next().unwrap_or_default()
    }
}

/// The variables of a normal user of a project of its own.
fn user(cloud: &Cloud, name: &str) -> BTreeMap<String, String> {
    cloud.tepui(&["project", "create", name]).ok();
    cloud.tepui(&["user", "create", name]).ok();
    let key = cloud.tepui_json(&["key", "create", "--user", name, "--project", name]);
    let field = |pointer: &str| key.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    cloud.variables_of(&field("/access_key/id"), &field("/secret_access_key"))
}
