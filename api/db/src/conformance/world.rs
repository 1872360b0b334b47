//! A small cloud to try verbs on.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ipnet::Ipv4Net;
use jiff::Timestamp;
use tepui_types::agent::{NodeCapacity, PartKey, ScratchDisks};
use tepui_types::{
    Digest, Generation, ImageId, ImportTaskId, InstanceId, MacAddress, NetworkInterfaceId, NodeId,
    PlacementId, ProjectId, ReservationId, SecurityGroupId, SubnetId, UserId, VolumeId, VpcId,
};
use uuid::Uuid;

use crate::model::{
    DefaultNetwork, Image, ImageState, ImportState, ImportTask, Instance, InstanceRecord, InstanceState,
    JoinToken, MetadataSettings, Project, Quota, RootVolume, SecurityGroup, ShutdownBehavior, Subnet, Vpc,
};
use crate::{
    CreateOutcome, Db, EnrolOutcome, InstanceFilter, Launch, LaunchInstance, LaunchNames, LaunchOutcome,
    LaunchParents, NewInterface, NewNode, NewPlace, PowerChange, PowerOutcome, StartRequest, Transition,
};

/// What a node of the tests offers.
pub const CAPACITY: NodeCapacity = NodeCapacity { vcpus: 8, memory_mib: 8192, disk_gib: 100 };

/// When join tokens of the tests end: after all times of [`World::now`].
pub const END: Timestamp = Timestamp::constant(1_900_000_000, 0);

/// A project with its default network and an image.
#[derive(Debug, Clone, Copy)]
pub struct Tenant {
    pub project: ProjectId,
    pub vpc: VpcId,
    pub subnet: SubnetId,
    pub group: SecurityGroupId,
    pub image: ImageId,
}

/// The database with a source of ids and of time.
pub struct World {
    pub db: Arc<dyn Db>,
    counter: AtomicU64,
}

impl World {
    pub fn new(db: Arc<dyn Db>) -> Self {
        Self { db, counter: AtomicU64::new(1) }
    }

    /// Bits that no call returned before.
    pub fn bits(&self) -> u128 {
        self.counter.fetch_add(1, Ordering::Relaxed).into()
    }

    /// A time after all earlier ones.
    pub fn now(&self) -> Timestamp {
        let second = self.counter.fetch_add(1, Ordering::Relaxed);
        Timestamp::from_second(1_800_000_000 + i64::try_from(second).unwrap()).unwrap()
    }

    pub async fn tenant(&self, name: &str) -> Tenant {
        self.tenant_in(name, "172.31.0.0/20").await
    }

    pub async fn tenant_in(&self, name: &str, subnet: &str) -> Tenant {
        let tenant = Tenant {
            project: ProjectId::from_random(self.bits()),
            vpc: VpcId::from_random(self.bits()),
            subnet: SubnetId::from_random(self.bits()),
            group: SecurityGroupId::from_random(self.bits()),
            image: ImageId::from_random(self.bits()),
        };
        let created = self.db.create_project(&self.project(&tenant, name), &network(&tenant, subnet)).await;
        assert_eq!(created.unwrap(), CreateOutcome::Created);
        let image = self.image(tenant.project, tenant.image, "debian");
        assert_eq!(self.db.create_image(&image, None).await.unwrap(), CreateOutcome::Created);
        tenant
    }

    pub fn project(&self, tenant: &Tenant, name: &str) -> Project {
        let quota =
            Quota { instances: 1000, vcpus: 1000, memory_mib: 1_000_000, volumes: 5_000, volume_gib: 51_200 };
        Project { id: tenant.project, name: name.into(), quota, created_at: self.now() }
    }

    pub fn image(&self, project_id: ProjectId, id: ImageId, name: &str) -> Image {
        Image {
            id,
            project_id,
            name: name.into(),
            description: "for tests".into(),
            digest: Digest::of(name.as_bytes()),
            size_bytes: 1 << 30,
            login_user: "debian".into(),
            public: false,
            state: ImageState::Available,
            created_at: self.now(),
        }
    }

