//! A storage host: its agent's ledger and keeper, which die and start anew, and the servers of its volumes, which are real.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tepui_agent::images::{CacheLimits, ImageCache};
use tepui_agent::ledger::{Ledger, Seal};
use tepui_agent::storage::{LocalPools, PoolSettings, StorageKeeper};
use tepui_core::{Cloud, Error};
use tepui_storage::iscsi;
use tepui_types::agent::{
    ExportPart, ExportState, NodeCapacity, NodeObserved, NodeUsage, PollRequest, PoolBackend, PoolState,
    Report, SnapshotPart, StorageObserved, StoragePart, StoredState, VolumePart,
};
use tepui_types::{NodeId, PoolId, Timestamp, failpoint};

use crate::support::lab::{free_port, guard, tgtd};
use crate::support::nfs::{self, OWN, here, kill};
use crate::wire::{FarContents, NoImages, Wire};

pub(crate) const CAPACITY: NodeCapacity = NodeCapacity { vcpus: 16, memory_mib: 65_536, disk_gib: 1000 };

/// What outlives agents.
pub(crate) struct StorageHost {
    pub(crate) id: NodeId,
    wire: Arc<Wire>,
    dir: PathBuf,
    settings: PoolSettings,
    agent: Agent,
    runs: u64,
    /// What this process of the agent said last, and before that.
    said: Option<Report>,
    late: Option<Report>,
    guards: Mutex<Guards>,
}

/// End servers also when the test's process is killed.
#[derive(Default)]
struct Guards {
    of: Vec<(i32, Child)>,
    /// The pools that were served when it was looked for servers last.
    served: BTreeSet<PoolId>,
}

/// One process of the agent.
struct Agent {
    keeper: Arc<StorageKeeper>,
    ledger: Ledger,
    sequence: u64,
    reported: Option<StorageObserved>,
}

impl StorageHost {
    /// A host that keeps its agent's ledger, and what its servers have, in this folder.
    pub(crate) fn new(id: NodeId, dir: &Path, wire: &Arc<Wire>) -> Self {
        std::fs::create_dir_all(dir).unwrap();
        let portal = SocketAddr::new(OWN.into(), free_port().port());
        let mut iscsi = iscsi::Settings::new(dir.join("run"), portal);
        (iscsi.ping_seconds, iscsi.lost_pings) = (3, 2);
        let settings = PoolSettings { iscsi, nfs: nfs::settings() };
        let agent = agent(id, dir, &settings, wire);
        Self {
            id,
            wire: Arc::clone(wire),
            dir: dir.to_owned(),
            settings,
            agent,
            runs: 1,
            said: None,
            late: None,
            guards: Mutex::default(),
        }
    }

    /// The agent dies, and starts again with what its ledger says.
    pub(crate) fn restart(&mut self) {
        self.agent = agent(self.id, &self.dir, &self.settings, &self.wire);
        self.runs += 1;
        // Its connections are gone, with what was on them.
        (self.said, self.late) = (None, None);
    }

    /// Takes what is news for it; whether anything was.
    pub(crate) async fn poll(&mut self, cloud: &Cloud) -> bool {
        let request = PollRequest {
            epoch: self.agent.ledger.epoch(),
            agent_run: self.runs,
            have: self.agent.ledger.have(),
            reported: 0,
            wait_ms: 0,
        };
        let reply = cloud.poll(self.id, request).await.unwrap().owned();
        for order in &reply.wanted_sendings {
            self.wire.send(self.id, &self.agent.keeper, *order).await;
        }
        let taken = self.agent.ledger.take(self.id, reply.epoch, reply.parts).unwrap();
        assert_eq!(taken.refused, []);
        taken.changed || !reply.wanted_sendings.is_empty()
    }

    /// What is wanted of its pools.
    pub(crate) fn part(&self) -> Arc<StoragePart> {
        self.agent.ledger.wanted().storage.unwrap_or_default()
    }

    /// Makes its pools so.
    pub(crate) async fn apply(&self) {
        self.agent.keeper.apply(&self.part()).await;
        self.guard();
    }

