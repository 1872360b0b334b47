//! The same on real libvirt: each operation on one guest, with a death of the control plane after its commit
//! and one of the agent in the middle of its work.

use std::time::Duration;

use tepui_core::failpoint::STEPS;
use tepui_tests::{Cloud, Daemon, Ec2Session, Hypervisor, QEMU, Reply, kill, until};

use crate::agent::points;
use crate::scene::run_parameters;
use crate::verb::Verb;

const AGENT: &str = "tepui-node-1";

#[test]
fn an_operation_on_a_real_guest_is_finished_although_control_plane_and_agent_die_in_its_middle() {
    let mut cloud = Cloud::start(Hypervisor::Libvirt, 1);
    cloud.import("tiny", "root");
    let mut ec2 = Ec2Session::start(&cloud, Duration::from_secs(30));
    let run = run_parameters(&cloud.image_id("tiny"), "real");
    let mut id = String::new();
    for verb in [Verb::Run, Verb::Reboot, Verb::ForceStop, Verb::Start, Verb::Stop, Verb::Terminate] {
        let parameters = if verb == Verb::Run { run.clone() } else { verb.parameters(&id) };
        cloud.kill(Daemon::Api);
        cloud.up_armed(committed(verb));
        let lost = ec2.call(verb.call(), &parameters);
        assert!(matches!(lost, Reply::Lost(_)), "{verb:?}: {lost:?}");
        dies(&cloud, "tepui-api", committed(verb));
        kill(cloud.pid(AGENT));
        cloud.up_armed(&middle(verb));
        let answer = ec2.call(verb.call(), &parameters).answer();
        if verb == Verb::Run {
            answer["Instances"][0]["InstanceId"].as_str().unwrap_or_default().clone_into(&mut id);
        }
        dies(&cloud, AGENT, &middle(verb));
        cloud.up();
        cloud.wait_state(&id, verb.state(), 150);
        let guests = usize::from(verb.state() == "running");
        until(&format!("{verb:?}: the host has {guests} guests"), 30, || {
            (cloud.host(1).processes(QEMU).len() == guests).then_some(())
        });
        match verb {
            // Only a guest that is up hears its power button.
            Verb::Run => drop(cloud.wait_console(&id, "tepui-tiny: ready", 120)),
            Verb::Reboot => drop(cloud.wait_console(&id, "tepui-tiny: boot 2", 120)),
            Verb::ForceStop | Verb::Start | Verb::Stop | Verb::Terminate => {}
        }
        cloud.assert_healthy();
    }
    cloud.down();
}

#[track_caller]
fn dies(cloud: &Cloud, daemon: &str, point: &str) {
    until(&format!("{daemon} dies at {point}"), 60, || cloud.has_ended(daemon).then_some(()));
}

/// The point after the call's commit.
fn committed(verb: Verb) -> &'static str {
    let steps = STEPS.iter().find(|(name, _)| *name == verb.steps_in_core());
    steps.and_then(|(_, steps)| steps.get(1)).copied().unwrap_or_default()
}

/// The point in the middle of what the agent does first.
fn middle(verb: Verb) -> String {
    let points = points(verb);
    points.get(points.len() / 2).cloned().unwrap_or_default()
}
