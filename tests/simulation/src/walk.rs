//! The walk: from every state of an instance, at every point of its host's work, everything that a client
//! can ask and everything that can fail, one at a time. Each ends at rest in the state that follows, within
//! its deadline and without a finding of the doctors, and can be deleted without a trace.

mod act;
mod scene;
mod world;

use std::collections::BTreeSet;

use anyhow::{Context as _, bail, ensure};
use tepui_agent::execute::point;
use tepui_agent::plan::Operation;
use tepui_db::model::{Instance, InstanceRequest, InstanceState, Placement};
use tepui_libvirt::OffReason;
use tepui_types::InstanceId;
use tepui_types::agent::{PlacementPart, PlacementSpec, PlacementState};
use tepui_types::failpoint::{self, Effect};

use crate::fake_clock;
use crate::guests::Deed;
use act::{Act, Fault, Way};
use scene::{Scene, Stage, goal};
use world::{Launched, World};

/// What the walk came by.
#[derive(Debug, Default)]
pub struct Walked {
    /// States of instances that something was done in.
    pub states: BTreeSet<InstanceState>,
    /// What hosts said of placements then.
    pub reported: BTreeSet<&'static str>,
    /// Things that happened.
    pub cases: u32,
}

/// Walks.
///
/// # Errors
/// The first case that does not end as it must, with the way to it.
pub fn walk() -> anyhow::Result<Walked> {
    fake_clock::run(async {
        let mut world = World::new().await?;
        let mut walked = Walked::default();
        for point in act::points("run") {
            let launched = world.launch_cut_off(point).await.context(*point)?;
            expect_rest(&mut world, launched.id, &[InstanceState::Running]).await.context(*point)?;
            delete(&mut world, launched.id).await.context(*point)?;
        }
        for scene in Scene::all() {
            for act in Act::all() {
                let case = Case { scene, act };
                case.walk(&mut world, &mut walked).await.with_context(|| format!("{case:?}"))?;
            }
        }
        world.control.die().await;
        Ok(walked)
    })
}

/// One instance as its rows and its host's part have it, for pictures of the states.
pub(crate) async fn specimen() -> anyhow::Result<(Instance, Placement, PlacementSpec)> {
    let mut world = World::new().await?;
    let id = world.launch().await?.id;
    world.poll(true).await?;
    let record = world.record(id).await?;
    let placement = record.placement.context("it has no placement")?;
    let wanted = world.host.agent.as_ref().and_then(|agent| agent.wanted(placement.id));
    world.control.die().await;
    match wanted {
        Some(PlacementPart::Present(spec)) => Ok((record.instance, placement, *spec)),
        other => bail!("its part says {other:?}"),
    }
}

/// One act in one scene.
#[derive(Debug, Clone, Copy)]
struct Case {
    scene: Scene,
    act: Act,
}

impl Case {
    async fn walk(self, world: &mut World, walked: &mut Walked) -> anyhow::Result<()> {
        world.host.guests.take_journal();
        let launched = self.scene.set(world).await?;
        let before = world.state(launched.id).await?;
        ensure!(before == self.scene.state, "the scene is {}", before.name());
        walked.states.insert(before);
        walked.cases += 1;
        let placements = world.host.agent.iter().flat_map(|agent| agent.placements());
        walked.reported.extend(placements.map(|state| kind(&state)));
        let after = self.act.happens(world, &launched, self.scene).await?;
        expect_rest(world, launched.id, &self.ends(after)).await?;
        self.started_no_more_than_asked(world)?;
        delete(world, launched.id).await
    }

    /// Where it may come to rest. A guest that is off stays off, unless somebody starts it, or its host rebooted
    /// before anybody saw it.
    fn ends(self, after: InstanceState) -> Vec<InstanceState> {
        match (goal(after), self.scene.guest_is_off(), self.act) {
            (InstanceState::Running, true, Act::Fault(Fault::HostReboots)) => {
                vec![InstanceState::Running, InstanceState::Stopped]
            }
            (InstanceState::Running, true, act) if !matches!(act, Act::Ask(InstanceRequest::Start, _)) => {
                vec![InstanceState::Stopped]
            }
            (end, _, _) => vec![end],
        }
    }

    fn started_no_more_than_asked(self, world: &World) -> anyhow::Result<()> {
        let again = matches!(self.act, Act::Ask(InstanceRequest::Start, _) | Act::Fault(Fault::HostReboots));
        let journal = world.host.guests.take_journal();
        let starts = journal.iter().filter(|(_, deed)| matches!(deed, Deed::Started(_))).count();
        ensure!(starts <= 1 + usize::from(again), "its guest was started {starts} times");
        Ok(())
    }
}

async fn expect_rest(world: &mut World, id: InstanceId, ends: &[InstanceState]) -> anyhow::Result<()> {
    let end = world.rest(id).await?;
    ensure!(ends.contains(&end), "it rests {}, not {ends:?}", end.name());
    Ok(())
}

async fn delete(world: &mut World, id: InstanceId) -> anyhow::Result<()> {
    world.ask(id, InstanceRequest::Terminate, false).await?;
    expect_rest(world, id, &[InstanceState::Terminated]).await.context("when it is deleted")?;
    world.nothing_is_left(id).await.context("when it is deleted")
}

