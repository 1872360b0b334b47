//! `RunInstances`: resolve what it names, choose nodes, write once, wake.

use tepui_db::{InstanceFilter, LaunchOutcome};
use tepui_types::{NodeId, ProjectId, ReservationId};

use super::resolve::Resolved;
use super::{InstanceView, RunInstances};
use crate::failpoint::pass;
use crate::scheduler::{self, Demand, Group};
use crate::{Caller, Cloud, Error, Kind};

/// How often a launch chooses again after losing a race for a node. Each loss means that another
/// launch won, so that this bounds the unfairness, not the progress.
const ATTEMPTS: u32 = 8;

/// What one `RunInstances` made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// The id.
    pub id: ReservationId,
    /// The owner.
    pub project_id: ProjectId,
    /// Its instances, in order of their launch index.
    pub instances: Vec<InstanceView>,
}

/// How one attempt ended, if it did not fail.
enum Attempt {
    /// Done, on these nodes.
    Done(ReservationId, Vec<NodeId>),
    /// The snapshot was too old: choose again.
    Lost,
}

impl Cloud {
    /// Launches `max_count` instances, or as many as fit, but at least `min_count`: all of those are
    /// durable when it answers. Repeated with the same token it gives the same reservation.
    ///
    /// # Errors
    /// `InvalidInput`; `NotFound` for whatever it names; `NoCapacity`, `QuotaExceeded`,
    /// `AddressInUse`, `SubnetFull`, `PoolExhausted`; `TokenMismatch`. Nothing is left behind.
    pub async fn run_instances(&self, caller: &Caller, request: RunInstances) -> Result<Reservation, Error> {
        let token = self.token_use(&request)?;
        if !caller.dry_run
            && let Some(reservation) = self.repeated(caller, token.as_ref()).await?
        {
            return self.reservation(caller.project, reservation).await;
        }
        let resolved = self.resolve(caller, &request, token).await?;
        let reservation = ReservationId::from_random(self.random());
        let write = self.launch(caller, &resolved, reservation);
        let (made, nodes) = self.commit(caller, "RunInstances", reservation.to_string(), write).await?;
        pass("core::run::committed")?;
        self.wakes.wake(nodes);
        self.wake_vpc(resolved.subnet.vpc_id).await;
        pass("core::run::woken")?;
        self.reservation(caller.project, made).await
    }

    /// Chooses and writes until no race is lost. Returns the reservation, which is an older one where
    /// the token was used meanwhile, and the nodes concerned.
    async fn launch(
        &self,
        caller: &Caller,
        resolved: &Resolved,
        reservation: ReservationId,
    ) -> Result<(ReservationId, Vec<NodeId>), Error> {
        for _ in 0..ATTEMPTS {
            match self.attempt(caller, resolved, reservation).await? {
                Attempt::Done(made, nodes) => return Ok((made, nodes)),
                Attempt::Lost => {}
            }
        }
        Err(Error::Busy)
    }

    async fn attempt(
        &self,
        caller: &Caller,
        resolved: &Resolved,
        reservation: ReservationId,
    ) -> Result<Attempt, Error> {
        let nodes = self.choose(caller, resolved).await?;
        pass("core::run::planned")?;
        let launch = self.build_launch(caller, resolved, reservation, &nodes);
        launch_result(self.db.launch(&launch, self.now()).await?, resolved, nodes)
    }

    /// A node for each instance, by a fresh snapshot.
    async fn choose(&self, caller: &Caller, resolved: &Resolved) -> Result<Vec<NodeId>, Error> {
        let request = scheduler::Request {
            demand: resolved.demand(),
            strategy: self.config.strategy,
            overcommit: self.config.overcommit,
            group: self.group_members(caller, resolved).await?,
        };
        let plan = scheduler::plan(&self.live_nodes().await?, &request, resolved.max_count);
        if plan.nodes.len() < resolved.min_count {
            return Err(no_capacity(&request.demand, resolved.min_count, plan));
        }
        Ok(plan.nodes)
    }

    async fn group_members(&self, caller: &Caller, resolved: &Resolved) -> Result<Option<Group>, Error> {
        let Some(group) = &resolved.placement_group else { return Ok(None) };
        let records = self.db.instances(caller.project, &InstanceFilter::default()).await?;
        let mut members = std::collections::BTreeMap::new();
        for record in records.iter().filter(|r| r.instance.placement_group_id == Some(group.id)) {
            if let Some(node) = super::node_of(record) {
                *members.entry(node).or_insert(0) += 1;
            }
        }
        Ok(Some(Group { strategy: group.strategy, members }))
    }

    pub(crate) async fn reservation(
        &self,
        project: ProjectId,
        id: ReservationId,
    ) -> Result<Reservation, Error> {
        let filter = InstanceFilter { ids: Vec::new(), reservation: Some(id) };
        let records = self.db.instances(project, &filter).await?;
        let mut instances = self.views(project, records).await?;
        instances.sort_by_key(|view| view.record.instance.launch_index);
        Ok(Reservation { id, project_id: project, instances })
    }
}

fn no_capacity(demand: &Demand, count: usize, plan: scheduler::Plan) -> Error {
    let wanted = if count == 1 { demand.to_string() } else { format!("{count} × {demand}") };
    Error::NoCapacity { wanted, why: plan.rejected }
}

fn launch_result(outcome: LaunchOutcome, resolved: &Resolved, nodes: Vec<NodeId>) -> Result<Attempt, Error> {
    match outcome {
        LaunchOutcome::Launched(id) | LaunchOutcome::Repeated(id) => Ok(Attempt::Done(id, nodes)),
        LaunchOutcome::NodeLost(_) | LaunchOutcome::AntiAffinity(_) => Ok(Attempt::Lost),
        LaunchOutcome::TokenMismatch => {
            let token = resolved.token.as_ref().map(|token| token.token.clone()).unwrap_or_default();
            Err(Error::TokenMismatch { token })
        }
        LaunchOutcome::QuotaExceeded { quota, limit, used } => {
            Err(Error::QuotaExceeded { quota, limit, used, asked: resolved.asked_of(quota, nodes.len()) })
        }
        LaunchOutcome::AddressInUse(address) => Err(Error::AddressInUse { address }),
        LaunchOutcome::SubnetFull => Err(Error::SubnetFull { id: resolved.subnet.id.to_string() }),
        LaunchOutcome::PoolExhausted => Err(Error::PoolExhausted),
        LaunchOutcome::ParentMissing(what) => Err(Error::not_found(Kind::Resource, what)),
    }
}
