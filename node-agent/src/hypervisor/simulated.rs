//! A hypervisor that runs nothing: for tests of scale and of faults. Latency and failures are set,
//! and the same seed fails the same starts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};
use tepui_libvirt::{CaptureState, DomainSpec, DomainState, DomainStatus, FreezeAnswer, OffReason};
use tepui_types::PlacementId;
use tepui_types::agent::FreezeKind;

use super::{Hypervisor, HypervisorError};

/// How the simulation behaves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SimulatedSettings {
    /// How long a start takes, in milliseconds.
    pub start_ms: u64,
    /// How many of a hundred starts fail.
    pub failure_percent: u8,
    /// Decides which.
    pub seed: u64,
}

/// The simulated domains of one host. They outlive an agent that shares them, and with a file also the
/// process, as real ones do.
#[derive(Debug)]
pub struct SimulatedHypervisor {
    settings: SimulatedSettings,
    /// Starts that were tried, of each.
    tries: Mutex<BTreeMap<PlacementId, u64>>,
    domains: Mutex<BTreeMap<PlacementId, Domain>>,
    captures: Mutex<Captures>,
    file: Option<PathBuf>,
}

/// The captures of root disks.
#[derive(Debug, Default)]
struct Captures {
    /// None ends by itself.
    hang: bool,
    states: BTreeMap<PlacementId, CaptureState>,
}

#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Domain {
    off: Option<Off>,
    starts: u32,
    resets: u32,
    /// Its file systems hold still.
    #[serde(default)]
    frozen: bool,
    /// It stands still.
    #[serde(default)]
    stands: Option<Stands>,
    /// How it answers to being asked to.
    #[serde(default)]
    manner: GuestAgent,
}

/// Why a simulated guest stands still.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Stands {
    /// It was told to.
    Paused,
    /// A write to one of its disks failed.
    WriteFailed,
}

/// How the guest agent of a simulated guest behaves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GuestAgent {
    /// It does as it is told.
    #[default]
    Obeys,
    /// There is none.
    Missing,
    /// It does as it is told, and its answers are lost.
    Silent,
}

/// [`OffReason`] as it is written to the file.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Off {
    Requested,
    Guest,
    Crashed,
    Failed,
    Unknown,
}

impl From<OffReason> for Off {
    fn from(reason: OffReason) -> Self {
        match reason {
            OffReason::Requested => Self::Requested,
            OffReason::Guest => Self::Guest,
            OffReason::Crashed => Self::Crashed,
            OffReason::Failed => Self::Failed,
            OffReason::Unknown => Self::Unknown,
        }
    }
}

impl Domain {
    fn state(&self) -> DomainState {
        match self.off {
            None if self.stands.is_some() => DomainState::Paused,
            None => DomainState::Running,
            Some(Off::Requested) => DomainState::Off { reason: OffReason::Requested },
            Some(Off::Guest) => DomainState::Off { reason: OffReason::Guest },
            Some(Off::Crashed) => DomainState::Off { reason: OffReason::Crashed },
            Some(Off::Failed) => DomainState::Off { reason: OffReason::Failed },
            Some(Off::Unknown) => DomainState::Off { reason: OffReason::Unknown },
        }
    }
}

impl SimulatedHypervisor {
    /// A host without domains.
    pub fn new(settings: SimulatedSettings) -> Self {
        Self {
            settings,
            tries: Mutex::default(),
            domains: Mutex::default(),
            captures: Mutex::default(),
            file: None,
        }
    }

