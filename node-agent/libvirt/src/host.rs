//! The verbs on domains.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tepui_types::agent::FreezeKind;
use tepui_types::{ExportId, PlacementId};
use uuid::Uuid;
use virt::connect::Connect;
use virt::domain::Domain;
use virt::sys;

use crate::capture::{self, CaptureState, c_text};
use crate::counters::counters;
use crate::disk::{Prepared, live_volumes, set_disks, tell_secrets};
use crate::disk_errors::{FailedDisk, failed_disks};
use crate::freeze::{self, FreezeAnswer};
use crate::identity::domain_name;
use crate::look::look;
use crate::pause;
use crate::pool::{Call, Pool};
use crate::secrets::{self, Telling};
use crate::{DataDisk, DiskCounters, DomainSpec, DomainStatus, Error, LiveDisk, LiveDisks, xml};

/// What starting, asking to shut down and forcing off may take longer than a look at a state: QEMU
/// that hangs in disk I/O takes libvirt ten seconds to kill.
const SLOW_CALL_EXTRA: Duration = Duration::from_secs(15);

/// How long the guest agent may take to answer, in seconds.
const AGENT_SECONDS: i32 = 1;
const AGENT_SHUTDOWN: &str = r#"{"execute":"guest-shutdown","arguments":{"mode":"powerdown"}}"#;

/// Connections for pulling the plugs of guests whose QEMU hangs. Several, since one that hangs in disk I/O takes
/// ten seconds to kill, and a storage that hangs takes all of its guests along.
const PLUG_CONNECTIONS: usize = 4;

/// Connections for having guests hold still, each of which a guest may keep for [`FREEZE_CALL`], and for having them go on,
/// which must never wait for the former.
const FREEZE_CONNECTIONS: usize = 2;
const THAW_CONNECTIONS: usize = 4;

/// What the calls of a freeze and of a thaw may take: what their guest agent may, twice libvirt's five seconds for a sign of
/// life of it, and a little.
const FREEZE_CALL: Duration = Duration::from_secs(25);
/// A guest that is not asked to hold still by then is not asked any more: the rest of the call is for its answer.
const FREEZE_ASKED: Duration = Duration::from_secs(9);
const THAW_CALL: Duration = Duration::from_secs(12);

/// Connections for pausing guests and for resuming them. No guest agent keeps these, but a disk that does not answer does, for
/// which QEMU waits before it says that its guest is paused.
const PAUSE_CONNECTIONS: usize = 2;
const RESUME_CONNECTIONS: usize = 4;

/// What pausing a guest and resuming it may take: what its disks have under way is to be done in that time, and the guest stands
/// still meanwhile. A guest that is not paused by then is not paused any more.
const PAUSE_CALL: Duration = Duration::from_secs(5);
const PAUSED_BY: Duration = Duration::from_secs(2);
const RESUME_CALL: Duration = Duration::from_secs(5);

/// One libvirtd, spoken to over bounded pools of connections. Dropping it closes them.
#[derive(Debug)]
pub struct LibvirtHost {
    /// For calls that QEMU answers: guests whose QEMU hangs may hold all of it.
    pool: Pool,
    /// For the look at all domains, which asks no QEMU and must not wait for one.
    look: Pool,
    /// For pulling plugs, which must come through all the same.
    plug: Pool,
    /// For reading counters, which a QEMU that hangs holds up: nothing else may wait for them.
    counters: Pool,
    /// For asking why guests stand still, which a QEMU that hangs holds up, too.
    stalls: Pool,
    /// For guests that are to hold still, which their agents take their time for.
    freeze: Pool,
    /// For guests that are to go on.
    thaw: Pool,
    /// For guests that are to be paused.
    pause: Pool,
    /// For guests that are to be resumed.
    resume: Pool,
    telling: Arc<Telling>,
    deadline: Duration,
}

impl LibvirtHost {
    /// Speaks to libvirtd at `uri` with up to `connections` connections, one more for the look, one for counters, one for failed disks, four for
    /// pulling plugs and twelve for guests that hold still, each served by a thread of its own and opened by its first call. `deadline` bounds each
    /// quick call; starting, asking to shut down and forcing off have 15 seconds more. A libvirtd that is away
    /// is found as soon as it is back.
    pub fn new(uri: &str, connections: usize, deadline: Duration) -> Result<Self, Error> {
        let start = |connections| Pool::start(uri, connections);
        let (pool, look, plug) = (start(connections)?, start(1)?, start(PLUG_CONNECTIONS)?);
        let (freeze, thaw) = (start(FREEZE_CONNECTIONS)?, start(THAW_CONNECTIONS)?);
        let (pause, resume) = (start(PAUSE_CONNECTIONS)?, start(RESUME_CONNECTIONS)?);
        let (counters, stalls, telling) = (start(1)?, start(1)?, Arc::default());
        Ok(Self { pool, look, plug, counters, stalls, freeze, thaw, pause, resume, telling, deadline })
    }