impl Scene {
    async fn set(self, world: &mut World) -> anyhow::Result<Launched> {
        let launched = world.launch().await?;
        let id = launched.id;
        let forced = self.operation() == Some(Operation::PowerOff);
        match self.state {
            InstanceState::Pending => {}
            InstanceState::Running => drop(world.rest(id).await?),
            InstanceState::Stopping | InstanceState::Stopped => {
                world.rest(id).await?;
                world.ask(id, InstanceRequest::Stop, forced).await?;
            }
            InstanceState::ShuttingDown | InstanceState::Terminated => {
                world.rest(id).await?;
                if forced {
                    world.ask(id, InstanceRequest::Stop, true).await?;
                }
                world.ask(id, InstanceRequest::Terminate, false).await?;
            }
        }
        if self.state.deadline().is_none() {
            world.rest(id).await?;
        }
        if let Stage::Before(operation, step) = self.stage {
            self.cut_off(world, id, &point(operation, step)).await?;
        }
        Ok(launched)
    }

    async fn cut_off(self, world: &mut World, id: InstanceId, point: &str) -> anyhow::Result<()> {
        match self.operation() {
            Some(Operation::Reboot) => drop(world.ask(id, InstanceRequest::Reboot, false).await?),
            Some(Operation::Note) => world.host.guests.goes_off(world.placement(id).await?, OffReason::Guest),
            Some(Operation::Start | Operation::Stop | Operation::PowerOff | Operation::Remove) | None => {}
        }
        world.poll(true).await?;
        failpoint::arm(point, Effect::Error);
        let worked = world.work_until(|| failpoint::trips(point) > 0).await;
        failpoint::disarm(point);
        worked.with_context(|| format!("the host never came to {point}"))
    }
}

impl Act {
    /// Lets it happen; the instance's state after it.
    async fn happens(
        self,
        world: &mut World,
        launched: &Launched,
        scene: Scene,
    ) -> anyhow::Result<InstanceState> {
        let id = launched.id;
        match self {
            Self::Ask(request, Way::Answered) => asked(world, id, request, false).await?,
            Self::Ask(request, Way::AnswerLost) => {
                asked(world, id, request, false).await?;
                asked(world, id, request, false).await?;
            }
            Self::Ask(request, Way::KilledAt(point)) => killed_at(world, id, request, point).await?,
            Self::ForceStop => asked(world, id, InstanceRequest::Stop, true).await?,
            Self::Retry => match scene.state {
                InstanceState::Pending | InstanceState::Running => world.launch_again(launched).await?,
                InstanceState::Stopping | InstanceState::Stopped => {
                    asked(world, id, InstanceRequest::Stop, false).await?;
                }
                InstanceState::ShuttingDown | InstanceState::Terminated => {
                    asked(world, id, InstanceRequest::Terminate, false).await?;
                }
            },
            Self::Fault(fault) => {
                fault.happens(world).await?;
                // What hosts say meanwhile may change it; what matters is where that leads.
                return Ok(scene.state);
            }
        }
        world.state(id).await
    }
}

/// A client asks, and is answered as the table says.
async fn asked(
    world: &mut World,
    id: InstanceId,
    request: InstanceRequest,
    force: bool,
) -> anyhow::Result<()> {
    let before = world.state(id).await?;
    let answer = world.ask(id, request, force).await?;
    let wanted = before.after(request);
    ensure!(answer == wanted, "{} answers {answer:?}, the table says {wanted:?}", request.name());
    let after = world.state(id).await?;
    ensure!(after == wanted.unwrap_or(before), "{} leaves it {}", request.name(), after.name());
    Ok(())
}

/// The control plane is killed there, if it comes so far; the client repeats its call.
async fn killed_at(
    world: &mut World,
    id: InstanceId,
    request: InstanceRequest,
    point: &str,
) -> anyhow::Result<()> {
    let is_allowed = world.state(id).await?.after(request).is_some();
    failpoint::arm(point, Effect::Error);
    let answer = world.ask(id, request, false).await;
    let trips = failpoint::trips(point);
    failpoint::disarm(point);
    if is_allowed && (answer.is_ok() || trips == 0) {
        bail!("it was never cut off at {point}: {answer:?}");
    }
    world.control.die().await;
    world.revive()?;
    asked(world, id, request, false).await
}

impl Fault {
    async fn happens(self, world: &mut World) -> anyhow::Result<()> {
        match self {
            Self::ControlDies => world.control.die().await,
            Self::AgentDies => world.host.agent = None,
            Self::HostReboots => world.host.reboot(),
            Self::PollReplyLost => drop(world.poll(false).await?),
            Self::ReportReplyLost => {
                world.work().await?;
                world.report(false).await?;
            }
            Self::ReportLate => {
                world.work().await?;
                let late = world.next_report()?;
                world.poll(true).await?;
                world.work().await?;
                world.report(true).await?;
                world.send(late).await?;
            }
        }
        Ok(())
    }
}

/// What a host says of a placement, without the particulars.
pub(crate) fn kind(state: &PlacementState) -> &'static str {
    match state {
        PlacementState::Preparing { .. } => "preparing",
        PlacementState::Running { .. } => "running",
        PlacementState::Stopping => "stopping",
        PlacementState::Off { .. } => "off",
        PlacementState::Failed { .. } => "failed",
        PlacementState::Gone => "gone",
    }
}