    /// The same, until it dies at a fail point; whether it came to that.
    pub(crate) async fn apply_until(&mut self, point: &str) -> bool {
        failpoint::arm(point, failpoint::Effect::Error);
        self.apply().await;
        // What is copied is copied beside all else.
        self.arrived().await;
        let has_died = failpoint::trips(point) > 0;
        failpoint::disarm(point);
        if has_died {
            self.restart();
        }
        has_died
    }

    /// Waits a moment for what is copied, and for the end of what serves.
    pub(crate) async fn arrived(&self) {
        let news = async {
            tokio::select! {
                () = self.agent.keeper.arrived() => {}
                () = self.agent.keeper.ended() => {}
            }
        };
        let _ = tokio::time::timeout(Duration::from_millis(50), news).await;
    }

    /// What it sees that is not as wanted.
    pub(crate) fn troubles(&self) -> Vec<String> {
        let Some(seen) = self.agent.keeper.seen() else { return vec!["it has not looked".into()] };
        let is_failed = |state: &StoredState| matches!(state, StoredState::Failed { .. });
        let pools = seen.pools.iter().filter(|pool| matches!(pool.state, PoolState::Failed { .. }));
        let volumes = seen.volumes.iter().filter(|volume| is_failed(&volume.state));
        let snapshots = seen.snapshots.iter().filter(|snapshot| is_failed(&snapshot.state));
        let exports = seen.exports.iter().filter(|one| matches!(one.state, ExportState::Failed { .. }));
        let told = pools.map(|one| format!("{one:?}")).chain(volumes.map(|one| format!("{one:?}")));
        let told = told.chain(snapshots.map(|one| format!("{one:?}")));
        told.chain(exports.map(|one| format!("{one:?}"))).collect()
    }

    /// Says what it sees; whether that was news.
    pub(crate) async fn report(&mut self, cloud: &Cloud) -> Result<bool, Error> {
        let Some(seen) = self.agent.keeper.seen() else { return Ok(false) };
        let news = self.agent.reported.as_ref() != Some(&seen);
        self.agent.sequence += 1;
        let report = Report {
            epoch: self.agent.ledger.epoch(),
            agent_run: self.runs,
            sequence: self.agent.sequence,
            observed: observed(Some(seen.clone())),
        };
        cloud.report(self.id, report.clone()).await?;
        self.agent.reported = Some(seen);
        self.late = self.said.replace(report);
        Ok(news)
    }

    /// Its word before the last one comes again, and then the last one.
    pub(crate) async fn report_late(&self, cloud: &Cloud) {
        for report in self.late.iter().chain(&self.said) {
            cloud.report(self.id, report.clone()).await.unwrap();
        }
    }

