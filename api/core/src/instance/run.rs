//! `RunInstances`: resolve what it names, choose nodes, write once, wake.

use std::collections::BTreeMap;
use std::sync::Arc;

use tepui_db::model::{InstanceRecord, PlacementGroup, Role};
use tepui_db::{InstanceFilter, LaunchNames, LaunchOutcome};
use tepui_types::{NodeId, ProjectId, ReservationId};

use super::describe::Names;
use super::resolve::{Resolved, missing_image, names, scratch_disks, wanted_type};
use super::volumes::Pools;
use super::{InstanceView, RunInstances};
use crate::audit::listed;
use crate::failpoint::pass;
use crate::loads::{Held, Wish};
use crate::scheduler::{self, Demand, Group, Rejection};
use crate::snapshot::not_completed;
use crate::{Caller, Cloud, Error, Kind};

/// How often a launch chooses again after losing a race for a node. Each loss means that another
/// launch won, so that this bounds the unfairness, not the progress.
pub(super) const ATTEMPTS: u32 = 8;

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
    /// Done.
    Done(Made),
    /// The snapshot was too old: choose again.
    Lost,
    /// Only so many fit, which is enough: choose for these.
    Fewer(usize),
}

/// What the write of a launch made.
struct Made {
    /// An older one where the token was used meanwhile; then nothing was made.
    reservation: ReservationId,
    instances: Vec<Arc<InstanceRecord>>,
    /// They make volumes for it.
    storage_hosts: Vec<NodeId>,
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
        let names = names(&request, token.as_ref());
        let parents = self.db.launch_parents(caller.project, names.clone()).await?;
        // A repeat does not care for what is there no more.
        let repeated = self.repeated(caller, token.as_ref(), parents.reservation).await;
        if !caller.dry_run
            && let Some(reservation) = repeated?
        {
            return Ok(reservation);
        }
        let scratch = scratch_disks(request.scratch, wanted_type(&request)?)?;
        let volumes = self.resolve_volumes(caller, (&request.volumes, scratch)).await?;
        let image = parents.image.as_ref().ok_or_else(|| missing_image(&request))?;
        let root = self.resolve_root(caller, &request.root_volume, image).await?;
        let volumes = root.into_iter().chain(volumes).collect();
        let resolved = self.resolve(&request, token, parents, volumes)?;
        let reservation = ReservationId::from_random(self.random());
        let write = self.launch(caller, &resolved, names, reservation);
        let made = self.commit_naming(caller, "RunInstances", named, write).await?;
        let passed = pass("core::run::committed")?;
        self.wakes.wake(passed, made.instances.iter().filter_map(|record| super::node_of(record)));
        self.wakes.wake(passed, made.storage_hosts.iter().copied());
        self.wakes.wake_vpc(passed, resolved.subnet.vpc_id);
        pass("core::run::woken")?;
        self.shown(caller.project, made, reservation, &resolved.names).await
    }

    /// Chooses and writes, until no race is lost; each race lost needs the members that its placement
    /// group has now.
    async fn launch(
        &self,
        caller: &Caller,
        resolved: &Resolved,
        names: LaunchNames,
        reservation: ReservationId,
    ) -> Result<Made, Error> {
        let mut count = resolved.max_count;
        let mut group = resolved.placement_group.clone();
        for _ in 0..ATTEMPTS {
            let pools = self.pools_for(&resolved.volumes).await?;
            let held = self.choose(caller, resolved, group.as_ref(), (count, &pools)).await?;
            match self.attempt(caller, resolved, reservation, (held.nodes(), &pools)).await? {
                Attempt::Done(made) => return Ok(made),
                Attempt::Lost => {}
                Attempt::Fewer(fit) => count = fit,
            }
            drop(held);
            if group.is_some() {
                let parents = self.db.launch_parents(caller.project, names.clone()).await?;
                group = parents.placement_group;
            }
        }
        Err(Error::Busy)
    }

    async fn attempt(
        &self,
        caller: &Caller,
        resolved: &Resolved,
        reservation: ReservationId,
        (nodes, pools): (&[NodeId], &Pools),
    ) -> Result<Attempt, Error> {
        pass("core::run::planned")?;
        let launch = self.build_launch(caller, resolved, reservation, (nodes, pools))?;
        let volumes = launch.instances.iter().flat_map(|new| &new.volumes);
        let storage_hosts = pools.hosts(&volumes.map(|new| new.volume.pool_id).collect());
        let made = Made { reservation, instances: Vec::new(), storage_hosts };
        launch_result(self.db.launch(launch, self.now()).await?, resolved, made, nodes.len())
    }

    /// A node for each of `count` instances, or for as many as fit, held until the write is over.
    async fn choose(
        &self,
        caller: &Caller,
        resolved: &Resolved,
        group: Option<&(PlacementGroup, BTreeMap<NodeId, u32>)>,
        (count, pools): (usize, &Pools),
    ) -> Result<Held<'_>, Error> {
        let request = scheduler::Request {
            demand: resolved.demand(),
            strategy: self.config.strategy,
            group: group.map(|(group, members)| Group { strategy: group.strategy, members: members.clone() }),
            duplicates: self.fleet.duplicates(self.steady()),
            only: pools.nodes(),
        };
        let group = group.map(|(group, _)| group.id);
        let wish = Wish { request: &request, group, min: resolved.min_count, count, own: &[] };
        let held = self.loads.hold(self.db.as_ref(), &wish).await?;
        held.map_err(|why| no_capacity(caller, &request.demand, wish.min, why))
    }

    /// What a launch made. The names that it refers to were read for it; an older reservation may
    /// refer to others.
    async fn shown(
        &self,
        project: ProjectId,
        made: Made,
        asked: ReservationId,
        names: &Names,
    ) -> Result<Reservation, Error> {
        if made.reservation != asked {
            return self.reservation(project, made.reservation).await;
        }
        Ok(reserved(project, asked, made.instances, names))
    }

    pub(crate) async fn reservation(
        &self,
        project: ProjectId,
        id: ReservationId,
    ) -> Result<Reservation, Error> {
        let filter = InstanceFilter { ids: Vec::new(), reservation: Some(id) };
        let (records, names) = futures::try_join!(
            async { Ok(self.db.instances(project, &filter).await?) },
            self.names(project)
        )?;
        Ok(reserved(project, id, records, &names))
    }
}