    /// An active import.
    pub fn import_task(&self, project_id: ProjectId) -> ImportTask {
        ImportTask {
            id: ImportTaskId::from_random(self.bits()),
            project_id,
            name: "imported".into(),
            description: String::new(),
            source: "disk.qcow2".into(),
            state: ImportState::Active,
            message: "reading".into(),
            progress: 0,
            image_id: None,
            created_at: self.now(),
        }
    }

    /// Enrols a node.
    pub async fn node(&self, capacity: NodeCapacity) -> NodeId {
        let bits = self.bits();
        let secret = *Digest::of(&bits.to_be_bytes()).as_bytes();
        let token = join_token(secret, END);
        self.db.create_join_token(&token).await.unwrap();
        let node = self.new_node(bits, capacity);
        let outcome = self.db.enrol_node(&secret, &node, self.now()).await.unwrap();
        assert_eq!(outcome, EnrolOutcome::Enrolled(node.id));
        node.id
    }

    pub fn new_node(&self, bits: u128, capacity: NodeCapacity) -> NewNode {
        NewNode {
            may_move: true,
            id: NodeId::from_random(bits),
            machine_uuid: Uuid::from_u128(bits),
            name: format!("node-{bits}"),
            underlay_address: Ipv4Addr::from_bits(0x0a00_0000 + u32::try_from(bits).unwrap()),
            capacity,
        }
    }

    /// One instance to be: 1 vCPU, 512 MiB, 8 GiB.
    pub fn instance(&self, tenant: &Tenant, node_id: NodeId) -> LaunchInstance {
        let interface = NewInterface {
            id: NetworkInterfaceId::from_random(self.bits()),
            mac: MacAddress::from_random(self.bits()),
            private_ip: None,
            public_ip: false,
            group_ids: vec![tenant.group],
        };
        let root_volume = RootVolume {
            id: VolumeId::from_random(self.bits()),
            size_gib: 8,
            device: "/dev/sda1".into(),
            delete_on_termination: true,
            created_at: self.now(),
        };
        let placement_id = PlacementId::from_random(self.bits());
        let (instance, root_volume, volumes) = (self.row(tenant), Some(root_volume), Vec::new());
        LaunchInstance { instance, placement_id, node_id, interface, root_volume, volumes }
    }

    fn row(&self, tenant: &Tenant) -> Instance {
        let now = self.now();
        Instance {
            id: InstanceId::from_random(self.bits()),
            project_id: tenant.project,
            reservation_id: ReservationId::from_random(self.bits()),
            launch_index: 0,
            image_id: tenant.image,
            image_digest: Digest::of(b"debian"),
            image_bytes: 1 << 30,
            instance_type: "t3.micro".into(),
            vcpus: 1,
            memory_mib: 512,
            key_name: None,
            public_key: Some("ssh-ed25519 AAAA".into()),
            user_data: Some(b"#!/bin/sh".to_vec()),
            vpc_id: tenant.vpc,
            subnet_id: tenant.subnet,
            placement_group_id: None,
            volume_root: false,
            scratch: ScratchDisks::NONE,
            shutdown_behavior: ShutdownBehavior::Stop,
            disable_api_termination: false,
            disable_api_stop: false,
            metadata: MetadataSettings {
                enabled: true,
                tokens_required: true,
                hop_limit: 2,
                tags_enabled: false,
            },
            state: InstanceState::Pending,
            state_reason: None,
            state_since: now,
            start_seq: 1,
            reboot_seq: 0,
            force: false,
            launched_at: now,
        }
    }

    /// A launch of these under one reservation, without overcommit.
    pub fn launch(&self, tenant: &Tenant, mut instances: Vec<LaunchInstance>) -> Launch {
        let reservation = ReservationId::from_random(self.bits());
        for (index, new) in (0..).zip(&mut instances) {
            new.instance.reservation_id = reservation;
            new.instance.launch_index = index;
        }
        Launch {
            project_id: tenant.project,
            token: None,
            instances,
            tags: Vec::new(),
            public_pool: Some("198.18.0.0/29".parse().unwrap()),
            vcpu_overcommit: 1.0,
            memory_overcommit: 1.0,
            disk_overcommit: 1.0,
        }
    }

