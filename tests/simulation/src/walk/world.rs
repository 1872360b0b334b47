//! One host and its control plane, a step at a time.

use std::time::Duration;

use anyhow::{Context as _, anyhow, ensure};
use tepui_core::{Caller, CloudConfig, Error, RunInstances};
use tepui_db::model::{InstanceRecord, InstanceRequest, InstanceState};
use tepui_db::{InstanceDb as _, InstanceFilter, NodeDb as _};
use tepui_types::agent::{NodeCapacity, Report, ScratchDisks};
use tepui_types::failpoint::{self, Effect};
use tepui_types::{InstanceId, PlacementId};

use crate::control::{Control, Tenant};
use crate::host::{Agent, Host};

/// Longer than every deadline of a state.
const PATIENCE: Duration = Duration::from_secs(300);
/// The longest sleep between two looks.
const NAP: Duration = Duration::from_secs(1);

pub(super) struct World {
    pub(super) control: Control,
    pub(super) host: Host,
    administrator: Caller,
    tenant: Tenant,
    calls: u32,
    _folder: tempfile::TempDir,
}

/// A launch that can be repeated.
#[derive(Debug, Clone)]
pub(super) struct Launched {
    pub(super) id: InstanceId,
    token: String,
}

impl World {
    pub(super) async fn new() -> anyhow::Result<Self> {
        let folder = crate::control::folder()?;
        let mut config = CloudConfig::new("walk-1", folder.path().join("consoles"));
        // A thousand cases come after each other.
        config.retention.terminated_instances = Duration::from_secs(60);
        let control = Control::start(folder.path().to_owned(), 1, config)?;
        let administrator = control.administrator().await?;
        let tenant = control.tenant(&administrator, "tenant").await?;
        let capacity = NodeCapacity { vcpus: 4, memory_mib: 8192, disk_gib: 100 };
        let id = control.enrol(&administrator, 1, capacity).await?;
        let host = Host::new(id, folder.path().join("host"), capacity, 1)?;
        Ok(Self { control, host, administrator, tenant, calls: 0, _folder: folder })
    }

    /// A client launches one instance.
    pub(super) async fn launch(&mut self) -> anyhow::Result<Launched> {
        self.calls += 1;
        let token = format!("call-{}", self.calls);
        Ok(Launched { id: self.run(&token).await?, token })
    }

    /// The control plane is killed at a point of a launch, and the client repeats its call.
    pub(super) async fn launch_cut_off(&mut self, point: &str) -> anyhow::Result<Launched> {
        self.calls += 1;
        let token = format!("call-{}", self.calls);
        failpoint::arm(point, Effect::Error);
        let cut_off = self.run(&token).await;
        let trips = failpoint::trips(point);
        failpoint::disarm(point);
        ensure!(cut_off.is_err() && trips == 1, "{point} was passed {trips} times: {cut_off:?}");
        self.control.die().await;
        self.revive()?;
        Ok(Launched { id: self.run(&token).await?, token })
    }

    /// The same call again: it launches nothing new.
    pub(super) async fn launch_again(&mut self, launched: &Launched) -> anyhow::Result<()> {
        let id = self.run(&launched.token).await?;
        ensure!(id == launched.id, "the repeated launch made {id} beside {}", launched.id);
        Ok(())
    }

    async fn run(&self, token: &str) -> anyhow::Result<InstanceId> {
        let request = RunInstances {
            client_token: Some(token.to_owned()),
            scratch: ScratchDisks { scratch_gib: 1, swap_gib: 1 },
            ..RunInstances::new(self.tenant.image, "t3.nano")
        };
        let made = self.cloud()?.run_instances(&self.tenant.caller, request).await?;
        let [only] = made.instances.as_slice() else { return Err(anyhow!("not one instance: {made:?}")) };
        Ok(only.record.instance.id)
    }

    /// A client asks; `None` where it is refused in this state.
    pub(super) async fn ask(
        &self,
        id: InstanceId,
        request: InstanceRequest,
        force: bool,
    ) -> Result<Option<InstanceState>, Error> {
        let Some(cloud) = self.control.cloud() else { return Err(Error::Busy) };
        let (caller, ids) = (&self.tenant.caller, [id]);
        let changed = match request {
            InstanceRequest::Start => cloud.start_instances(caller, &ids).await,
            InstanceRequest::Stop => cloud.stop_instances(caller, &ids, force).await,
            InstanceRequest::Terminate => cloud.terminate_instances(caller, &ids).await,
            InstanceRequest::Reboot => {
                let done = cloud.reboot_instances(caller, &ids).await;
                return refused(done.map(|()| Some(InstanceState::Running)));
            }
        };
        refused(changed.map(|changes| changes.first().map(|change| change.after)))
    }

    fn cloud(&self) -> anyhow::Result<std::sync::Arc<tepui_core::Cloud>> {
        self.control.cloud().context("the control plane is down")
    }

    fn agent(&mut self) -> anyhow::Result<&mut Agent> {
        self.host.agent.as_mut().context("the agent is down")
    }

    /// Whoever starts services starts what is down.
    pub(super) fn revive(&mut self) -> anyhow::Result<()> {
        if self.control.cloud().is_none() {
            self.control.come_back()?;
        }
        if self.host.agent.is_none() {
            self.host.start_agent()?;
        }
        Ok(())
    }