    /// A host whose domains are kept in `file`; those that are there already are its.
    pub fn kept_in(file: PathBuf, settings: SimulatedSettings) -> std::io::Result<Self> {
        let domains = match std::fs::read(&file) {
            Ok(text) => serde_json::from_slice(&text)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error),
        };
        Ok(Self { domains: Mutex::new(domains), file: Some(file), ..Self::new(settings) })
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<PlacementId, Domain>)) {
        let mut domains = self.lock();
        change(&mut domains);
        let Some(file) = &self.file else { return };
        if let Err(error) = save(file, &domains) {
            tracing::warn!(path = %file.display(), %error, "cannot keep the simulated domains");
        }
    }

    /// The guest powers itself off, or with [`OffReason::Crashed`] its QEMU dies.
    pub fn goes_off(&self, id: PlacementId, reason: OffReason) {
        self.change(|domains| {
            if let Some(domain) = domains.get_mut(&id) {
                (domain.off, domain.frozen, domain.stands) = (Some(reason.into()), false, None);
            }
        });
    }

    /// The host loses power and boots again: every domain is off and nobody knows why.
    pub fn host_reboots(&self) {
        self.change(|domains| {
            for domain in domains.values_mut() {
                (domain.off, domain.frozen, domain.stands) = (Some(Off::Unknown), false, None);
            }
        });
    }

    /// A write to a disk of a running guest failed: it stands still until it is started.
    pub fn write_fails(&self, id: PlacementId) {
        self.change(|domains| {
            if let Some(domain) = domains.get_mut(&id) {
                domain.stands = Some(Stands::WriteFailed);
            }
        });
    }

    /// How often a domain was really started and reset, in its life.
    pub fn starts_and_resets(&self, id: PlacementId) -> (u32, u32) {
        self.lock().get(&id).map_or((0, 0), |domain| (domain.starts, domain.resets))
    }

    /// Its guest agent behaves so from now on.
    pub fn set_guest_agent(&self, id: PlacementId, manner: GuestAgent) {
        self.change(|domains| {
            if let Some(domain) = domains.get_mut(&id) {
                domain.manner = manner;
            }
        });
    }

    /// From now on no capture ends before it is called off, or they do again.
    pub fn set_captures_hang(&self, hang: bool) {
        self.captures().hang = hang;
    }

    /// Whether a capture of its disk is under way.
    pub fn is_being_captured(&self, id: PlacementId) -> bool {
        self.captures().states.get(&id) == Some(&CaptureState::UnderWay)
    }

    fn captures(&self) -> MutexGuard<'_, Captures> {
        self.captures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether its file systems hold still.
    pub fn is_frozen(&self, id: PlacementId) -> bool {
        self.lock().get(&id).is_some_and(|domain| domain.frozen)
    }

    /// Makes the file systems of a running guest hold still or go on; whether they did hold still, and how it answers. `None`
    /// of one that is off.
    fn set_frozen(&self, id: PlacementId, frozen: bool) -> Option<(bool, GuestAgent)> {
        let mut answer = None;
        self.change(|domains| {
            let Some(domain) = domains.get_mut(&id).filter(|domain| domain.off.is_none()) else { return };
            answer = Some((domain.frozen, domain.manner));
            if domain.manner != GuestAgent::Missing {
                domain.frozen = frozen;
            }
        });
        answer
    }

    /// Whether it stands still because it was told to.
    pub fn is_paused(&self, id: PlacementId) -> bool {
        self.lock().get(&id).is_some_and(|domain| domain.stands == Some(Stands::Paused))
    }

    /// Pauses a guest that runs.
    fn pause(&self, id: PlacementId) -> FreezeAnswer {
        let mut answer = FreezeAnswer::Refused("the guest does not run".into());
        self.change(|domains| {
            let Some(domain) = domains.get_mut(&id).filter(|domain| domain.off.is_none()) else { return };
            answer = match domain.stands {
                Some(_) => FreezeAnswer::Refused("the guest stands still already".into()),
                None => FreezeAnswer::Frozen(1),
            };
            domain.stands.get_or_insert(Stands::Paused);
        });
        answer
    }

    /// Resumes a guest that was paused, and no other one; how many were. `None` of one that is off.
    fn resume(&self, id: PlacementId) -> Option<u32> {
        let mut answer = None;
        self.change(|domains| {
            let Some(domain) = domains.get_mut(&id).filter(|domain| domain.off.is_none()) else { return };
            answer = Some(u32::from(domain.stands.take_if(|why| *why == Stands::Paused).is_some()));
        });
        answer
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<PlacementId, Domain>> {
        self.domains.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this try fails; whatever else is tried at the same time makes no difference.
    fn start_fails(&self, id: PlacementId) -> bool {
        let mut tries = self.tries.lock().unwrap_or_else(PoisonError::into_inner);
        let tried = tries.entry(id).or_default();
        *tried += 1;
        let seed = self.settings.seed ^ id.bits() as u64 ^ tried.rotate_right(8);
        SmallRng::seed_from_u64(seed).random_range(0..100) < self.settings.failure_percent
    }
}

/// Whole or not at all, but without an fsync: simulated guests need not outlive a power cut, and
/// thousands of them would keep the disk busy.
fn save(file: &Path, domains: &BTreeMap<PlacementId, Domain>) -> std::io::Result<()> {
    let half_written = file.with_added_extension("tmp");
    std::fs::write(&half_written, serde_json::to_vec(domains)?)?;
    std::fs::rename(half_written, file)
}

#[async_trait]
impl Hypervisor for SimulatedHypervisor {
    async fn domains(&self) -> Result<Vec<DomainStatus>, HypervisorError> {
        Ok(self.lock().iter().map(|(&id, domain)| DomainStatus { id, state: domain.state() }).collect())
    }

    async fn start(&self, spec: &DomainSpec) -> Result<(), HypervisorError> {
        let id = spec.placement_id;
        let live = self.lock().get(&id).copied().filter(|domain| domain.off.is_none());
        if let Some(live) = live {
            // As libvirt does, whyever it stands still.
            if live.stands.is_some() {
                self.change(|domains| {
                    domains.entry(id).and_modify(|domain| domain.stands = None);
                });
            }
            return Ok(());
        }
        if self.settings.start_ms > 0 {
            tokio::time::sleep(Duration::from_millis(self.settings.start_ms)).await;
        }
        if self.start_fails(id) {
            return Err(HypervisorError::Simulated(id));
        }
        self.change(|domains| {
            let domain =
                domains.entry(id).or_insert(Domain { off: None, starts: 0, resets: 0, ..Domain::default() });
            domain.off = None;
            domain.starts += 1;
        });
        Ok(())
    }

    /// A simulated guest obeys at once.
    async fn request_shutdown(&self, id: PlacementId) -> Result<(), HypervisorError> {
        self.goes_off(id, OffReason::Guest);
        Ok(())
    }

    async fn force_off(&self, id: PlacementId) -> Result<(), HypervisorError> {
        self.goes_off(id, OffReason::Requested);
        Ok(())
    }

    async fn reset(&self, id: PlacementId) -> Result<(), HypervisorError> {
        self.change(|domains| {
            if let Some(domain) = domains.get_mut(&id) {
                domain.resets += 1;
                domain.frozen = false;
            }
        });
        Ok(())
    }

    async fn freeze(&self, id: PlacementId, kind: FreezeKind) -> Result<FreezeAnswer, HypervisorError> {
        if kind == FreezeKind::Vcpus {
            return Ok(self.pause(id));
        }
        match self.set_frozen(id, true) {
            None => Ok(FreezeAnswer::Refused("the guest does not run".into())),
            Some((_, GuestAgent::Missing)) => {
                Ok(FreezeAnswer::Refused("the guest agent does not answer".into()))
            }
            Some((_, GuestAgent::Silent)) => Err(HypervisorError::SimulatedSilence(id)),
            Some((_, GuestAgent::Obeys)) => Ok(FreezeAnswer::Frozen(1)),
        }
    }

    async fn thaw(&self, id: PlacementId, kind: FreezeKind) -> Result<Option<u32>, HypervisorError> {
        if kind == FreezeKind::Vcpus {
            return Ok(self.resume(id));
        }
        match self.set_frozen(id, false) {
            None => Ok(None),
            Some((_, GuestAgent::Missing | GuestAgent::Silent)) => Err(HypervisorError::SimulatedSilence(id)),
            Some((frozen, GuestAgent::Obeys)) => Ok(Some(u32::from(frozen))),
        }
    }

    /// Of a guest that runs: a copy of the overlay beside which the file is to be.
    async fn begin_capture(&self, id: PlacementId, to: &Path) -> Result<bool, HypervisorError> {
        if self.lock().get(&id).is_none_or(|domain| domain.off.is_some()) {
            return Ok(false);
        }
        let copied = std::fs::copy(to.with_extension("qcow2"), to);
        let mut captures = self.captures();
        let state = match copied {
            Ok(_) if captures.hang => CaptureState::UnderWay,
            Ok(_) => CaptureState::Whole,
            Err(error) => CaptureState::Failed(error.to_string()),
        };
        captures.states.insert(id, state);
        Ok(true)
    }

    async fn capture_state(&self, id: PlacementId) -> Result<CaptureState, HypervisorError> {
        let mut captures = self.captures();
        Ok(match captures.states.get(&id) {
            Some(CaptureState::UnderWay) => CaptureState::UnderWay,
            Some(CaptureState::Whole | CaptureState::Failed(_)) | None => {
                captures.states.remove(&id).unwrap_or_else(|| CaptureState::Failed("there is none".into()))
            }
        })
    }

    async fn abort_capture(&self, id: PlacementId) -> Result<(), HypervisorError> {
        if let Some(state) = self.captures().states.get_mut(&id) {
            *state = CaptureState::Failed("it was called off".into());
        }
        Ok(())
    }

    async fn forget(&self, id: PlacementId) -> Result<(), HypervisorError> {
        self.change(|domains| {
            domains.remove(&id);
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn domains_that_are_kept_in_a_file_outlive_the_process() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("domains.json");
        let settings = SimulatedSettings::default();
        let before = SimulatedHypervisor::kept_in(file.clone(), settings).unwrap();
        let id = PlacementId::from_random(1);
        before.change(|domains| {
            domains.insert(id, Domain { off: None, starts: 1, resets: 0, ..Domain::default() });
        });
        before.reset(id).await.unwrap();
        let after = SimulatedHypervisor::kept_in(file, settings).unwrap();
        assert_eq!(after.starts_and_resets(id), (1, 1));
        assert_eq!(after.domains().await.unwrap(), [DomainStatus { id, state: DomainState::Running }]);
    }
}
