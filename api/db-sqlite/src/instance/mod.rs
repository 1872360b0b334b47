//! Instances.

mod address;
mod attribute;
mod capacity;
mod group;
mod launch;
mod listing;
mod parents;
mod place;
mod power;
pub(crate) mod record;
mod volumes;

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use tepui_db::model::{InstanceRecord, InstanceState, PlacementGroup};
use tepui_db::{
    AttributeChange, CreateOutcome, DbError, DeleteOutcome, InstanceDb, InstanceFilter, Launch, LaunchNames,
    LaunchOutcome, LaunchParents, PowerChange, PowerOutcome, StartRequest,
};
use tepui_types::{InstanceId, PlacementGroupId, ProjectId};

pub(crate) use listing::Listings;

use crate::SqliteDb;
use crate::row::all;

#[async_trait]
impl InstanceDb for SqliteDb {
    async fn launch_parents(&self, project: ProjectId, names: LaunchNames) -> Result<LaunchParents, DbError> {
        self.read(move |connection| parents::read(connection, project, &names)).await
    }

    async fn launch(&self, launch: Launch, now: Timestamp) -> Result<LaunchOutcome, DbError> {
        self.write(move |connection| launch::launch(connection, launch, now)).await
    }

    async fn instances(
        &self,
        project: ProjectId,
        filter: &InstanceFilter,
    ) -> Result<Vec<Arc<InstanceRecord>>, DbError> {
        let (filter, listings) = (filter.clone(), Arc::clone(&self.listings));
        self.read(move |connection| record::of_project(connection, project, &filter, &listings)).await
    }

    async fn all_instances(&self) -> Result<Vec<InstanceRecord>, DbError> {
        self.read(|connection| {
            let sql = "SELECT n FROM instance WHERE state <> 'terminated'";
            let wanted = all(connection, sql, [], |c| c.plain())?;
            record::of_numbers(connection, &wanted)
        })
        .await
    }

    async fn instance_counts(&self) -> Result<Vec<(InstanceState, u64)>, DbError> {
        self.read(|connection| {
            let sql = "SELECT state, count(*) FROM instance WHERE state <> 'terminated' GROUP BY state";
            all(connection, sql, [], |c| Ok((c.stored()?, c.stored()?)))
        })
        .await
    }

    async fn change_power(
        &self,
        project: ProjectId,
        ids: &[InstanceId],
        change: PowerChange,
        now: Timestamp,
    ) -> Result<PowerOutcome, DbError> {
        let ids = ids.to_vec();
        self.write(move |connection| power::change(connection, project, &ids, change, now)).await
    }

    async fn start(&self, request: &StartRequest, now: Timestamp) -> Result<PowerOutcome, DbError> {
        let request = request.clone();
        self.write(move |connection| power::start(connection, &request, now)).await
    }

    async fn change_attributes(
        &self,
        project: ProjectId,
        id: InstanceId,
        changes: &[AttributeChange],
        _now: Timestamp,
    ) -> Result<PowerOutcome, DbError> {
        let changes = changes.to_vec();
        self.write(move |connection| attribute::change(connection, project, id, &changes)).await
    }

    async fn create_placement_group(
        &self,
        group: &PlacementGroup,
    ) -> Result<CreateOutcome<PlacementGroupId>, DbError> {
        let group = group.clone();
        self.write(move |connection| group::create(connection, &group)).await
    }

    async fn placement_groups(&self, project: ProjectId) -> Result<Vec<PlacementGroup>, DbError> {
        self.read(move |connection| group::of_project(connection, project)).await
    }

    async fn delete_placement_group(
        &self,
        project: ProjectId,
        id: PlacementGroupId,
    ) -> Result<DeleteOutcome, DbError> {
        self.write(move |connection| group::delete(connection, project, id)).await
    }
}
