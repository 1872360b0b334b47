//! Schedules of snapshots.

use tepui_core::{Caller, CreateSnapshotSchedule, Error, Kind, NOT_HELD};
use tepui_db::model::{self, Role};
use tepui_types::rest::{CreateSnapshotScheduleRequest, Empty, List, SnapshotSchedule};

use super::resolve::pick;
use super::routes::Call;
use crate::failure::Failure;

async fn find(call: &Call) -> Result<model::SnapshotSchedule, Failure> {
    let schedules = call.cloud().snapshot_schedules(&call.caller).await?;
    let ids = schedules.iter().map(|schedule| (schedule.id, None));
    let id = pick(Kind::SnapshotSchedule, call.target(), ids)?;
    let found = schedules.into_iter().find(|schedule| schedule.id == id);
    found.ok_or_else(|| Error::not_found(Kind::SnapshotSchedule, id).into())
}

pub(super) async fn create(
    call: Call,
    request: CreateSnapshotScheduleRequest,
) -> Result<SnapshotSchedule, Failure> {
    let CreateSnapshotScheduleRequest { tag_key, tag_value, every_seconds, keep, test_every_seconds, freeze } =
        request;
    let new = CreateSnapshotSchedule { tag_key, tag_value, every_seconds, keep, test_every_seconds, freeze };
    Ok(shown(&call.caller, call.cloud().create_snapshot_schedule(&call.caller, new).await?))
}

pub(super) async fn list(call: Call, _: Empty) -> Result<List<SnapshotSchedule>, Failure> {
    let schedules = call.cloud().snapshot_schedules(&call.caller).await?;
    Ok(List { items: schedules.into_iter().map(|one| shown(&call.caller, one)).collect() })
}

pub(super) async fn show(call: Call, _: Empty) -> Result<SnapshotSchedule, Failure> {
    Ok(shown(&call.caller, find(&call).await?))
}

pub(super) async fn delete(call: Call, _: Empty) -> Result<Empty, Failure> {
    let id = find(&call).await?.id;
    call.cloud().delete_snapshot_schedule(&call.caller, id).await?;
    Ok(Empty {})
}

fn shown(to: &Caller, schedule: model::SnapshotSchedule) -> SnapshotSchedule {
    let model::SnapshotSchedule {
        id,
        project_id: _,
        tag_key,
        tag_value,
        every_seconds,
        keep,
        next_at,
        created_at,
        tests,
        freeze,
        freeze_failure,
    } = schedule;
    SnapshotSchedule {
        id,
        tag_key,
        tag_value,
        every_seconds,
        keep,
        next_at,
        test_every_seconds: tests.map(|tests| tests.every_seconds),
        next_test_at: tests.map(|tests| tests.next_at),
        freeze,
        freeze_failure: freeze_failure.map(|message| match to.role {
            Role::Administrator => message,
            // It is the host's.
            Role::Member => NOT_HELD.to_owned(),
        }),
        created_at,
    }
}
