//! Each operation is cut off at each of its steps, and repeated twice: what is durable stays, nothing
//! is done twice. One test, because the points are the process's.

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
use tepui_core::{
    Error, ImportRequest, ImportedImage, NameOrId, NewJoinToken, NewRule, Reservation, RunInstances,
};
use tepui_db::TokenUse;
use tepui_db::model::{ImportState, InstanceState, RulePeer};
use tepui_types::agent::{
    Direction, EnrolRequest, NodeCapacity, OffReason, PlacementState, PortRange, Protocol,
};
use tepui_types::failpoint::{self, Effect};
use tepui_types::{Digest, InstanceId};
use uuid::Uuid;

struct Scene {
    t: Harness,
    host: Host,
    made: Reservation,
    id: InstanceId,
    join: NewJoinToken,
}

impl Scene {
    async fn new() -> Self {
        let t = Harness::new().await;
        let host = t.host(1).await;
        let made = t.run_one(&t.admin).await;
        let id = made.instances[0].record.instance.id;
        host.report(vec![(placement_of(&made), running(1))]).await;
        let join = t.cloud.create_join_token(&t.admin).await.unwrap();
        Self { t, host, made, id, join }
    }

    async fn stop(&self) {
        self.t.cloud.stop_instances(&self.t.admin, &[self.id], false).await.unwrap();
        let off = PlacementState::Off { start_seq: 1, reason: OffReason::Requested };
        self.host.report(vec![(placement_of(&self.made), off)]).await;
    }

    /// What must be so before the operation.
    async fn prepare(&self, operation: &str) {
        match operation {
            "start" => self.stop().await,
            "expunge" => {
                self.t.clock.advance(3600);
                self.t.cloud.reconcile_once().await;
            }
            _ => {}
        }
    }

    /// An import by a client that repeats what was not answered, and the server's half of it.
    async fn import(&self) -> Result<(), Error> {
        let (cloud, admin) = (&self.t.cloud, &self.t.admin);
        let request = ImportRequest {
            name: Some("imported".into()),
            description: String::new(),
            source: "s".into(),
            public: false,
            tags: [].into(),
            token: Some(TokenUse { token: "t".into(), parameters_sha256: [1; 32] }),
        };
        let task = cloud.begin_import(admin, request).await?.task;
        if task.state == ImportState::Active {
            let imported = ImportedImage {
                digest: Digest::of(b"i"),
                size_bytes: 1 << 30,
                login_user: "debian".into(),
                public: false,
            };
            cloud.complete_import(admin, task.id, imported).await?;
        }
        Ok(())
    }

    async fn enrol(&self) -> Result<(), Error> {
        let request = EnrolRequest {
            token: self.join.secret.clone(),
            machine_uuid: Uuid::from_u128(77),
            name: "node-77".into(),
            csr_pem: String::new(),
            underlay_address: [10, 0, 0, 77].into(),
            capacity: NodeCapacity { vcpus: 1, memory_mib: 1024, disk_gib: 10 },
        };
        let node = self.t.cloud.enrol(&request, "r").await?;
        self.t.cloud.bind_certificate(node, &[9; 32]).await
    }

    /// A rule, by a client that takes a duplicate for done.
    async fn authorize(&self) -> Result<(), Error> {
        let rule = NewRule {
            protocol: Protocol::Tcp(PortRange { from: 22, to: 22 }),
            peer: RulePeer::Cidr("0.0.0.0/0".parse().unwrap()),
            description: None,
        };
        let group = NameOrId::Name("default".into());
        match self.t.cloud.authorize(&self.t.admin, &group, Direction::Ingress, vec![rule]).await {
            Ok(_) | Err(Error::DuplicateRule { .. }) => Ok(()),
            Err(error) => Err(error),
        }
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
            "rules" => self.authorize().await,
            "import" => self.import().await,
            "enrol" => self.enrol().await,
            "drain" => cloud.set_schedulable(admin, self.host.id, false).await,
            "expunge" => cloud.expunge_node(admin, self.host.id).await.map(drop),
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
            "rules" | "import" | "enrol" | "drain" => (1, InstanceState::Running),
            "expunge" => (1, InstanceState::Terminated),
            "start" => (1, InstanceState::Pending),
            "stop" => (1, InstanceState::Stopping),
            "reboot" => (1, InstanceState::Running),
            "terminate" => (1, InstanceState::ShuttingDown),
            "report" => (1, InstanceState::Stopped),
            other => panic!("the operation {other} is not checked here"),
        };
        assert_eq!((count, self.state().await), expected, "{operation} cut off at {step}");
        let (cloud, admin) = (&self.t.cloud, &self.t.admin);
        let found = (
            cloud.security_group(admin, &NameOrId::Name("default".into())).await.unwrap().rules.len(),
            cloud.images(admin).await.unwrap().len(),
            cloud.nodes(admin).await.unwrap().len(),
            cloud.nodes(admin).await.unwrap().iter().filter(|view| view.load.node.schedulable).count(),
        );
        let made = |what: &str| usize::from(operation == what);
        let nodes = 1 + made("enrol");
        let open = nodes - made("drain");
        assert_eq!(
            found,
            (2 + made("rules"), 1 + made("import"), nodes, open),
            "{operation} cut off at {step}: rules, images, nodes, and those that take guests"
        );
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
            scene.prepare(operation).await;
            failpoint::arm(step, Effect::Error);
            let cut = scene.act(operation).await;
            failpoint::disarm(step);
            assert!(cut.is_err(), "{operation} has no fail point {step}");
            for _ in 0..2 {
                scene.act(operation).await.unwrap();
                scene.assert_done(operation, step).await;
            }
        }
    }
    let listed: BTreeSet<_> = STEPS.iter().flat_map(|(_, steps)| *steps).map(ToString::to_string).collect();
    assert_eq!(failpoint::passed(), listed, "a step that the list does not name");
}
