//! Instances as they are shown.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tepui_db::InstanceFilter;
use tepui_db::model::{InstanceRecord, InstanceState, PlacementGroup};
use tepui_types::{InstanceId, PlacementGroupId, ProjectId, SecurityGroupId};

use crate::{Caller, Cloud, Error, Kind};

/// An instance with the names that its rows refer to by id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceView {
    /// The rows.
    pub record: Arc<InstanceRecord>,
    /// The interface's groups with their names, in the order they were given.
    pub groups: Vec<(SecurityGroupId, Arc<str>)>,
    /// Name of the placement group.
    pub placement_group: Option<Arc<str>>,
}

/// What is known of a guest's host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Health {
    /// The node polls.
    Ok,
    /// On its way to running.
    Initializing,
    /// It neither runs nor is about to.
    NotApplicable,
    /// The node does not poll: the guest may well run, nobody can say. Its state is the last known.
    Unknown,
    /// The node says that it cannot start guests now.
    Impaired,
}

/// What `DescribeInstanceStatus` shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceStatus {
    /// The instance.
    pub id: InstanceId,
    /// Its state.
    pub state: InstanceState,
    /// What is known of its host.
    pub health: Health,
    /// When the state last changed.
    pub since: tepui_types::Timestamp,
}

/// Names that rows refer to by id.
pub(super) struct Names {
    groups: HashMap<SecurityGroupId, Arc<str>>,
    placement_groups: HashMap<PlacementGroupId, Arc<str>>,
}

impl Names {
    pub(super) fn of<'a>(
        groups: impl IntoIterator<Item = (SecurityGroupId, &'a str)>,
        placement_groups: impl IntoIterator<Item = &'a PlacementGroup>,
    ) -> Self {
        let named = |group: &PlacementGroup| (group.id, group.name.as_str().into());
        Self {
            groups: groups.into_iter().map(|(id, name)| (id, name.into())).collect(),
            placement_groups: placement_groups.into_iter().map(named).collect(),
        }
    }

    pub(super) fn view(&self, record: Arc<InstanceRecord>) -> InstanceView {
        let group = |id: &SecurityGroupId| (*id, self.groups.get(id).cloned().unwrap_or_default());
        let interface = record.interface.as_ref();
        let placement_group = record.instance.placement_group_id.as_ref();
        InstanceView {
            groups: interface.map_or_else(Vec::new, |i| i.group_ids.iter().map(group).collect()),
            placement_group: placement_group.and_then(|id| self.placement_groups.get(id).cloned()),
            record,
        }
    }
}

impl Cloud {
    /// The caller's instances in order of launch: these, or all when `ids` is empty.
    ///
    /// # Errors
    /// `NotFound` for the first id that is unknown or foreign.
    pub async fn describe_instances(
        &self,
        caller: &Caller,
        ids: &[InstanceId],
    ) -> Result<Vec<InstanceView>, Error> {
        let records = self.records(caller.project, ids).await?;
        self.views(caller.project, records).await
    }

    /// One of the caller's instances.
    ///
    /// # Errors
    /// `NotFound`, also for a foreign one.
    pub async fn instance(&self, caller: &Caller, id: InstanceId) -> Result<InstanceView, Error> {
        let views = self.describe_instances(caller, &[id]).await?;
        views.into_iter().next().ok_or_else(|| Error::not_found(Kind::Instance, id))
    }

    /// The status of these instances, or of all when `ids` is empty; those that do not run only with
    /// `include_all`.
    ///
    /// # Errors
    /// `NotFound` for the first id that is unknown or foreign.
    pub async fn instance_status(
        &self,
        caller: &Caller,
        ids: &[InstanceId],
        include_all: bool,
    ) -> Result<Vec<InstanceStatus>, Error> {
        let records = self.records(caller.project, ids).await?;
        let status = |record: &Arc<InstanceRecord>| InstanceStatus {
            id: record.instance.id,
            state: record.instance.state,
            health: self.health(record),
            since: record.instance.state_since,
        };
        let shown =
            |record: &&Arc<InstanceRecord>| include_all || record.instance.state == InstanceState::Running;
        Ok(records.iter().filter(shown).map(status).collect())
    }

    /// The rows of these instances of a project, each of which must exist.
    pub(crate) async fn records(
        &self,
        project: ProjectId,
        ids: &[InstanceId],
    ) -> Result<Vec<Arc<InstanceRecord>>, Error> {
        let filter = InstanceFilter { ids: ids.to_vec(), reservation: None };
        let records = self.db.instances(project, &filter).await?;
        if !ids.is_empty() {
            let found: HashSet<InstanceId> = records.iter().map(|r| r.instance.id).collect();
            if let Some(missing) = ids.iter().find(|id| !found.contains(id)) {
                return Err(Error::not_found(Kind::Instance, missing));
            }
        }
        Ok(records)
    }

    pub(crate) async fn views(
        &self,
        project: ProjectId,
        records: Vec<Arc<InstanceRecord>>,
    ) -> Result<Vec<InstanceView>, Error> {
        if records.is_empty() {
            return Ok(Vec::new());
        }
        let names = self.names(project).await?;
        Ok(records.into_iter().map(|record| names.view(record)).collect())
    }

    pub(super) async fn names(&self, project: ProjectId) -> Result<Names, Error> {
        let (groups, placement_groups) =
            futures::try_join!(self.db.security_groups(project), self.db.placement_groups(project))?;
        let groups = groups.iter().map(|group| (group.id, group.name.as_str()));
        Ok(Names::of(groups, &placement_groups))
    }

    /// What is known of an instance's host now.
    pub fn health(&self, record: &InstanceRecord) -> Health {
        match record.instance.state {
            InstanceState::Stopped | InstanceState::Terminated => Health::NotApplicable,
            InstanceState::Pending => self.host_health(record).unwrap_or(Health::Initializing),
            InstanceState::Running | InstanceState::Stopping | InstanceState::ShuttingDown => {
                self.host_health(record).unwrap_or(Health::Ok)
            }
        }
    }

    fn host_health(&self, record: &InstanceRecord) -> Option<Health> {
        let node = record.placement.as_ref()?.node_id;
        let stalls = || (!self.fleet.stalls(node, record).is_empty()).then_some(Health::Impaired);
        self.fleet.trouble(node, self.steady(), self.config.node_timeout).or_else(stalls)
    }
}