    /// The row.
    pub(super) async fn record(&self, id: InstanceId) -> anyhow::Result<InstanceRecord> {
        let db = self.control.db().context("the control plane is down")?;
        let filter = InstanceFilter { ids: vec![id], reservation: None };
        let records = db.instances(self.tenant.caller.project, &filter).await?;
        records.first().map(|record| record.as_ref().clone()).context("the row is gone")
    }

    pub(super) async fn state(&self, id: InstanceId) -> anyhow::Result<InstanceState> {
        Ok(self.record(id).await?.instance.state)
    }

    /// The agent polls; whether there was news. Where the answer is lost, it never learns of it.
    pub(super) async fn poll(&mut self, answered: bool) -> anyhow::Result<bool> {
        self.revive()?;
        let (id, cloud) = (self.host.id, self.cloud()?);
        let request = self.agent()?.poll()?;
        let reply = cloud.poll(id, request).await?.owned();
        let news = !reply.parts.is_empty();
        if answered {
            self.agent()?.take(reply)?;
        }
        Ok(news)
    }

    /// The agent works until it would sleep, and says for how long.
    pub(super) async fn work(&mut self) -> anyhow::Result<Duration> {
        self.revive()?;
        Ok(self.agent()?.settle().await)
    }

    /// The agent works, with its pauses, until something is so.
    pub(super) async fn work_until(&mut self, is_so: impl Fn() -> bool) -> anyhow::Result<()> {
        let mut waited = Duration::ZERO;
        loop {
            let pause = self.work().await?;
            if is_so() {
                return Ok(());
            }
            ensure!(waited < PATIENCE, "not within {waited:?}");
            waited += self.nap(pause).await;
        }
    }

    /// Sleeps as long as the agent would, but not for long.
    async fn nap(&self, pause: Duration) -> Duration {
        let nap = pause.clamp(Duration::from_millis(1), NAP);
        self.control.clock.advance(nap);
        tokio::time::advance(nap).await;
        nap
    }

    /// What the agent would report now.
    pub(super) fn next_report(&mut self) -> anyhow::Result<Report> {
        let (boot, capacity) = (self.host.boot_id(), self.host.capacity);
        Ok(self.agent()?.report(boot, capacity))
    }

    /// The agent reports. Where the answer is lost, it does not know that it was heard.
    pub(super) async fn report(&mut self, answered: bool) -> anyhow::Result<Report> {
        let report = self.next_report()?;
        self.send(report.clone()).await?;
        if answered {
            self.agent()?.acknowledge(report.sequence, report.observed.applied.clone());
        }
        Ok(report)
    }

    /// A report arrives.
    pub(super) async fn send(&self, report: Report) -> anyhow::Result<()> {
        Ok(self.cloud()?.report(self.host.id, report).await.map(drop)?)
    }

    /// Lets everybody work until the instance rests and nothing is wrong, and returns its state.
    pub(super) async fn rest(&mut self, id: InstanceId) -> anyhow::Result<InstanceState> {
        let mut waited = Duration::ZERO;
        loop {
            let news = self.poll(true).await?;
            let pause = self.work().await?;
            self.report(true).await?;
            let state = self.state(id).await?;
            let is_settled = state.deadline().is_none() && !news && self.agent()?.is_settled();
            let findings = if is_settled { self.findings().await? } else { Vec::new() };
            if is_settled && findings.is_empty() {
                return Ok(state);
            }
            let seen = self.agent()?.placements();
            ensure!(
                waited < PATIENCE,
                "after {waited:?} it is {}, the host says {seen:?}, the doctors say {findings:?}",
                state.name()
            );
            waited += self.nap(pause).await;
        }
    }

    /// What the doctors of the cloud and of the host find.
    async fn findings(&mut self) -> anyhow::Result<Vec<String>> {
        let cloud = self.cloud()?.doctor(&self.administrator).await?;
        let host = self.host.findings().await?;
        let cloud = cloud.into_iter().map(|found| format!("{}: {}", found.object, found.what));
        Ok(cloud.chain(host.into_iter().map(|found| format!("{}: {}", found.object, found.what))).collect())
    }

    /// Nothing of a terminated instance is left, on the host or in the books.
    pub(super) async fn nothing_is_left(&self, id: InstanceId) -> anyhow::Result<()> {
        self.cloud()?.reconcile_once().await;
        let record = self.record(id).await?;
        ensure!(record.placement.is_none() && record.interface.is_none(), "the row holds {record:?}");
        ensure!(self.host.guests.all().is_empty(), "the host has guests: {:?}", self.host.guests.all());
        ensure!(self.host.disk_files()?.is_empty(), "the host has disks: {:?}", self.host.disk_files()?);
        let db = self.control.db().context("the control plane is down")?;
        for load in db.nodes().await? {
            let used = (load.used_vcpus, load.used_memory_mib, load.used_disk_gib);
            ensure!(used == (0, 0, 0), "the node counts {used:?} and holds nothing");
        }
        Ok(())
    }

    pub(super) async fn placement(&self, id: InstanceId) -> anyhow::Result<PlacementId> {
        self.record(id).await?.placement.map(|placement| placement.id).context("it has no placement")
    }
}

fn refused<T>(answer: Result<Option<T>, Error>) -> Result<Option<T>, Error> {
    match answer {
        Err(Error::WrongState { .. }) => Ok(None),
        answer => answer,
    }
}
