//! Places for instances that boot from a volume: chosen each time that one starts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tepui_db::model::{Attachment, AttachmentState, InstanceRecord, InstanceState, PlacementGroup};
use tepui_db::{LaunchNames, NewPlace};
use tepui_types::agent::PoolBackend;
use tepui_types::{ExportId, InstanceId, NodeId, PlacementId, PoolId, ProjectId, VolumeId};

use super::node_of;
use super::run::no_capacity;
use crate::failpoint::Passed;
use crate::loads::{Held, Wish};
use crate::scheduler::{self, Demand, Group};
use crate::{Caller, Cloud, Error};

impl Cloud {
    /// A place for each of these instances that boots from a volume and is stopped, held until the write is over.
    pub(super) async fn choose_places(
        &self,
        caller: &Caller,
        ids: &[InstanceId],
    ) -> Result<(Vec<NewPlace>, Vec<Held<'_>>), Error> {
        let mut records = self.records(caller.project, ids).await?;
        records.retain(|record| needs_place(record));
        if records.is_empty() {
            return Ok((Vec::new(), Vec::new()));
        }
        let bound = self.bound(caller.project).await?;
        let (mut places, mut holds) = (Vec::new(), Vec::new());
        for record in &records {
            let held = self.hold_place(caller, record, &bound, &holds).await?;
            places.extend(held.nodes().first().map(|node| self.place(record, *node)).transpose()?);
            holds.push(held);
        }
        Ok((places, holds))
    }

    /// The project's volumes that only guests of one node reach, with that node.
    async fn bound(&self, project: ProjectId) -> Result<BTreeMap<VolumeId, NodeId>, Error> {
        let (volumes, pools) = futures::try_join!(self.db.volumes(project), self.db.pools())?;
        let local = pools.into_iter().map(|load| load.pool).filter(|pool| pool.backend == PoolBackend::Local);
        let local: BTreeMap<PoolId, NodeId> = local.map(|pool| (pool.id, pool.node_id)).collect();
        let node = |pool: &PoolId| local.get(pool).copied();
        Ok(volumes.iter().filter_map(|one| Some((one.volume.id, node(&one.volume.pool_id)?))).collect())
    }

    async fn hold_place(
        &self,
        caller: &Caller,
        record: &InstanceRecord,
        bound: &BTreeMap<VolumeId, NodeId>,
        own: &[Held<'_>],
    ) -> Result<Held<'_>, Error> {
        let instance = &record.instance;
        let demand = Demand {
            vcpus: instance.vcpus,
            memory_mib: instance.memory_mib,
            disk_gib: instance.scratch.total_gib(),
        };
        let group = self.group_of(record).await?;
        let bound = kept(record).filter_map(|one| bound.get(&one.volume_id));
        let only = bound.map(|node| BTreeSet::from([*node])).reduce(|one, other| &one & &other);
        let request = scheduler::Request {
            demand,
            strategy: self.config.strategy,
            group: group
                .as_ref()
                .map(|(group, members)| Group { strategy: group.strategy, members: members.clone() }),
            duplicates: self.fleet.duplicates(self.steady()),
            only,
        };
        let wish = Wish { request: &request, group: group.map(|(group, _)| group.id), min: 1, count: 1, own };
        let held = self.loads.hold(self.db.as_ref(), &wish).await?;
        held.map_err(|why| no_capacity(caller, &demand, 1, why))
    }

    /// The instance's placement group, with how many members each node has.
    async fn group_of(
        &self,
        record: &InstanceRecord,
    ) -> Result<Option<(PlacementGroup, BTreeMap<NodeId, u32>)>, Error> {
        let Some(id) = record.instance.placement_group_id else { return Ok(None) };
        let project = record.instance.project_id;
        let groups = self.db.placement_groups(project).await?;
        let names = LaunchNames {
            token: None,
            image: record.instance.image_id,
            key: None,
            subnet: None,
            placement_group: groups.into_iter().find(|group| group.id == id).map(|group| group.name),
        };
        Ok(self.db.launch_parents(project, names).await?.placement_group)
    }

    fn place(&self, record: &InstanceRecord, node_id: NodeId) -> Result<NewPlace, Error> {
        let export = |one: &Attachment| {
            let export = ExportId::from_random(self.random());
            Ok((one.volume_id, export, self.new_secret(export)?))
        };
        Ok(NewPlace {
            instance_id: record.instance.id,
            placement_id: PlacementId::from_random(self.random()),
            node_id,
            exports: kept(record).map(export).collect::<Result<_, Error>>()?,
        })
    }

    /// Wakes those whom a change of power concerns beside the nodes on which the instances were: the nodes of new
    /// places, and the hosts of volumes. A hint only, as every wake-up.
    pub(super) async fn wake_places(&self, passed: Passed, caller: &Caller, before: &[Arc<InstanceRecord>]) {
        let moved = before.iter().filter(|record| record.instance.volume_root);
        let ids: Vec<_> = moved.map(|record| record.instance.id).collect();
        if ids.is_empty() {
            return;
        }
        let woken = async {
            let records = self.records(caller.project, &ids).await?;
            let volumes = records.iter().flat_map(|record| &record.attachments).map(|one| one.volume_id);
            let hosts = self.db.hosts_of_volumes(&volumes.collect::<Vec<_>>()).await?;
            self.wakes.wake(passed, records.iter().filter_map(|record| node_of(record)).chain(hosts));
            records.iter().for_each(|record| self.wakes.wake_vpc(passed, record.instance.vpc_id));
            Ok::<_, Error>(())
        };
        if let Err(error) = woken.await {
            tracing::warn!(%error, "nodes not woken");
        }
    }
}

fn needs_place(record: &InstanceRecord) -> bool {
    record.instance.volume_root
        && record.instance.state == InstanceState::Stopped
        && record.placement.is_none()
}

/// The volumes that stay with the instance.
fn kept(record: &InstanceRecord) -> impl Iterator<Item = &Attachment> {
    record.attachments.iter().filter(|one| one.state != AttachmentState::Detaching)
}