fn reserved(
    project_id: ProjectId,
    id: ReservationId,
    records: Vec<Arc<InstanceRecord>>,
    names: &Names,
) -> Reservation {
    let mut instances: Vec<_> = records.into_iter().map(|record| names.view(record)).collect();
    instances.sort_by_key(|view| view.record.instance.launch_index);
    Reservation { id, project_id, instances }
}

/// Members learn the rules that failed; which nodes there are and what is free on them is the
/// operator's.
pub(super) fn no_capacity(caller: &Caller, demand: &Demand, count: usize, rejected: Vec<Rejection>) -> Error {
    let wanted = if count == 1 { demand.to_string() } else { format!("{count} × {demand}") };
    let why = match caller.role {
        Role::Administrator => rejected,
        Role::Member => scheduler::outlined(&rejected),
    };
    Error::NoCapacity { wanted, why }
}

/// The reservation and its instances, as the audit record names them; a refused launch made nothing.
fn named(made: Option<&Made>) -> String {
    let Some(made) = made else { return String::new() };
    let instances = made.instances.iter().map(|record| record.instance.id.to_string());
    listed(std::iter::once(made.reservation.to_string()).chain(instances))
}

fn launch_result(
    outcome: LaunchOutcome,
    resolved: &Resolved,
    made: Made,
    asked: usize,
) -> Result<Attempt, Error> {
    if let Some(fit) = enough(&outcome, resolved, asked) {
        return Ok(Attempt::Fewer(fit));
    }
    match outcome {
        LaunchOutcome::Launched(instances) => Ok(Attempt::Done(Made { instances, ..made })),
        LaunchOutcome::Repeated(reservation) => {
            Ok(Attempt::Done(Made { reservation, instances: Vec::new(), storage_hosts: Vec::new() }))
        }
        LaunchOutcome::NodeLost(_) | LaunchOutcome::AntiAffinity(_) | LaunchOutcome::PoolLost(_) => {
            Ok(Attempt::Lost)
        }
        LaunchOutcome::SnapshotMissing(id) => Err(Error::not_found(Kind::Snapshot, id)),
        LaunchOutcome::SnapshotState(id, state) => Err(not_completed(id, state)),
        LaunchOutcome::TokenMismatch => {
            let token = resolved.token.as_ref().map(|token| token.token.clone()).unwrap_or_default();
            Err(Error::TokenMismatch { token })
        }
        LaunchOutcome::QuotaExceeded { quota, limit, used } => {
            Err(Error::QuotaExceeded { quota, limit, used, asked: resolved.asked_of(quota, asked) })
        }
        LaunchOutcome::AddressInUse(address) => Err(Error::AddressInUse { address }),
        LaunchOutcome::SubnetFull { .. } => Err(Error::SubnetFull { id: resolved.subnet.id.to_string() }),
        LaunchOutcome::PoolExhausted { .. } => Err(Error::PoolExhausted),
        LaunchOutcome::ParentMissing(what) => Err(Error::not_found(Kind::Resource, what)),
    }
}

/// How many of `asked` would fit, where a quota or the addresses allow fewer, but not too few.
fn enough(outcome: &LaunchOutcome, resolved: &Resolved, asked: usize) -> Option<usize> {
    let fit = match *outcome {
        LaunchOutcome::QuotaExceeded { quota, limit, used } => {
            let left = limit.saturating_sub(used) / resolved.asked_of(quota, 1).max(1);
            usize::try_from(left).unwrap_or(usize::MAX)
        }
        LaunchOutcome::SubnetFull { fit } | LaunchOutcome::PoolExhausted { fit } => fit,
        LaunchOutcome::Launched(_)
        | LaunchOutcome::Repeated(_)
        | LaunchOutcome::TokenMismatch
        | LaunchOutcome::NodeLost(_)
        | LaunchOutcome::AntiAffinity(_)
        | LaunchOutcome::PoolLost(_)
        | LaunchOutcome::SnapshotMissing(_)
        | LaunchOutcome::SnapshotState(..)
        | LaunchOutcome::AddressInUse(_)
        | LaunchOutcome::ParentMissing(_) => return None,
    };
    (fit < asked && fit >= resolved.min_count).then_some(fit)
}
