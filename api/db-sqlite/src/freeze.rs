//! Guests that hold still while snapshots of their volumes are taken.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::{Connection, params};
use tepui_db::model::{
    AttachmentState, Freeze, FreezeStage, InstanceState, Snapshot, SnapshotFreeze, SnapshotState,
    VolumeEvent, VolumeState,
};
use tepui_db::{DbError, FreezeDb, FreezeNews, FreezeOutcome, NewSnapshotsOutcome};
use tepui_types::agent::FreezeKind;
use tepui_types::{FreezeId, InstanceId, NodeId, PlacementId, ProjectId, SnapshotId, VolumeId};

use crate::generation::Touched;
use crate::row::{all, execute, exists, first};
use crate::value::S;
use crate::verb::{Undo, Verb};
use crate::{SqliteDb, snapshot, snapshot_root, tag};

/// What is added to the description of a schedule's snapshot that was to be taken while its guest held still, and was not.
const NOT_HELD: &str = "; its guest did not hold still";

/// Snapshots that wait for their freeze, or were left by one that is lost.
const UNDER_WAY: &str = "SELECT 1 FROM freeze UNION ALL SELECT 1 FROM snapshot
                         WHERE freeze_id IS NOT NULL AND state = 'pending' LIMIT 1";

#[async_trait]
impl FreezeDb for SqliteDb {
    async fn freeze_snapshots(
        &self,
        id: FreezeId,
        snapshots: &[Snapshot],
        tags: &[(SnapshotId, String, String)],
        now: Timestamp,
    ) -> Result<FreezeOutcome, DbError> {
        let (snapshots, tags) = (snapshots.to_vec(), tags.to_vec());
        self.write(move |connection| create(connection, (id, now), &snapshots, &tags)).await
    }

    async fn snapshot_instance(
        &self,
        id: FreezeId,
        instance: InstanceId,
        snapshots: &[Snapshot],
        tags: &[(SnapshotId, String, String)],
    ) -> Result<NewSnapshotsOutcome, DbError> {
        let (snapshots, tags) = (snapshots.to_vec(), tags.to_vec());
        self.write(move |connection| {
            let paused = pause(connection, (id, instance), &snapshots)?;
            snapshot::create(connection, &snapshots, &tags, paused.as_ref())
        })
        .await
    }

    async fn apply_freeze_news(&self, node: NodeId, news: &[FreezeNews]) -> Result<Vec<NodeId>, DbError> {
        let news = news.to_vec();
        self.write(move |connection| Ok(apply(connection, node, &news)?)).await
    }

    async fn expire_freezes(&self, before: Timestamp) -> Result<(u32, Vec<NodeId>), DbError> {
        // Each round asks, and hardly one has anything to end.
        match self.read(|connection| exists(connection, UNDER_WAY, [])).await? {
            true => self.write(move |connection| Ok(expire(connection, before)?)).await,
            false => Ok((0, Vec::new())),
        }
    }
}

/// The freezes of a node's guests.
pub(crate) fn of_node(connection: &Connection, node: NodeId) -> rusqlite::Result<Vec<Freeze>> {
    let sql =
        "SELECT f.id, f.placement_id, f.kind, f.stage FROM freeze f JOIN placement l ON l.id = f.placement_id
               WHERE l.node_id = ?1 AND l.gone_at IS NULL ORDER BY f.id";
    all(connection, sql, params![S(node)], |c| {
        Ok(Freeze { id: c.stored()?, placement_id: c.stored()?, kind: c.stored()?, stage: c.stored()? })
    })
}