    /// As [`Self::new`], and makes sure that libvirtd answers.
    pub async fn connect(uri: &str, connections: usize, deadline: Duration) -> Result<Self, Error> {
        let host = Self::new(uri, connections, deadline)?;
        host.pool.call(host.quick("connect", None), |_| Ok(())).await?;
        Ok(host)
    }

    /// Our domains with their states, and nothing that QEMU would have to be asked for.
    pub async fn domains(&self) -> Result<Vec<DomainStatus>, Error> {
        self.look.call(self.quick("list", None), look).await
    }

    /// What the guests of our running domains did with their disks. QEMU is asked: one that hangs holds up the counters
    /// of all, and nothing else.
    pub async fn disk_counters(&self) -> Result<Vec<DiskCounters>, Error> {
        self.counters.call(self.quick("read counters", None), counters).await
    }

    /// The disks of a domain that requests failed on since it was made to run last. QEMU is asked: one that hangs
    /// holds up the answers for all, and nothing else.
    pub async fn failed_disks(&self, id: PlacementId) -> Result<Vec<FailedDisk>, Error> {
        let call = self.quick("ask for failed disks", Some(id));
        self.stalls.call(call, move |connect| failed_disks(connect, id)).await
    }

    /// Makes the domain run: defines and creates it, resumes a paused one, leaves a running one as
    /// it is.
    pub async fn start(&self, spec: &DomainSpec) -> Result<(), Error> {
        let id = spec.placement_id;
        let disks: Vec<DataDisk> = spec.volumes().cloned().collect();
        let xml = xml::domain_xml(spec)?;
        let telling = Arc::clone(&self.telling);
        let start = move |connect: &Connect| {
            let _telling = telling.begin();
            tell_secrets(connect, &disks)?;
            start(connect, id, &xml)
        };
        self.pool.call(self.slow("start", id), start).await
    }

    /// Gives a running domain the volumes that it lacks, asks it to let go of those whose sources have one of the
    /// names in `leaving`, and returns those that it has then. A guest may take its time, or never let go: ask again.
    /// A domain that is off has none. QEMU flushes a disk before it lets go of it, and stands still until the
    /// server has answered: the disk's server must still know it.
    pub async fn set_disks(
        &self,
        id: PlacementId,
        disks: Vec<DataDisk>,
        leaving: Vec<String>,
    ) -> Result<LiveDisks, Error> {
        let wanted = disks.into_iter().map(Prepared::of).collect::<Result<Vec<_>, _>>()?;
        let (call, telling) = (self.slow("set disks", id), Arc::clone(&self.telling));
        let set = move |connect: &Connect| {
            let _telling = telling.begin();
            set_disks(connect, id, &wanted, &leaving)
        };
        Ok(self.pool.call(call, set).await??)
    }

    /// The volumes that our running domains have. No QEMU is asked.
    pub async fn live_disks(&self) -> Result<BTreeMap<PlacementId, Vec<LiveDisk>>, Error> {
        self.pool.call(self.quick("read disks", None), live_volumes).await
    }

    /// The exports whose passwords libvirtd has, each with the UUID by which it knows it.
    pub async fn secrets(&self) -> Result<BTreeMap<ExportId, Uuid>, Error> {
        self.pool.call(self.quick("list secrets", None), secrets::secrets).await
    }

    /// Has libvirtd forget the passwords of exports that no running domain names; those that are left. `None` while a
    /// domain is being given a disk: ask again.
    pub async fn drop_secrets(&self) -> Result<Option<BTreeMap<ExportId, Uuid>>, Error> {
        let (call, telling) = (self.quick("drop secrets", None), Arc::clone(&self.telling));
        self.pool.call(call, move |connect| secrets::drop_unused(connect, &telling)).await
    }

    /// Asks the guest to power off, by its power button and by its guest agent if it has one. It
    /// may ignore both, and a guest that still boots does: ask again, then force. A domain that is
    /// off or missing is fine.
    pub async fn request_shutdown(&self, id: PlacementId) -> Result<(), Error> {
        self.on_active("request shutdown", id, request_shutdown).await
    }