    /// What a launch may name of the tenant's, and nothing else.
    pub fn names(tenant: &Tenant) -> LaunchNames {
        LaunchNames { token: None, image: tenant.image, key: None, subnet: None, placement_group: None }
    }

    /// What there is of these.
    pub async fn parents(&self, tenant: &Tenant, names: LaunchNames) -> LaunchParents {
        self.db.launch_parents(tenant.project, names).await.unwrap()
    }

    /// The reservation that a token made, with its parameters' digest.
    pub async fn reservation_of(&self, tenant: &Tenant, token: &str) -> Option<(ReservationId, [u8; 32])> {
        let names = LaunchNames { token: Some(token.into()), ..Self::names(tenant) };
        self.parents(tenant, names).await.reservation
    }

    pub async fn try_launch(&self, launch: &Launch) -> LaunchOutcome {
        self.db.launch(launch.clone(), self.now()).await.unwrap()
    }

    /// Launches one instance; it is pending.
    pub async fn pending(&self, tenant: &Tenant, node: NodeId) -> InstanceId {
        self.launched(tenant, self.instance(tenant, node)).await
    }

    pub async fn launched(&self, tenant: &Tenant, new: LaunchInstance) -> InstanceId {
        let id = new.instance.id;
        let outcome = self.try_launch(&self.launch(tenant, vec![new])).await;
        assert!(matches!(outcome, LaunchOutcome::Launched(_)), "{outcome:?}");
        id
    }

    /// Launches one instance and has it observed running.
    pub async fn running(&self, tenant: &Tenant, node: NodeId) -> InstanceId {
        let id = self.pending(tenant, node).await;
        self.observe(tenant, id, InstanceState::Running).await;
        id
    }

    /// Launches, runs and stops one instance.
    pub async fn stopped(&self, tenant: &Tenant, node: NodeId) -> InstanceId {
        let id = self.running(tenant, node).await;
        self.stop(tenant, id).await;
        id
    }

    /// Stops a running instance.
    pub async fn stop(&self, tenant: &Tenant, id: InstanceId) {
        let outcome = self.power(tenant, id, PowerChange::Stop { force: false }).await;
        let change = (id, InstanceState::Running, InstanceState::Stopping);
        assert_eq!(outcome, PowerOutcome::Changed(vec![change]));
        self.observe(tenant, id, InstanceState::Stopped).await;
    }

    /// Terminates an instance and has its node confirm that nothing is left.
    pub async fn terminate(&self, tenant: &Tenant, id: InstanceId) {
        self.power(tenant, id, PowerChange::Terminate).await;
        self.observe(tenant, id, InstanceState::Terminated).await;
    }

    pub async fn power(&self, tenant: &Tenant, id: InstanceId, change: PowerChange) -> PowerOutcome {
        self.db.change_power(tenant.project, &[id], change, self.now()).await.unwrap()
    }

    pub async fn start(&self, tenant: &Tenant, id: InstanceId) -> PowerOutcome {
        self.start_in(tenant, id, Vec::new()).await
    }

    /// Starts an instance, in one of these places if it boots from a volume.
    pub async fn start_in(&self, tenant: &Tenant, id: InstanceId, places: Vec<NewPlace>) -> PowerOutcome {
        let request = StartRequest {
            project_id: tenant.project,
            ids: vec![id],
            vcpu_overcommit: 1.0,
            memory_overcommit: 1.0,
            disk_overcommit: 1.0,
            places,
        };
        self.db.start(&request, self.now()).await.unwrap()
    }

    pub async fn records(&self, tenant: &Tenant) -> Vec<Arc<InstanceRecord>> {
        self.db.instances(tenant.project, &InstanceFilter::default()).await.unwrap()
    }

