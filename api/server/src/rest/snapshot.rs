//! Snapshots of volumes.

use tepui_core::{Caller, CopySnapshot, CopyTo, CreateSnapshots, Error, Kind, TEST_FAILED, snapshot_failure};
use tepui_db::model::{self, Role, SnapshotRecord, SnapshotTested};
use tepui_types::agent::FreezeKind;
use tepui_types::rest::{
    CopySnapshotRequest, CreateSnapshotRequest, Empty, List, Snapshot, SnapshotConsistency,
    SnapshotInstanceRequest, SnapshotState, SnapshotTest,
};
use tepui_types::{SnapshotId, VolumeId};

use super::resolve::pick;
use super::routes::Call;
use super::{instance, pool, volume};
use crate::failure::Failure;

/// The snapshot that a text names. One that is being deleted only by its id: its name is free again.
pub(super) async fn find(call: &Call, text: &str) -> Result<SnapshotId, Failure> {
    let mut snapshots = call.cloud().snapshots(&call.caller, &[]).await?;
    snapshots.retain(|one| {
        one.snapshot.state != model::SnapshotState::Deleting || one.snapshot.id.to_string() == text
    });
    let names = snapshots.into_iter().map(|one| (one.snapshot.id, one.tags.get("Name").cloned()));
    pick(Kind::Snapshot, text, names)
}

/// The snapshot that a text names, for what is made of it: one that others share is named by its whole id.
pub(super) async fn find_source(call: &Call, text: &str) -> Result<SnapshotId, Failure> {
    match (find(call, text).await, text.parse()) {
        (Err(Failure::Domain(Error::NotFound { .. })), Ok(id)) => Ok(id),
        (found, _) => found,
    }
}

/// The volume that a text names; a root disk that is local to its host is none, and is named by its whole id.
async fn find_disk(call: &Call, text: &str) -> Result<VolumeId, Failure> {
    match (volume::find(call, text).await, text.parse()) {
        (Err(Failure::Domain(Error::NotFound { .. })), Ok(id)) => Ok(id),
        (found, _) => found,
    }
}

pub(super) async fn create(call: Call, request: CreateSnapshotRequest) -> Result<Snapshot, Failure> {
    let of = find_disk(&call, &request.volume).await?;
    let CreateSnapshotRequest { volume: _, description, freeze, name, mut tags } = request;
    tags.extend(name.map(|name| ("Name".to_owned(), name)));
    let new = CreateSnapshots { volumes: vec![of], instance: None, freeze, description, tags };
    let taken = call.cloud().create_snapshots(&call.caller, &new).await?;
    let taken = taken.into_iter().next().map(|record| shown(&call.caller, record));
    taken.ok_or_else(|| Error::not_found(Kind::Volume, of).into())
}

pub(super) async fn of_instance(
    call: Call,
    request: SnapshotInstanceRequest,
) -> Result<List<Snapshot>, Failure> {
    let record = instance::find(&call, call.target()).await?.record;
    let root = record.root_volume.as_ref().filter(|_| !request.exclude_root).map(|root| root.id);
    let meant = record.attachments.iter().filter(|one| !(one.is_root && request.exclude_root));
    let volumes: Vec<_> = root.into_iter().chain(meant.map(|one| one.volume_id)).collect();
    if volumes.is_empty() {
        let rule = match request.exclude_root {
            true => "has no disk but its root, which is excluded",
            false => "has no disks: it is terminated",
        };
        return Err(Error::invalid("instance", record.instance.id, rule).into());
    }
    let SnapshotInstanceRequest { description, freeze, exclude_root: _, tags } = request;
    let new = CreateSnapshots { volumes, instance: Some(record.instance.id), freeze, description, tags };
    let taken = call.cloud().create_snapshots(&call.caller, &new).await?;
    Ok(List { items: taken.into_iter().map(|record| shown(&call.caller, record)).collect() })
}