fn create(
    connection: &Connection,
    (id, now): (FreezeId, Timestamp),
    snapshots: &[Snapshot],
    tags: &[(SnapshotId, String, String)],
) -> Verb<FreezeOutcome> {
    let refused = |outcome| Err(Undo::Answer(outcome));
    let mut of: Option<(PlacementId, NodeId, ProjectId)> = None;
    // The guest is the one that writes; which one it is, of those that read a volume too, the others tell.
    let mut writer = None;
    for wanted in snapshots {
        writer = writer.or(guest_of(connection, wanted.volume_id, None)?);
    }
    for wanted in snapshots {
        let volume = wanted.volume_id;
        let Some((state, found, _)) = snapshot::volume_of(connection, wanted)? else {
            let is_root = snapshot_root::of_volume(connection, wanted)?.is_some();
            let outcome = if is_root { FreezeOutcome::LocalRoot } else { FreezeOutcome::VolumeMissing };
            return refused(outcome(volume));
        };
        match state {
            VolumeState::Available => {}
            VolumeState::Creating | VolumeState::Deleting | VolumeState::Error => {
                return refused(FreezeOutcome::VolumeState(volume, state));
            }
        }
        let Some((placement, node)) = guest_of(connection, volume, writer.map(|(id, _)| id))? else {
            return refused(FreezeOutcome::NotRunning(volume));
        };
        match of {
            None if holds_still(connection, placement)? => return refused(FreezeOutcome::Busy(volume)),
            None => begin(connection, (id, now), placement, FreezeKind::FileSystems)?,
            Some((first, ..)) if first != placement => {
                return refused(FreezeOutcome::OtherInstance(volume));
            }
            Some(_) => {}
        }
        of = Some((placement, node, wanted.project_id));
        insert_waiting(connection, found, id, FreezeKind::FileSystems)?;
    }
    let Some((_, node, project)) = of else {
        return refused(FreezeOutcome::VolumeMissing(VolumeId::from_random(0)));
    };
    for (id, key, value) in tags {
        tag::insert(connection, project, &id.to_string(), key, value)?;
    }
    let mut touched = Touched::default();
    touched.node(node);
    touched.grow(connection)?;
    Ok(FreezeOutcome::Freezing(node))
}

/// Writes a snapshot that waits for a freeze.
pub(crate) fn insert_waiting(
    connection: &Connection,
    snapshot: Snapshot,
    id: FreezeId,
    freeze_kind: FreezeKind,
) -> rusqlite::Result<()> {
    let waiting = Snapshot { freeze: Some(SnapshotFreeze::Waiting), freeze_kind, ..snapshot };
    snapshot::insert(connection, &waiting)?;
    let sql = "UPDATE snapshot SET freeze_id = ?2 WHERE id = ?1";
    execute(connection, sql, params![S(waiting.id), S(id)]).map(drop)
}

/// A guest that is to be paused for snapshots of several volumes that it writes.
pub(crate) struct Paused {
    pub(crate) freeze: FreezeId,
    pub(crate) node: NodeId,
    pub(crate) volumes: BTreeSet<VolumeId>,
}

/// Begins to pause a guest that runs, where it writes several of the volumes; of one alone all is of one moment anyway.
fn pause(
    connection: &Connection,
    (freeze, instance): (FreezeId, InstanceId),
    snapshots: &[Snapshot],
) -> Result<Option<Paused>, Undo<NewSnapshotsOutcome>> {
    let sql = "SELECT a.volume_id, l.id, l.node_id FROM instance i
               JOIN placement l ON l.instance_n = i.n AND l.gone_at IS NULL
               JOIN attachment a ON a.placement_id = l.id
               WHERE i.id = ?1 AND i.state = ?2 AND a.state = ?3 AND NOT a.read_only ORDER BY a.volume_id";
    let values = params![S(instance), S(InstanceState::Running), S(AttachmentState::Attached)];
    let mut written: Vec<(VolumeId, PlacementId, NodeId)> =
        all(connection, sql, values, |c| Ok((c.stored()?, c.stored()?, c.stored()?)))?;
    written.retain(|(volume, ..)| snapshots.iter().any(|snapshot| snapshot.volume_id == *volume));
    let [(volume, placement, node), _, ..] = written[..] else { return Ok(None) };
    if holds_still(connection, placement)? {
        return Err(Undo::Answer(NewSnapshotsOutcome::HoldsStill(volume)));
    }
    let asked_at = snapshots.iter().map(|snapshot| snapshot.created_at).max().unwrap_or_default();
    begin(connection, (freeze, asked_at), placement, FreezeKind::Vcpus)?;
    let volumes = written.into_iter().map(|(volume, ..)| volume).collect();
    Ok(Some(Paused { freeze, node, volumes }))
}

fn holds_still(connection: &Connection, placement: PlacementId) -> rusqlite::Result<bool> {
    exists(connection, "SELECT 1 FROM freeze WHERE placement_id = ?1", params![S(placement)])
}

/// The running guest that writes a volume, or this one that reads it, and its node.
fn guest_of(
    connection: &Connection,
    volume: VolumeId,
    reader: Option<PlacementId>,
) -> rusqlite::Result<Option<(PlacementId, NodeId)>> {
    let sql = "SELECT l.id, l.node_id FROM attachment a
               JOIN instance i ON i.n = a.instance_n
               JOIN placement l ON l.id = a.placement_id AND l.gone_at IS NULL
               WHERE a.volume_id = ?1 AND a.state = ?2 AND i.state = ?3 AND (NOT a.read_only OR l.id = ?4)";
    let values = params![S(volume), S(AttachmentState::Attached), S(InstanceState::Running), reader.map(S)];
    first(connection, sql, values, |c| Ok((c.stored()?, c.stored()?)))
}

