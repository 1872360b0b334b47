//! A compute host with one guest, whose disks are opened by a stock client in the host's own network.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tepui_core::Cloud;
use tepui_types::agent::{
    DiskObserved, DiskPart, DiskSpec, DiskState, IoLimits, NodePart, PartBody, PlacementObserved,
    PlacementPart, PlacementState, PollRequest, Report, VolumeSource, iscsi_account, iscsi_initiator,
};
use tepui_types::{Epoch, ExportId, InstanceId, NodeId, PlacementId, VolumeId};

use crate::host::observed;
use crate::support::call;
use crate::support::client::{Client, Opener};
use crate::support::lab::Initiator;
use crate::support::nfs::{NfsClient, OWN};

/// A host's way to a disk, with what it was given for one attachment.
#[derive(Clone)]
pub(crate) struct Way {
    network: String,
    to: To,
}

#[derive(Clone)]
enum To {
    Iscsi(Initiator),
    Nfs(NfsClient),
}

impl Opener for Way {
    fn qemu_io(&self) -> Command {
        let there = match &self.to {
            To::Iscsi(initiator) => initiator.qemu_io(),
            To::Nfs(client) => client.qemu_io(),
        };
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.network));
        command.arg(there.get_program()).args(there.get_args());
        command
    }
}

/// A disk that the guest has.
pub(crate) struct Disk {
    pub(crate) volume: VolumeId,
    pub(crate) client: Client,
    pub(crate) way: Way,
    /// The guest was told of so many.
    bytes: u64,
    /// A write was sent and not answered.
    pub(crate) writes: bool,
}

/// The host, whose agent is the test.
pub(crate) struct Compute {
    pub(crate) id: NodeId,
    pub(crate) instance: InstanceId,
    placement: PlacementId,
    network: String,
    secrets: PathBuf,
    sequence: u64,
    pub(crate) disks: BTreeMap<ExportId, Disk>,
    /// Disks that the guest does not let go of.
    pub(crate) held: BTreeSet<VolumeId>,
    /// They were not let go of, and their attachments are over for the control plane.
    pub(crate) kept: Vec<Disk>,
    /// Ways that must lead nowhere any more.
    pub(crate) ended: Vec<Way>,
    reported: Vec<DiskObserved>,
}

/// Makes the network of a compute host, which reaches the storage hosts, and returns its name.
pub(crate) fn network(number: u8) -> String {
    let name = format!("guests{number}");
    let ip = |words: &str| drop(call(Command::new("ip").args(words.split(' '))));
    ip(&format!("netns add {name}"));
    ip(&format!("link add port{number} type veth peer name eth0 netns {name}"));
    ip(&format!("address add 10.99.{number}.1/24 dev port{number}"));
    ip(&format!("link set port{number} up"));
    ip(&format!("-n {name} link set lo up"));
    ip(&format!("-n {name} address add 10.99.{number}.2/24 dev eth0"));
    ip(&format!("-n {name} link set eth0 up"));
    ip(&format!("-n {name} route add {OWN} via 10.99.{number}.1"));
    name
}

impl Compute {
    pub(crate) fn new(
        id: NodeId,
        (instance, placement): (InstanceId, PlacementId),
        network: String,
        secrets: &Path,
    ) -> Self {
        Self {
            id,
            instance,
            placement,
            network,
            secrets: secrets.to_owned(),
            sequence: 0,
            disks: BTreeMap::new(),
            held: BTreeSet::new(),
            kept: Vec::new(),
            ended: Vec::new(),
            reported: Vec::new(),
        }
    }

    /// The disk that the guest has of a volume, as far as nothing is under way on it.
    pub(crate) fn idle(&mut self, volume: VolumeId) -> Option<&mut Disk> {
        self.disks.values_mut().find(|disk| disk.volume == volume && !disk.writes)
    }