    /// Pulls the plug. A domain that is off or missing is fine.
    pub async fn force_off(&self, id: PlacementId) -> Result<(), Error> {
        let call = self.slow("force off", id);
        self.plug.call(call, move |connect| on_active(connect, id, Domain::destroy)).await
    }

    /// Presses the reset button. A domain that is off or missing is fine: its next start boots anew.
    pub async fn reset(&self, id: PlacementId) -> Result<(), Error> {
        self.on_active("reset", id, |domain| domain.reset().map(drop)).await
    }

    /// Forces the domain off and removes its definition with all that libvirt keeps for it. A
    /// missing one is fine.
    pub async fn forget(&self, id: PlacementId) -> Result<(), Error> {
        self.pool.call(self.slow("forget", id), move |connect| forget(connect, id)).await
    }

    /// Has a guest hold still: its file systems by its guest agent, or its virtual CPUs by QEMU. After an error nobody knows whether
    /// it does: thaw it.
    pub async fn freeze(&self, id: PlacementId, kind: FreezeKind) -> Result<FreezeAnswer, Error> {
        match kind {
            FreezeKind::FileSystems => {
                let call = Call { name: "freeze", id: Some(id), deadline: FREEZE_CALL };
                let by = Instant::now() + FREEZE_ASKED;
                self.freeze.call(call, move |connect| freeze::freeze(connect, id, by)).await
            }
            FreezeKind::Vcpus => {
                let call = Call { name: "pause", id: Some(id), deadline: PAUSE_CALL };
                let by = Instant::now() + PAUSED_BY;
                self.pause.call(call, move |connect| pause::pause(connect, id, by)).await
            }
        }
    }

    /// Has a guest go on that was to hold still; what its freeze answered where it held still until now. `None` where the domain
    /// is off or missing. After an error ask again.
    pub async fn thaw(&self, id: PlacementId, kind: FreezeKind) -> Result<Option<u32>, Error> {
        match kind {
            FreezeKind::FileSystems => {
                let call = Call { name: "thaw", id: Some(id), deadline: THAW_CALL };
                self.thaw.call(call, move |connect| freeze::thaw(connect, id)).await
            }
            FreezeKind::Vcpus => {
                let call = Call { name: "resume", id: Some(id), deadline: RESUME_CALL };
                self.resume.call(call, move |connect| pause::resume(connect, id)).await
            }
        }
    }

    /// Has QEMU copy what the root disk of a running guest holds at this moment into a new qcow2 file, beside the guest;
    /// `false` where none runs. The file must not exist, and stays whatever comes of it. Ask [`Self::capture_state`] until it has ended. After an error nobody
    /// knows whether it began: abort it.
    pub async fn begin_capture(&self, id: PlacementId, to: &Path) -> Result<bool, Error> {
        let xml = c_text(xml::capture_xml(to)?);
        let call = self.slow("capture", id);
        self.pool.call(call, move |connect| capture::begin(connect, id, &xml)).await
    }

    /// How far the capture of a root disk is. That it has ended is told once.
    pub async fn capture_state(&self, id: PlacementId) -> Result<CaptureState, Error> {
        let call = self.quick("look at a capture", Some(id));
        self.pool.call(call, move |connect| capture::state(connect, id)).await
    }

    /// Calls a capture off; ask for its state until it has ended. Where there is none that is fine.
    pub async fn abort_capture(&self, id: PlacementId) -> Result<(), Error> {
        self.pool.call(self.slow("abort a capture", id), move |connect| capture::abort(connect, id)).await
    }