fn begin(
    connection: &Connection,
    (id, now): (FreezeId, Timestamp),
    placement: PlacementId,
    kind: FreezeKind,
) -> rusqlite::Result<()> {
    let sql = "INSERT INTO freeze (id, placement_id, stage, asked_at, kind) VALUES (?1, ?2, ?3, ?4, ?5)";
    let values = params![S(id), S(placement), S(FreezeStage::Freezing), S(now), S(kind)];
    execute(connection, sql, values).map(drop)
}

/// Has a snapshot of a schedule wait until the guest that writes its volume holds still, with those that wait for that
/// guest already; the guest's node. `None` where no running guest writes it, or where that holds still for others:
/// then the snapshot is taken without.
pub(crate) fn wait_for_guest(
    connection: &Connection,
    snapshot: &Snapshot,
    spare: FreezeId,
    begun: &mut BTreeMap<PlacementId, FreezeId>,
) -> rusqlite::Result<Option<NodeId>> {
    let Some((placement, node)) = guest_of(connection, snapshot.volume_id, None)? else { return Ok(None) };
    let sql = "UPDATE snapshot SET freeze = ?2, freeze_id = ?3 WHERE id = ?1";
    let wait = |id: FreezeId| {
        execute(connection, sql, params![S(snapshot.id), S(SnapshotFreeze::Waiting), S(id)])?;
        Ok(Some(node))
    };
    if let Some(id) = begun.get(&placement) {
        return wait(*id);
    }
    if holds_still(connection, placement)? {
        // It waits for nobody: what it would wait for is another's to end.
        wait(spare)?;
        take_without(connection, spare, "its guest held still for other snapshots")?;
        return Ok(None);
    }
    begin(connection, (spare, snapshot.created_at), placement, FreezeKind::FileSystems)?;
    begun.insert(placement, spare);
    wait(spare)
}

/// Snapshots of schedules wait for a freeze no more, and are taken as they can be: a backup that is crash-consistent is
/// better than none. One that its host has already is that too, of whatever moment.
fn take_without(connection: &Connection, id: FreezeId, why: &str) -> rusqlite::Result<()> {
    let sql = "UPDATE snapshot_schedule SET freeze_failure = ?2 WHERE id IN
                   (SELECT schedule_id FROM snapshot WHERE freeze_id = ?1 AND state = 'pending')";
    execute(connection, sql, params![S(id), why])?;
    let sql = "UPDATE snapshot SET freeze = NULL, freeze_id = NULL, description = description || ?2
               WHERE freeze_id = ?1 AND state = 'pending' AND schedule_id IS NOT NULL";
    execute(connection, sql, params![S(id), NOT_HELD]).map(drop)
}

fn apply(connection: &Connection, node: NodeId, news: &[FreezeNews]) -> rusqlite::Result<Vec<NodeId>> {
    let (mut touched, mut wake) = (Touched::default(), BTreeSet::new());
    for one in news {
        let (FreezeNews::Frozen(id) | FreezeNews::Held(id) | FreezeNews::Failed(id, _)) = one;
        let Some(freeze) = of_node(connection, node)?.into_iter().find(|freeze| freeze.id == *id) else {
            continue;
        };
        match (one, freeze.stage) {
            (FreezeNews::Frozen(id), FreezeStage::Freezing) => {
                frozen(connection, *id, &mut touched, &mut wake)?
            }
            // Said again.
            (FreezeNews::Frozen(_), FreezeStage::Frozen | FreezeStage::Thawing) => {}
            (FreezeNews::Held(_), FreezeStage::Thawing) => held(connection, freeze, &mut touched, &mut wake)?,
            (FreezeNews::Held(id), FreezeStage::Freezing | FreezeStage::Frozen) => {
                let why = "its guest was thawed before the snapshot was taken";
                fail(connection, *id, why, &mut touched, &mut wake)?;
            }
            (FreezeNews::Failed(id, why), _) => {
                fail(connection, *id, why, &mut touched, &mut wake).map(drop)?
            }
        }
    }
    touched.grow(connection)?;
    Ok(wake.into_iter().collect())
}

/// From now on the storage hosts are told of the snapshots.
fn frozen(
    connection: &Connection,
    id: FreezeId,
    touched: &mut Touched,
    wake: &mut BTreeSet<NodeId>,
) -> rusqlite::Result<()> {
    set_stage(connection, id, FreezeStage::Frozen)?;
    let sql = "UPDATE snapshot SET freeze = ?2 WHERE freeze_id = ?1 AND state = 'pending'";
    execute(connection, sql, params![S(id), S(SnapshotFreeze::Taking)])?;
    tell_storage(connection, id, touched, wake)
}