    pub async fn record(&self, tenant: &Tenant, id: InstanceId) -> InstanceRecord {
        let filter = InstanceFilter { ids: vec![id], reservation: None };
        let found = self.db.instances(tenant.project, &filter).await.unwrap().pop().unwrap();
        Arc::unwrap_or_clone(found)
    }

    pub async fn state(&self, tenant: &Tenant, id: InstanceId) -> InstanceState {
        self.record(tenant, id).await.instance.state
    }

    /// Applies the transition from the present state to `to`; gone if that is `Terminated`, or `Stopped` of one that
    /// boots from a volume.
    pub async fn observe(&self, tenant: &Tenant, id: InstanceId, to: InstanceState) -> Vec<PlacementId> {
        let record = self.record(tenant, id).await;
        let Some(placement) = record.placement else { return Vec::new() };
        let parks = to == InstanceState::Stopped && record.instance.volume_root;
        let transition = Transition {
            placement_id: placement.id,
            from: record.instance.state,
            to,
            reason: record.instance.state_reason,
            observed: format!("{to:?}"),
            gone: parks || to == InstanceState::Terminated,
        };
        self.db.apply_transitions(placement.node_id, &[transition], self.now()).await.unwrap()
    }

    /// The generation of the node's part.
    pub async fn node_generation(&self, node: NodeId) -> Generation {
        let generation = self.db.node_generation(node).await.unwrap().unwrap();
        assert_eq!(self.db.node_part(node).await.unwrap().unwrap().generation, generation);
        generation
    }

    /// The generation of the VPC's part.
    pub async fn vpc_generation(&self, vpc: VpcId) -> Generation {
        self.db.vpc_part(vpc).await.unwrap().unwrap().0
    }

    /// The parts a node carries.
    pub async fn carried(&self, node: NodeId) -> Vec<PartKey> {
        let parts = self.db.part_generations(node).await.unwrap();
        parts.into_iter().map(|part| part.key).collect()
    }

    /// What is taken on a node: virtual CPUs, MiB, GiB.
    pub async fn used(&self, node: NodeId) -> (u64, u64, u64) {
        let nodes = self.db.nodes().await.unwrap();
        let load = nodes.iter().find(|load| load.node.id == node).unwrap();
        (load.used_vcpus.into(), load.used_memory_mib, load.used_disk_gib)
    }

    /// The same as sums over the node's placements, of which those for which `takes` holds take
    /// virtual CPUs and memory.
    pub async fn recomputed(
        &self,
        node: NodeId,
        mut takes: impl FnMut(&Instance) -> bool,
    ) -> (u64, u64, u64) {
        let mut sums = (0, 0, 0);
        for record in self.db.node_part(node).await.unwrap().unwrap().records {
            sums.2 += u64::from(record.root_volume.unwrap().size_gib) + record.instance.scratch.total_gib();
            if takes(&record.instance) {
                sums.0 += u64::from(record.instance.vcpus);
                sums.1 += record.instance.memory_mib;
            }
        }
        sums
    }
}

/// The default network of a tenant; the group has no rules.
pub fn network(tenant: &Tenant, subnet: &str) -> DefaultNetwork {
    let subnet: Ipv4Net = subnet.parse().unwrap();
    DefaultNetwork {
        vpc: Vpc {
            id: tenant.vpc,
            project_id: tenant.project,
            cidr: "172.31.0.0/16".parse().unwrap(),
            vni: 0,
            is_default: true,
        },
        subnet: Subnet {
            id: tenant.subnet,
            project_id: tenant.project,
            vpc_id: tenant.vpc,
            cidr: subnet,
            is_default: true,
            map_public_ip: true,
        },
        group: SecurityGroup {
            id: tenant.group,
            project_id: tenant.project,
            vpc_id: tenant.vpc,
            name: "default".into(),
            description: "default group".into(),
            rules: Vec::new(),
        },
    }
}

/// A join token that somebody made who is gone.
pub fn join_token(secret_sha256: [u8; 32], expires_at: Timestamp) -> JoinToken {
    JoinToken {
        secret_sha256,
        expires_at,
        project_id: ProjectId::from_random(1),
        user_id: UserId::from_random(2),
    }
}