    /// The operations that its part asks for and that it has not done yet, as far as it has seen.
    pub(crate) fn due(&self) -> Vec<&'static str> {
        let (part, seen) = (self.part(), self.agent.keeper.seen().unwrap_or_default());
        let mut due = Vec::new();
        for one in &part.volumes {
            let state = seen.volumes.iter().find(|seen| seen.id == one.id).map(|seen| &seen.state);
            due.extend(match &one.wanted {
                VolumePart::Present { made: false, snapshot_id: None, .. } => &["create"][..],
                VolumePart::Present { made: false, .. } => &["clone"],
                VolumePart::Present { size_bytes, .. }
                    if state != Some(&StoredState::Present { size_bytes: *size_bytes }) =>
                {
                    &["grow", "enlarge"]
                }
                VolumePart::Present { .. } => &[],
                VolumePart::Absent => &["remove"],
            });
        }
        for one in &part.snapshots {
            due.extend(match &one.wanted {
                SnapshotPart::Present { taken: false, copy_of: None, .. } => &["snapshot"][..],
                SnapshotPart::Present { taken: false, copy_of: Some(source), .. } => {
                    match part.pools.iter().any(|pool| pool.id == source.pool_id) {
                        true if source.pool_id == one.pool_id => &["copy"],
                        true => &["transfer"],
                        false => &["receive"],
                    }
                }
                SnapshotPart::Present { taken: true, .. } => &[],
                SnapshotPart::Absent => &["remove"],
            });
        }
        for one in &part.exports {
            let is_open = seen.exports.iter().any(|seen| seen.id == one.id);
            due.extend(match &one.wanted {
                ExportPart::Open { .. } if is_open => &[][..],
                ExportPart::Open { .. } => &["export", "nfs_export"],
                ExportPart::Absent => &["revoke", "nfs_revoke"],
            });
        }
        if !part.unlinks.is_empty() {
            due.push("sweep");
        }
        due
    }

    /// Kills what serves its volumes; whether anything did. Its agent notices.
    pub(crate) fn kill_servers(&self) -> bool {
        let servers = self.servers();
        servers.iter().for_each(|pid| kill(*pid));
        let deadline = Instant::now() + crate::PATIENCE;
        while servers.iter().any(|pid| lives(*pid)) {
            assert!(Instant::now() < deadline, "{servers:?} do not die");
            std::thread::yield_now();
        }
        !servers.is_empty()
    }

    /// The processes that serve its volumes.
    fn servers(&self) -> Vec<i32> {
        let serves_nfs = self.part().pools.iter().any(|pool| pool.backend == PoolBackend::Nfs);
        let ganesha = if serves_nfs { here("ganesha.nfsd") } else { vec![] };
        ganesha.into_iter().chain(tgtd(&self.settings.iscsi)).collect()
    }

    /// Its pools of which something is given out, by one server each at most.
    fn served(&self) -> BTreeSet<PoolId> {
        let part = self.part();
        let pool_of = |id| part.volumes.iter().find(|one| one.id == id).map(|one| one.pool_id);
        part.exports.iter().filter_map(|export| pool_of(export.volume_id)).collect()
    }

    fn guard(&self) {
        let (served, mut guards) = (self.served(), self.guards.lock().unwrap());
        for (_, mut guard) in guards.of.extract_if(.., |(pid, _)| !lives(*pid)) {
            let _ = (guard.kill(), guard.wait());
        }
        if guards.served != served || guards.of.len() < served.len() {
            for pid in self.servers() {
                if !guards.of.iter().any(|(known, _)| *known == pid) {
                    guards.of.push((pid, guard(pid)));
                }
            }
            guards.served = served;
        }
    }
}

/// Also one that nobody has waited for is dead.
fn lives(pid: i32) -> bool {
    std::fs::read_link(format!("/proc/{pid}/exe")).is_ok()
}

impl Drop for StorageHost {
    fn drop(&mut self) {
        for (_, guard) in self.guards.lock().unwrap().of.iter_mut() {
            // It does its work once its input ends.
            let _ = guard.wait();
        }
    }
}

fn agent(id: NodeId, dir: &Path, settings: &PoolSettings, wire: &Arc<Wire>) -> Agent {
    let limits = CacheLimits { max_bytes: 1 << 30, grace: Duration::from_secs(3600) };
    let images = Arc::new(ImageCache::open(&dir.join("images"), limits, Arc::new(NoImages)).unwrap());
    let contents = Arc::new(FarContents { wire: Arc::clone(wire), node: id });
    let pools = LocalPools::new(settings.clone(), images, contents, || Timestamp::UNIX_EPOCH);
    let seal = Seal::open(&dir.join("ledger.key")).unwrap();
    Agent {
        keeper: Arc::new(StorageKeeper::new(Arc::new(pools))),
        ledger: Ledger::open(&dir.join("ledger"), seal).unwrap(),
        sequence: 0,
        reported: None,
    }
}

/// What a host sees of itself that has no guests.
pub(crate) fn observed(storage: Option<StorageObserved>) -> NodeObserved {
    NodeObserved {
        agent_version: "0.1.0".into(),
        boot_id: "boot".into(),
        capacity: CAPACITY,
        usage: NodeUsage::default(),
        applied: Vec::new(),
        refused: Vec::new(),
        placements: Vec::new(),
        impaired: None,
        storage,
        io: Vec::new(),
        stalled: Vec::new(),
        findings: Vec::new(),
    }
}
