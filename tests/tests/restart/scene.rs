//! One simulated host and one client, for one death after the other.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use tepui_tests::{Cloud, Ec2Session, Hypervisor, Reply, until};

use crate::verb::Verb;

/// How long a step to the next state may take, in seconds. The agent's longest pause between two
/// attempts to reach the control plane is 15.
const PATIENCE: u64 = 40;

/// A cloud without instances, between two cases.
pub(crate) struct Scene {
    pub(crate) cloud: Cloud,
    ec2: Ec2Session,
    image: String,
    cases: u32,
}

/// One operation on one instance.
#[derive(Debug)]
pub(crate) struct Case {
    verb: Verb,
    token: String,
    /// Empty until the client knows it.
    id: String,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let cloud = Cloud::start(Hypervisor::Simulated, 1);
        cloud.import("tiny", "root");
        let ec2 = Ec2Session::start(&cloud, Duration::from_secs(30));
        let image = cloud.image_id("tiny");
        Self { cloud, ec2, image, cases: 0 }
    }

    /// An instance in the state that `verb` begins with.
    pub(crate) fn prepare(&mut self, verb: Verb) -> Case {
        self.cases += 1;
        let mut case = Case { verb, token: format!("case-{}", self.cases), id: String::new() };
        if verb == Verb::Run {
            return case;
        }
        let made = self.run(&case.token).answer();
        made["Instances"][0]["InstanceId"].as_str().unwrap_or_default().clone_into(&mut case.id);
        self.wait_state(&case.id, "running");
        if verb == Verb::Start {
            self.ec2.call("stop_instances", &Verb::ForceStop.parameters(&case.id)).answer();
            self.wait_state(&case.id, "stopped");
        }
        case
    }

    /// The client's call.
    pub(crate) fn act(&mut self, case: &Case) -> Reply {
        self.ec2.call(case.verb.call(), &self.parameters(case))
    }

    /// What the call asks for.
    pub(crate) fn parameters(&self, case: &Case) -> Value {
        match case.verb {
            Verb::Run => run_parameters(&self.image, &case.token),
            Verb::Start | Verb::Stop | Verb::ForceStop | Verb::Reboot | Verb::Terminate => {
                case.verb.parameters(&case.id)
            }
        }
    }

    fn run(&mut self, token: &str) -> Reply {
        let parameters = run_parameters(&self.image, token);
        self.ec2.call("run_instances", &parameters)
    }

    /// Everything is as after an operation that nothing disturbed; then the instance is terminated.
    pub(crate) fn assert_done(&mut self, mut case: Case, point: &str) {
        eprintln!("{:?} after a death at {point}", case.verb);
        if case.verb == Verb::Run {
            let again = self.act(&case).answer();
            again["Instances"][0]["InstanceId"].as_str().unwrap_or_default().clone_into(&mut case.id);
        }
        self.wait_state(&case.id, case.verb.state());
        if case.verb != Verb::Terminate {
            assert_eq!(self.live(), [case.id.as_str()], "{point}");
            self.assert_guest(&case, point);
        }
        self.cloud.assert_healthy();
        self.clean(&case.id);
    }

    /// The host has one guest, which was started and reset as often as was asked.
    fn assert_guest(&self, case: &Case, point: &str) {
        let (starts, resets) = until("the host has one guest, as wanted", PATIENCE, || {
            let domains: Vec<Value> = self.domains().into_values().collect();
            let [domain] = domains.as_slice() else { return None };
            let resets = domain["resets"].as_u64().unwrap_or_default();
            let is_on = domain["off"].is_null();
            let is_reset = case.verb != Verb::Reboot || resets > 0;
            let is_wanted = is_on == (case.verb.state() == "running") && is_reset;
            is_wanted.then(|| (domain["starts"].as_u64().unwrap_or_default(), resets))
        });
        assert_eq!(starts, case.verb.starts(), "{point}: starts");
        // A reset that was not yet noted, or was asked for again, may be done again.
        assert!(resets <= if case.verb == Verb::Reboot { 2 } else { 0 }, "{point}: {resets} resets");
    }

    fn clean(&mut self, id: &str) {
        self.ec2.call("terminate_instances", &Verb::Terminate.parameters(id)).answer();
        self.wait_state(id, "terminated");
        assert!(self.domains().is_empty(), "a guest is left");
        let disks = fs::read_dir(self.host().join("disks")).into_iter().flatten().count();
        assert_eq!(disks, 0, "a disk is left");
    }

    fn host(&self) -> PathBuf {
        self.cloud.cloud_folder().join("sim/node-0")
    }

    fn domains(&self) -> BTreeMap<String, Value> {
        let file = fs::read(self.host().join("domains.json")).unwrap_or_default();
        serde_json::from_slice(&file).unwrap_or_default()
    }

    fn wait_state(&mut self, id: &str, state: &str) {
        let mut last = Value::Null;
        until(&format!("{id} is {state}"), PATIENCE, || {
            let reply = self.ec2.call("describe_instances", &json!({ "InstanceIds": [id] }));
            let Reply::Answer(answer) = reply else { return None };
            last = answer["Reservations"][0]["Instances"][0]["State"]["Name"].clone();
            (last == state).then_some(())
        });
    }

    /// The instances that are not terminated.
    fn live(&mut self) -> Vec<String> {
        live(&self.ec2.call("describe_instances", &json!({})).answer())
    }
}

/// The ids of a description's instances that are not terminated.
pub(crate) fn live(description: &Value) -> Vec<String> {
    let reservations = description["Reservations"].as_array().into_iter().flatten();
    let instances = reservations.flat_map(|reservation| reservation["Instances"].as_array()).flatten();
    instances
        .filter(|instance| instance["State"]["Name"] != "terminated")
        .filter_map(|instance| instance["InstanceId"].as_str().map(str::to_owned))
        .collect()
}

/// One small instance.
pub(crate) fn run_parameters(image: &str, token: &str) -> Value {
    json!({ "ImageId": image, "InstanceType": "t3.nano", "MinCount": 1, "MaxCount": 1, "ClientToken": token })
}