pub(super) async fn copy(call: Call, request: CopySnapshotRequest) -> Result<Snapshot, Failure> {
    let source = find_source(&call, call.target()).await?;
    let CopySnapshotRequest { class, pool, description, name, mut tags } = request;
    let to = match (class, pool) {
        (None, None) => CopyTo::SamePool,
        (Some(class), None) => CopyTo::Class(class),
        (None, Some(pool)) => CopyTo::Pool(pool::find(&call, &pool).await?),
        (Some(class), Some(_)) => {
            return Err(Error::invalid("class", class, "is not named together with a pool").into());
        }
    };
    tags.extend(name.map(|name| ("Name".to_owned(), name)));
    let new = CopySnapshot { source, to, description, tags };
    Ok(shown(&call.caller, call.cloud().copy_snapshot(&call.caller, new).await?))
}

pub(super) async fn list(call: Call, _: Empty) -> Result<List<Snapshot>, Failure> {
    let snapshots = call.cloud().snapshots(&call.caller, &[]).await?;
    let mut tests = call.cloud().snapshot_tests(&call.caller).await?;
    let with_test = |record: SnapshotRecord| {
        let test = tests.remove(&record.snapshot.id);
        tested(&call.caller, shown(&call.caller, record), test)
    };
    Ok(List { items: snapshots.into_iter().map(with_test).collect() })
}

pub(super) async fn show(call: Call, _: Empty) -> Result<Snapshot, Failure> {
    let id = find(&call, call.target()).await?;
    one(&call, id).await
}

pub(super) async fn test(call: Call, _: Empty) -> Result<Snapshot, Failure> {
    let id = find(&call, call.target()).await?;
    call.cloud().test_snapshot(&call.caller, id).await?;
    one(&call, id).await
}

async fn one(call: &Call, id: SnapshotId) -> Result<Snapshot, Failure> {
    let test = call.cloud().snapshot_tests(&call.caller).await?.remove(&id);
    let found = call.cloud().snapshots(&call.caller, &[id]).await?.into_iter().next();
    let record = found.ok_or_else(|| Error::not_found(Kind::Snapshot, id))?;
    Ok(tested(&call.caller, shown(&call.caller, record), test))
}

pub(super) async fn delete(call: Call, _: Empty) -> Result<Empty, Failure> {
    let id = find(&call, call.target()).await?;
    call.cloud().delete_snapshot(&call.caller, id).await?;
    Ok(Empty {})
}

pub(super) fn shown(to: &Caller, record: SnapshotRecord) -> Snapshot {
    let SnapshotRecord { snapshot, sharing, tags } = record;
    let failure = snapshot_failure(&snapshot);
    Snapshot {
        id: snapshot.id,
        name: tags.get("Name").cloned(),
        volume_id: Some(snapshot.volume_id).filter(|id| *id != model::Snapshot::NO_VOLUME),
        copy_of: snapshot.copy_of.map(|source| source.snapshot_id),
        image: snapshot.image.map(|image| image.digest),
        size_gib: snapshot.size_gib,
        description: snapshot.description,
        state: match snapshot.state {
            model::SnapshotState::Pending => SnapshotState::Pending,
            model::SnapshotState::Completed => SnapshotState::Completed,
            model::SnapshotState::Deleting => SnapshotState::Deleting,
            model::SnapshotState::Error => SnapshotState::Error,
        },
        consistency: match snapshot.freeze.map(|_| snapshot.freeze_kind) {
            Some(FreezeKind::FileSystems) => SnapshotConsistency::FileSystem,
            Some(FreezeKind::Vcpus) | None => SnapshotConsistency::Crash,
        },
        trouble: snapshot.message.map(|message| match to.role {
            Role::Administrator => message,
            // It is the host's.
            Role::Member => failure.to_owned(),
        }),
        test: None,
        public: sharing.public,
        shared_with: sharing.projects.into_iter().collect(),
        tags,
        created_at: snapshot.created_at,
    }
}

/// The snapshot with what tests of it found.
fn tested(to: &Caller, snapshot: Snapshot, test: Option<SnapshotTested>) -> Snapshot {
    let test = test.map(|SnapshotTested { ordered_at, tested_at, digest, failure }| SnapshotTest {
        ordered_at,
        tested_at,
        digest,
        failure: failure.map(|message| match to.role {
            Role::Administrator => message,
            // It is the host's.
            Role::Member => TEST_FAILED.to_owned(),
        }),
    });
    Snapshot { test, ..snapshot }
}
