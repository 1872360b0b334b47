//! Each operation is cut off at each of its steps, and repeated: what is durable stays, nothing is
//! done twice. One test, because the points are the process's.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "the helpers of a test stop at the first surprise, as the tests do"
)]

use std::collections::BTreeSet;

use tepui_core::failpoint::STEPS;

#[path = "cloud/harness.rs"]
#[expect(dead_code, reason = "the other test binary uses the rest")]
mod harness;

use harness::{Harness, Host, placement_of, running};
use tepui_core::{Error, Reservation, RunInstances};
use tepui_db::model::InstanceState;
use tepui_types::InstanceId;
use tepui_types::agent::{OffReason, PlacementState};
use tepui_types::failpoint::{self, Effect};

struct Scene {
    t: Harness,
    host: Host,
    made: Reservation,
    id: InstanceId,
}

impl Scene {
    async fn new() -> Self {
        let t = Harness::new().await;
        let host = t.host(1).await;
        let made = t.run_one(&t.admin).await;
        let id = made.instances[0].record.instance.id;
        host.report(vec![(placement_of(&made), running(1))]).await;
        Self { t, host, made, id }
    }

    async fn stop(&self) {
        self.t.cloud.stop_instances(&self.t.admin, &[self.id], false).await.unwrap();
        let off = PlacementState::Off { start_seq: 1, reason: OffReason::Requested };
        self.host.report(vec![(placement_of(&self.made), off)]).await;
    }

    async fn state(&self) -> InstanceState {
        self.t.cloud.instance(&self.t.admin, self.id).await.unwrap().record.instance.state
    }

    /// Carries an operation out, once.
    async fn act(&self, operation: &str) -> Result<(), Error> {
        let (cloud, admin, ids) = (&self.t.cloud, &self.t.admin, &[self.id]);
        match operation {
            "run" => {
                let image = self.made.instances[0].record.instance.image_id;
                let request =
                    RunInstances { client_token: Some("t".into()), ..RunInstances::new(image, "t3.nano") };
                cloud.run_instances(admin, request).await.map(drop)
            }
            "start" => cloud.start_instances(admin, ids).await.map(drop),
            "stop" => cloud.stop_instances(admin, ids, false).await.map(drop),
            "reboot" => cloud.reboot_instances(admin, ids).await,
            "terminate" => cloud.terminate_instances(admin, ids).await.map(drop),
            "report" => {
                let off = PlacementState::Off { start_seq: 1, reason: OffReason::Guest };
                let observed = self.host.observed(vec![(placement_of(&self.made), off)]);
                let epoch = tepui_types::Epoch(1);
                let report = tepui_types::agent::Report { epoch, agent_run: 1, sequence: 1000, observed };
                cloud.report(self.host.id, report).await.map(drop)
            }
            other => panic!("the operation {other} is not acted out here"),
        }
    }

    /// Whether the operation is done, exactly once.
    async fn assert_done(&self, operation: &str, step: &str) {
        let count = self.t.cloud.describe_instances(&self.t.admin, &[]).await.unwrap().len();
        let expected = match operation {
            "run" => (2, InstanceState::Running),
            "start" => (1, InstanceState::Pending),
            "stop" => (1, InstanceState::Stopping),
            "reboot" => (1, InstanceState::Running),
            "terminate" => (1, InstanceState::ShuttingDown),
            "report" => (1, InstanceState::Stopped),
            other => panic!("the operation {other} is not checked here"),
        };
        assert_eq!((count, self.state().await), expected, "{operation} cut off at {step}");
        let resets = u64::from(operation == "reboot");
        let view = self.t.cloud.instance(&self.t.admin, self.id).await.unwrap();
        assert_eq!(
            view.record.instance.reboot_seq, resets,
            "{operation} cut off at {step} resets the guest once"
        );
    }
}

#[tokio::test]
async fn every_operation_cut_off_at_every_step_is_done_once_after_a_repeat() {
    // While any point is armed, every one that is passed is noted.
    failpoint::arm("test::watch", Effect::Error);
    for (operation, steps) in STEPS {
        for step in *steps {
            let scene = Scene::new().await;
            if *operation == "start" {
                scene.stop().await;
            }
            failpoint::arm(step, Effect::Error);
            let cut = scene.act(operation).await;
            failpoint::disarm(step);
            assert!(cut.is_err(), "{operation} has no fail point {step}");
            scene.act(operation).await.unwrap();
            scene.assert_done(operation, step).await;
        }
    }
    let listed: BTreeSet<_> = STEPS.iter().flat_map(|(_, steps)| *steps).map(ToString::to_string).collect();
    assert_eq!(failpoint::passed(), listed, "a step that the list does not name");
}