/// A snapshot's host has it. Whether the snapshot is one of a freeze, which completes it later.
pub(crate) fn made(
    connection: &Connection,
    id: SnapshotId,
    touched: &mut Touched,
    wake: &mut BTreeSet<NodeId>,
) -> rusqlite::Result<bool> {
    let Some((freeze, stage)) = freeze_of(connection, id)? else { return Ok(false) };
    match stage {
        // Its host was not told of it: it is of another life of the database, and of another moment.
        SnapshotFreeze::Waiting => {
            let why = "its host had the snapshot before its guest held still";
            fail(connection, freeze, why, touched, wake)?;
        }
        SnapshotFreeze::Taking => {
            let sql = "UPDATE snapshot SET freeze = ?2 WHERE id = ?1";
            execute(connection, sql, params![S(id), S(SnapshotFreeze::Taken)])?;
            // It must not be taken a second time.
            tell_storage(connection, freeze, touched, wake)?;
            settle(connection, freeze, touched, wake)?;
        }
        SnapshotFreeze::Taken | SnapshotFreeze::Held => {}
    }
    Ok(true)
}

/// A snapshot failed at its host: those of the same moment fail with it. Whether it is of a schedule, and may still be
/// taken without its freeze, as the others are.
pub(crate) fn without(
    connection: &Connection,
    id: SnapshotId,
    touched: &mut Touched,
    wake: &mut BTreeSet<NodeId>,
) -> rusqlite::Result<bool> {
    let Some((freeze, _)) = freeze_of(connection, id)? else { return Ok(false) };
    let sql = "SELECT 1 FROM snapshot WHERE id = ?1 AND schedule_id IS NOT NULL";
    if exists(connection, sql, params![S(id)])? {
        let why = format!("{id} could not be taken while its guest held still");
        fail(connection, freeze, &why, touched, wake)?;
        return Ok(true);
    }
    let sql = "UPDATE snapshot SET freeze = NULL, freeze_id = NULL WHERE id = ?1";
    execute(connection, sql, params![S(id)])?;
    let why = format!("{id}, which was to be of the same moment, could not be taken");
    fail(connection, freeze, &why, touched, wake)?;
    Ok(false)
}

fn freeze_of(
    connection: &Connection,
    id: SnapshotId,
) -> rusqlite::Result<Option<(FreezeId, SnapshotFreeze)>> {
    let sql = "SELECT freeze_id, freeze FROM snapshot WHERE id = ?1 AND freeze_id IS NOT NULL";
    first(connection, sql, params![S(id)], |c| Ok((c.stored()?, c.stored()?)))
}

/// Has the guest thawed once everything is made that it holds still for, and forgets it once nothing is left of that.
fn settle(
    connection: &Connection,
    id: FreezeId,
    touched: &mut Touched,
    wake: &mut BTreeSet<NodeId>,
) -> rusqlite::Result<()> {
    let sql = "SELECT freeze FROM snapshot WHERE freeze_id = ?1 AND state = 'pending'";
    let pending: Vec<SnapshotFreeze> = all(connection, sql, params![S(id)], |c| c.stored())?;
    if pending.is_empty() {
        tell_guest(connection, id, touched, wake)?;
        return end(connection, id);
    }
    if pending.iter().all(|stage| *stage == SnapshotFreeze::Taken)
        && set_stage(connection, id, FreezeStage::Thawing)?
    {
        tell_guest(connection, id, touched, wake)?;
    }
    Ok(())
}

/// The snapshots are what the guest's disks held while it held still. Of a volume that left the guest meanwhile
/// nobody can say that.
fn held(
    connection: &Connection,
    freeze: Freeze,
    touched: &mut Touched,
    wake: &mut BTreeSet<NodeId>,
) -> rusqlite::Result<()> {
    let Freeze { id, placement_id, .. } = freeze;
    tell_guest(connection, id, touched, wake)?;
    tell_storage(connection, id, touched, wake)?;
    let Some(next) = SnapshotState::Pending.after(VolumeEvent::Made) else { return Ok(()) };
    let sql = "UPDATE snapshot SET state = ?2, freeze = ?3, freeze_id = NULL, message = NULL
               WHERE freeze_id = ?1 AND state = 'pending' AND freeze = ?4
                   AND volume_id IN (SELECT volume_id FROM attachment WHERE placement_id = ?5)";
    let (held, taken) = (SnapshotFreeze::Held, SnapshotFreeze::Taken);
    execute(connection, sql, params![S(id), S(next), S(held), S(taken), S(placement_id)])?;
    fail(connection, id, "the volume left the guest meanwhile", touched, wake).map(drop)
}

