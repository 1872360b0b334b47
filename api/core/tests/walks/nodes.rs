//! From every state of a node, drained and not, with a guest on it.

use tepui_core::{Error, RunInstances};
use tepui_db::NodeDb as _;
use tepui_db::model::{InstanceState, NodeEvent, NodeRequest, NodeState};
use tepui_types::agent::{EnrolRequest, NodeCapacity, PollRequest, Report};
use tepui_types::{Epoch, ImageId, InstanceId, NodeId, PlacementId};
use uuid::Uuid;

use super::harness::{Harness, Host, running};
use super::{ONE_AT_A_TIME, Way, cut_off};

/// Longer than a node may be silent.
const SILENCE: i64 = 91;

#[derive(Debug, Clone, Copy)]
enum Act {
    Ask(NodeRequest, Way),
    /// The host joins anew, with a new token.
    Join(Way),
    ControlDies,
    Falls(NodeEvent),
    PollReplyLost,
    HostReboots,
}

impl Act {
    fn all() -> Vec<Self> {
        let asked = NodeRequest::ALL.iter().flat_map(|request| {
            let operation = match request {
                NodeRequest::Drain | NodeRequest::Undrain => "drain",
                NodeRequest::Expunge => "expunge",
            };
            Way::all(operation).into_iter().map(|way| Self::Ask(*request, way))
        });
        asked
            .chain(Way::all("enrol").into_iter().map(Self::Join))
            .chain(NodeEvent::ALL.iter().map(|event| Self::Falls(*event)))
            .chain([Self::ControlDies, Self::PollReplyLost, Self::HostReboots])
            .collect()
    }
}

/// One host, as it should be.
struct World {
    t: Harness,
    image: ImageId,
    host: Host,
    machine: u128,
    /// The node that the host is.
    node: NodeId,
    state: NodeState,
    schedulable: bool,
    guest: Option<(InstanceId, PlacementId)>,
    instances: Vec<InstanceId>,
    sequence: u64,
}

#[tokio::test]
async fn from_every_state_of_a_node_everything_ends_at_rest_and_it_can_be_given_up() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let mut t = Harness::new().await;
    let image = t.image(&t.admin, "i").await;
    let mut machine = 0;
    for state in NodeState::ALL {
        for schedulable in [true, false] {
            for act in Act::all() {
                machine += 1;
                println!("{state:?}, schedulable: {schedulable}, {act:?}");
                let mut world = World::new(t, image, machine).await;
                world.set(*state, schedulable).await;
                world.happens(act).await;
                world.rests().await;
                world.is_given_up().await;
                t = world.t;
            }
        }
    }
}

impl World {
    async fn new(t: Harness, image: ImageId, machine: u128) -> Self {
        let host = t.host(machine).await;
        let run = RunInstances::new(image, "t3.nano");
        let made = t.cloud.run_instances(&t.admin, run).await.unwrap();
        let record = &made.instances[0].record;
        let guest = (record.instance.id, record.placement.as_ref().unwrap().id);
        let (node, state) = (host.id, NodeState::Up);
        let mut world = Self {
            t,
            image,
            host,
            machine,
            node,
            state,
            schedulable: true,
            guest: Some(guest),
            instances: vec![guest.0],
            sequence: 0,
        };
        world.certified().await;
        world.speaks("boot").await;
        world
    }

    async fn set(&mut self, state: NodeState, schedulable: bool) {
        if !schedulable {
            self.asked(NodeRequest::Drain).await;
        }
        match state {
            NodeState::Up => {}
            NodeState::Unreachable => self.falls(NodeEvent::Silence).await,
            NodeState::Expunged => {
                self.falls(NodeEvent::Silence).await;
                self.asked(NodeRequest::Expunge).await;
            }
        }
        self.assert_state().await;
    }

    async fn happens(&mut self, act: Act) {
        match act {
            Act::Ask(request, Way::Answered) => self.asked(request).await,
            Act::Ask(request, Way::AnswerLost) => {
                self.asked(request).await;
                self.asked(request).await;
            }
            Act::Ask(request, Way::KilledAt(point)) => {
                let came = cut_off(point, self.ask(request)).await;
                assert_eq!(came, self.state.asked(request).is_some(), "{request:?} at {point}");
                self.t.cloud = self.t.restarted();
                if request == NodeRequest::Expunge && point != "core::expunge::checked" && came {
                    self.given_up();
                }
                self.asked(request).await;
            }
            Act::Join(way) => self.joins(way).await,
            Act::ControlDies => self.t.cloud = self.t.restarted(),
            Act::Falls(event) => self.falls(event).await,
            Act::PollReplyLost => {
                self.polls().await;
                self.falls(NodeEvent::SignOfLife).await;
            }
            Act::HostReboots => {
                self.speaks("another boot").await;
                self.falls(NodeEvent::SignOfLife).await;
            }
        }
        self.assert_state().await;
    }

    async fn ask(&self, request: NodeRequest) -> Result<(), Error> {
        let (cloud, admin) = (&self.t.cloud, &self.t.admin);
        match request {
            NodeRequest::Drain => cloud.set_schedulable(admin, self.node, false).await,
            NodeRequest::Undrain => cloud.set_schedulable(admin, self.node, true).await,
            NodeRequest::Expunge => cloud.expunge_node(admin, self.node).await.map(drop),
        }
    }

    /// The operator is answered as the table says.
    async fn asked(&mut self, request: NodeRequest) {
        let answer = self.ask(request).await;
        match self.state.asked(request) {
            Some(_) => answer.unwrap(),
            None => assert!(matches!(answer, Err(Error::WrongState { .. })), "{request:?}: {answer:?}"),
        }
        match (self.state.asked(request), request) {
            (None, _) => {}
            (Some(_), NodeRequest::Drain) => self.schedulable = false,
            (Some(_), NodeRequest::Undrain) => self.schedulable = true,
            (Some(_), NodeRequest::Expunge) => self.given_up(),
        }
        self.assert_state().await;
    }