    async fn on_active<F>(&self, name: &'static str, id: PlacementId, verb: F) -> Result<(), Error>
    where
        F: FnOnce(&Domain) -> Result<(), virt::error::Error> + Send + 'static,
    {
        self.pool.call(self.slow(name, id), move |connect| on_active(connect, id, verb)).await
    }

    fn quick(&self, name: &'static str, id: Option<PlacementId>) -> Call {
        Call { name, id, deadline: self.deadline }
    }

    fn slow(&self, name: &'static str, id: PlacementId) -> Call {
        Call { name, id: Some(id), deadline: self.deadline + SLOW_CALL_EXTRA }
    }
}

pub(crate) type Outcome<T> = Result<T, virt::error::Error>;

fn start(connect: &Connect, id: PlacementId, xml: &str) -> Outcome<()> {
    if let Some(domain) = lookup(connect, id)?
        && domain.is_active()?
    {
        return wake(&domain);
    }
    let domain = Domain::define_xml(connect, xml)?;
    match domain.create() {
        // Another call was faster.
        Err(error) if is_invalid(&error) && domain.is_active()? => Ok(()),
        outcome => outcome.map(drop),
    }
}

fn wake(domain: &Domain) -> Outcome<()> {
    match domain.get_state()? {
        // Another call is about to start it.
        (sys::VIR_DOMAIN_PAUSED, reason) if reason == sys::VIR_DOMAIN_PAUSED_STARTING_UP as i32 => Ok(()),
        (sys::VIR_DOMAIN_PAUSED, _) => domain.resume().map(drop),
        (sys::VIR_DOMAIN_PMSUSPENDED, _) => domain.pm_wakeup(0).map(drop),
        _ => Ok(()),
    }
}

/// The button comes first because it returns at once, also when the agent hangs. An agent that
/// obeys never answers, so what its call returns says nothing.
fn request_shutdown(domain: &Domain) -> Outcome<()> {
    // It obeys already; a disk that does not answer may hold its QEMU up.
    if domain.get_state()?.0 == sys::VIR_DOMAIN_SHUTDOWN {
        return Ok(());
    }
    domain.shutdown_flags(sys::VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN)?;
    if let Err(error) = domain.qemu_agent_command(AGENT_SHUTDOWN, AGENT_SECONDS, 0) {
        tracing::debug!(%error, "the guest agent did not answer");
    }
    Ok(())
}

fn forget(connect: &Connect, id: PlacementId) -> Outcome<()> {
    on_active(connect, id, Domain::destroy)?;
    let flags = sys::VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
        | sys::VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
        | sys::VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
        | sys::VIR_DOMAIN_UNDEFINE_NVRAM
        | sys::VIR_DOMAIN_UNDEFINE_TPM;
    match lookup(connect, id)? {
        Some(domain) => present(domain.undefine_flags(flags)).map(drop),
        None => Ok(()),
    }
}

/// Does nothing when the domain is missing or off, or becomes so meanwhile.
fn on_active(connect: &Connect, id: PlacementId, verb: impl FnOnce(&Domain) -> Outcome<()>) -> Outcome<()> {
    let Some(domain) = lookup(connect, id)? else { return Ok(()) };
    match present(verb(&domain)) {
        Err(error) if is_invalid(&error) && present(domain.is_active())? != Some(true) => Ok(()),
        outcome => outcome.map(drop),
    }
}

pub(crate) fn lookup(connect: &Connect, id: PlacementId) -> Outcome<Option<Domain>> {
    present(Domain::lookup_by_name(connect, &domain_name(id)))
}

/// Turns "there is no such domain" into none.
pub(crate) fn present<T>(outcome: Outcome<T>) -> Outcome<Option<T>> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.code().to_raw() == sys::VIR_ERR_NO_DOMAIN => Ok(None),
        Err(error) => Err(error),
    }
}

pub(crate) fn is_invalid(error: &virt::error::Error) -> bool {
    error.code().to_raw() == sys::VIR_ERR_OPERATION_INVALID
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::{Sender, channel};

    use tokio::sync::mpsc;

    use super::*;

    /// Holds one of the connections for plugs until what is returned is dropped.
    fn hang(host: &Arc<LibvirtHost>, number: u128, begun: mpsc::UnboundedSender<()>) -> Sender<()> {
        let (release, released) = channel();
        let host = Arc::clone(host);
        tokio::spawn(async move {
            let call = host.slow("force off", PlacementId::from_random(number));
            let work = move |_: &Connect| {
                begun.send(()).unwrap();
                let _ = released.recv();
                Ok(())
            };
            host.plug.call(call, work).await
        });
        release
    }

    #[tokio::test]
    async fn a_look_does_not_wait_for_plugs_that_are_pulled() {
        let host = Arc::new(LibvirtHost::new("test:///default", 1, Duration::from_secs(5)).unwrap());
        let (begun, mut has_begun) = mpsc::unbounded_channel();
        let hanging: Vec<_> = (0..10).map(|number| hang(&host, number, begun.clone())).collect();
        for _ in 0..PLUG_CONNECTIONS {
            has_begun.recv().await.unwrap();
        }
        assert_eq!(host.domains().await.unwrap(), []);
        drop(hanging);
    }
}