/// Fails the snapshots that still wait for the freeze, but those of schedules, which are taken without it, and forgets
/// it; how many failed.
fn fail(
    connection: &Connection,
    id: FreezeId,
    why: &str,
    touched: &mut Touched,
    wake: &mut BTreeSet<NodeId>,
) -> rusqlite::Result<u32> {
    tell_guest(connection, id, touched, wake)?;
    tell_storage(connection, id, touched, wake)?;
    take_without(connection, id, why)?;
    let Some(next) = SnapshotState::Pending.after(VolumeEvent::Failed) else { return Ok(0) };
    let sql = "UPDATE snapshot SET state = ?2, message = ?3 WHERE freeze_id = ?1 AND state = 'pending'";
    let failed = execute(connection, sql, params![S(id), S(next), why])?;
    end(connection, id)?;
    Ok(u32::try_from(failed).unwrap_or(u32::MAX))
}

fn end(connection: &Connection, id: FreezeId) -> rusqlite::Result<()> {
    execute(connection, "UPDATE snapshot SET freeze_id = NULL WHERE freeze_id = ?1", params![S(id)])?;
    execute(connection, "DELETE FROM freeze WHERE id = ?1", params![S(id)]).map(drop)
}

/// Whether it was another one.
fn set_stage(connection: &Connection, id: FreezeId, stage: FreezeStage) -> rusqlite::Result<bool> {
    let sql = "UPDATE freeze SET stage = ?2 WHERE id = ?1 AND stage <> ?2";
    Ok(execute(connection, sql, params![S(id), S(stage)])? > 0)
}

/// The part of the guest's node says something else.
fn tell_guest(
    connection: &Connection,
    id: FreezeId,
    touched: &mut Touched,
    wake: &mut BTreeSet<NodeId>,
) -> rusqlite::Result<()> {
    let sql = "SELECT l.node_id FROM freeze f JOIN placement l ON l.id = f.placement_id WHERE f.id = ?1";
    if let Some(node) = first(connection, sql, params![S(id)], |c| c.stored())? {
        touched.node(node);
        wake.insert(node);
    }
    Ok(())
}

/// The parts of the snapshots' hosts say something else.
fn tell_storage(
    connection: &Connection,
    id: FreezeId,
    touched: &mut Touched,
    wake: &mut BTreeSet<NodeId>,
) -> rusqlite::Result<()> {
    let sql =
        "SELECT DISTINCT p.node_id FROM snapshot s JOIN pool p ON p.id = s.pool_id WHERE s.freeze_id = ?1";
    for host in all(connection, sql, params![S(id)], |c| c.stored())? {
        touched.storage(host);
        wake.insert(host);
    }
    Ok(())
}

fn expire(connection: &Connection, before: Timestamp) -> rusqlite::Result<(u32, Vec<NodeId>)> {
    let (mut touched, mut wake, mut failed) = (Touched::default(), BTreeSet::new(), 0);
    let sql = "SELECT f.id, f.asked_at, coalesce(i.state = ?1 AND l.gone_at IS NULL, FALSE) FROM freeze f
               LEFT JOIN placement l ON l.id = f.placement_id
               LEFT JOIN instance i ON i.n = l.instance_n ORDER BY f.id";
    let freezes: Vec<(FreezeId, Timestamp, bool)> =
        all(connection, sql, params![S(InstanceState::Running)], |c| {
            Ok((c.stored()?, c.stored()?, c.plain()?))
        })?;
    for (id, asked_at, runs) in freezes {
        if !runs {
            let why = "its instance was stopped meanwhile";
            failed += fail(connection, id, why, &mut touched, &mut wake)?;
        } else if asked_at < before {
            let why = "the node of its guest or its storage host did not answer in time";
            failed += fail(connection, id, why, &mut touched, &mut wake)?;
        } else {
            settle(connection, id, &mut touched, &mut wake)?;
        }
    }
    let sql = "SELECT DISTINCT freeze_id FROM snapshot
               WHERE freeze_id IS NOT NULL AND state = 'pending' AND freeze_id NOT IN (SELECT id FROM freeze)";
    for id in all(connection, sql, [], |c| c.stored::<FreezeId>())? {
        failed += fail(connection, id, "its instance is gone", &mut touched, &mut wake)?;
    }
    touched.grow(connection)?;
    Ok((failed, wake.into_iter().collect()))
}