    fn given_up(&mut self) {
        self.state = NodeState::Expunged;
        self.guest = None;
    }

    async fn falls(&mut self, event: NodeEvent) {
        match event {
            NodeEvent::Silence => self.t.clock.advance(SILENCE),
            NodeEvent::SignOfLife => self.speaks("boot").await,
        }
        self.t.cloud.reconcile_once().await;
        self.state = self.state.after(event).unwrap_or(self.state);
    }

    /// What a host does whose certificate is worth something.
    async fn speaks(&mut self, boot: &str) {
        if !self.polls().await {
            return;
        }
        let guests = self.guest.iter().map(|(_, placement)| (*placement, running(1)));
        let mut observed = self.host.observed(guests.collect());
        boot.clone_into(&mut observed.boot_id);
        self.sequence += 1;
        let report = Report { epoch: Epoch(1), agent_run: 1, sequence: self.sequence, observed };
        self.t.cloud.report(self.node, report).await.unwrap();
    }

    /// Whether it may: a host that was given up is not heard.
    async fn polls(&self) -> bool {
        let is_known = self.t.cloud.confirm_certificate(self.node, &self.certificate()).await.unwrap();
        assert_eq!(is_known, self.state != NodeState::Expunged, "its certificate");
        if is_known {
            let request =
                PollRequest { epoch: Epoch(1), agent_run: 1, have: Vec::new(), reported: 0, wait_ms: 0 };
            self.t.cloud.poll(self.node, request).await.unwrap();
        }
        is_known
    }

    fn certificate(&self) -> [u8; 32] {
        [u8::try_from(self.machine % 251).unwrap(); 32]
    }

    async fn certified(&self) {
        self.t.cloud.bind_certificate(self.node, &self.certificate()).await.unwrap();
        assert!(self.t.cloud.confirm_certificate(self.node, &self.certificate()).await.unwrap());
    }

    async fn joins(&mut self, way: Way) {
        let token = self.t.cloud.create_join_token(&self.t.admin).await.unwrap().secret;
        let request = EnrolRequest {
            token,
            machine_uuid: Uuid::from_u128(self.machine),
            name: format!("node-{}", self.machine),
            csr_pem: String::new(),
            underlay_address: [10, 0, 0, u8::try_from(self.machine % 250).unwrap()].into(),
            capacity: NodeCapacity { vcpus: 16, memory_mib: 65_536, disk_gib: 1000 },
        };
        let joined = async |t: &Harness, certificate: [u8; 32]| {
            let node = t.cloud.enrol(&request, "req-enrol").await?;
            t.cloud.bind_certificate(node, &certificate).await?;
            Ok::<_, Error>(node)
        };
        match way {
            Way::Answered => {}
            Way::AnswerLost => drop(joined(&self.t, self.certificate()).await.unwrap()),
            Way::KilledAt(point) => {
                assert!(cut_off(point, joined(&self.t, self.certificate())).await, "{point}");
                self.t.cloud = self.t.restarted();
            }
        }
        let node = joined(&self.t, self.certificate()).await.unwrap();
        let was_given_up = self.state == NodeState::Expunged;
        assert_eq!(node != self.node, was_given_up, "only a host that was given up is a new node");
        if was_given_up {
            (self.node, self.state, self.schedulable) = (node, NodeState::Up, true);
        }
        self.falls(NodeEvent::SignOfLife).await;
    }

    async fn assert_state(&self) {
        let node = self.t.cloud.node(&self.t.admin, self.node).await.unwrap().load.node;
        assert_eq!((node.state, node.schedulable), (self.state, self.schedulable));
    }

    /// Once it is heard it is up, nothing is wrong, and it takes guests unless it is drained.
    async fn rests(&mut self) {
        if self.state == NodeState::Expunged {
            self.speaks("boot").await;
        } else {
            self.falls(NodeEvent::SignOfLife).await;
            assert_eq!(self.state, NodeState::Up);
        }
        self.assert_state().await;
        let findings = self.t.cloud.doctor(&self.t.admin).await.unwrap();
        assert!(findings.is_empty(), "{findings:?}");
        let run = RunInstances::new(self.image, "t3.nano");
        let launched = self.t.cloud.run_instances(&self.t.admin, run).await;
        let is_open = self.state == NodeState::Up && self.schedulable;
        assert_eq!(launched.is_ok(), is_open, "it takes guests: {:?}", launched.err());
        self.instances.extend(launched.iter().flat_map(|made| &made.instances).map(|v| v.record.instance.id));
    }

    /// It is given up, and nothing of it is left but its row.
    async fn is_given_up(&mut self) {
        self.falls(NodeEvent::Silence).await;
        self.asked(NodeRequest::Expunge).await;
        assert!(!self.polls().await);
        for id in &self.instances {
            let instance = self.t.cloud.instance(&self.t.admin, *id).await.unwrap();
            assert_eq!(instance.record.instance.state, InstanceState::Terminated);
            assert!(instance.record.placement.is_none() && instance.record.interface.is_none());
        }
        for load in self.t.db.nodes().await.unwrap() {
            assert_eq!(load.node.state, NodeState::Expunged);
            assert_eq!((load.used_vcpus, load.used_memory_mib, load.used_disk_gib), (0, 0, 0));
        }
        assert!(self.t.cloud.doctor(&self.t.admin).await.unwrap().is_empty());
    }
}