    /// Polls, does what is wanted of its guest's disks, and says so; whether that was news.
    pub(crate) async fn round(&mut self, cloud: &Cloud) -> bool {
        let part = self.poll(cloud).await;
        let wanted = part.placements.into_iter().find(|one| one.id == self.placement).unwrap();
        let PlacementPart::Present(spec) = wanted.wanted else { panic!("its guest is to go") };
        let named: BTreeSet<ExportId> = spec.disks.iter().map(|disk| disk.export_id).collect();
        let mut seen = Vec::new();
        for wanted in &spec.disks {
            let export_id = wanted.export_id;
            let (state, bytes) = match &wanted.wanted {
                DiskPart::Awaited => continue,
                DiskPart::Attached(spec) => (self.attach(export_id, wanted.volume_id, spec), spec.size_bytes),
                DiskPart::Absent => (self.detach(export_id), 0),
            };
            seen.push(DiskObserved { export_id, state, size_bytes: bytes, limits: IoLimits::NONE });
        }
        for (_, disk) in self.disks.extract_if(.., |export, _| !named.contains(export)) {
            self.ended.push(disk.way.clone());
            self.kept.push(disk);
        }
        self.report(cloud, &seen).await;
        let news = self.reported != seen;
        self.reported = seen;
        news
    }

    async fn poll(&self, cloud: &Cloud) -> NodePart {
        let request =
            PollRequest { epoch: Epoch(1), agent_run: 1, have: Vec::new(), reported: 0, wait_ms: 0 };
        let reply = cloud.poll(self.id, request).await.unwrap().owned();
        let node = reply.parts.into_iter().find_map(|part| match part.body {
            PartBody::Node(node) => Some(node),
            PartBody::Vpc(_) | PartBody::Storage(_) | PartBody::Absent => None,
        });
        node.unwrap()
    }

    async fn report(&mut self, cloud: &Cloud, disks: &[DiskObserved]) {
        let state = PlacementState::Running { start_seq: 1, reboot_seq: 0 };
        let placement = PlacementObserved {
            id: self.placement,
            state,
            wanted: true,
            disks: disks.to_vec(),
            freeze: None,
        };
        self.sequence += 1;
        let mut observed = observed(None);
        observed.placements.push(placement);
        let report = Report { epoch: Epoch(1), agent_run: 1, sequence: self.sequence, observed };
        cloud.report(self.id, report).await.unwrap();
    }

    fn attach(&mut self, export: ExportId, volume: VolumeId, spec: &DiskSpec) -> DiskState {
        if !self.disks.contains_key(&export) {
            let way = Way { network: self.network.clone(), to: self.way(export, spec) };
            let mut client = way.connect();
            client.send("read 0 4k");
            // What serves it may be away at this moment.
            if !client.is_done(Duration::from_secs(5)) {
                return DiskState::Failed { message: "it cannot be opened".into() };
            }
            let disk = Disk { volume, client, way, bytes: spec.size_bytes, writes: false };
            self.disks.insert(export, disk);
        }
        if let Some(disk) = self.disks.get_mut(&export).filter(|disk| disk.bytes < spec.size_bytes) {
            // As a guest's QEMU is told.
            disk.client.send(&format!("truncate {}", spec.size_bytes));
            disk.bytes = spec.size_bytes;
        }
        DiskState::Attached
    }

    fn way(&self, export: ExportId, spec: &DiskSpec) -> To {
        match &spec.source {
            VolumeSource::Iscsi { portal, target, lun: 1 } => {
                let secret = self.secrets.join(format!("secret-{export}"));
                std::fs::write(&secret, spec.secret.as_deref().unwrap()).unwrap();
                To::Iscsi(Initiator {
                    portal: (*portal).into(),
                    target: target.clone(),
                    account: Some(iscsi_account(export)),
                    initiator: iscsi_initiator(export),
                    secret,
                })
            }
            VolumeSource::Nfs { server: OWN, path, uid, .. } => {
                To::Nfs(NfsClient { path: path.into(), user: *uid })
            }
            other => panic!("{other:?}"),
        }
    }

    fn detach(&mut self, export: ExportId) -> DiskState {
        if let Some(disk) = self.disks.get(&export)
            && self.held.contains(&disk.volume)
        {
            return DiskState::Detaching;
        }
        if let Some(disk) = self.disks.remove(&export) {
            self.ended.push(disk.way);
        }
        DiskState::Absent
    }
}
