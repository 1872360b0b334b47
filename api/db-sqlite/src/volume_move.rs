//! Moves of volumes to other pools: how they begin, go on and end.
//!
//! What a volume holds is never in one place alone that could be lost: it leaves its pool only once a copy of it is whole in
//! the other one, and its snapshot stays in the pool that it left until it has arrived.

mod begin;
mod give_up;

use std::collections::BTreeSet;

use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::{Connection, params};
use tepui_db::model::{
    HeldBy, HeldVolume, MoveStage, NodeState, Snapshot, SnapshotState, VolumeMove, VolumeState,
};
use tepui_db::{DbError, MoveOutcome, NewMove, VolumeMoveDb};
use tepui_types::agent::{FreezeKind, SnapshotSource, StoredId};
use tepui_types::{NodeId, PoolId, ProjectId, SnapshotId, VolumeId};

use crate::generation::Touched;
use crate::row::{Columns, all, execute, exists, first};
use crate::snapshot::{SNAPSHOT, read as read_snapshot};
use crate::value::S;
use crate::{SqliteDb, attachment, modification, node, quarantine, snapshot, volume};

pub(crate) use give_up::give_up;

/// The SELECT list, with `volume_move` as m and its volume as v, that [`read`] reads.
const MOVE: &str = "m.volume_id, v.project_id, m.from_pool, m.to_pool, m.stage, m.source_id, m.target_id, m.by_drain, m.since, m.message";

#[async_trait]
impl VolumeMoveDb for SqliteDb {
    async fn begin_move(&self, new: &NewMove, now: Timestamp) -> Result<MoveOutcome, DbError> {
        let new = new.clone();
        self.write(move |connection| begin::begin(connection, &new, now)).await
    }

    async fn moves(&self) -> Result<Vec<VolumeMove>, DbError> {
        self.read(|connection| select(connection, "1")).await
    }

    async fn advance_moves(&self, now: Timestamp) -> Result<Vec<NodeId>, DbError> {
        self.write(move |connection| {
            let (mut touched, mut wake) = (Touched::default(), BTreeSet::new());
            advance(connection, now, &mut touched, &mut wake)?;
            touched.grow(connection)?;
            Ok(wake.into_iter().collect())
        })
        .await
    }

    async fn empty_pool(&self, id: PoolId) -> Result<bool, DbError> {
        self.write(move |connection| {
            let sql = "UPDATE pool SET draining = 1, moves_out = 1 WHERE id = ?1";
            let is_there = execute(connection, sql, params![S(id)])? > 0;
            try_again(connection, id)?;
            Ok(is_there)
        })
        .await
    }

    async fn held_volumes(&self) -> Result<Vec<HeldVolume>, DbError> {
        self.read(held).await
    }
}

fn read(c: &Columns<'_>) -> rusqlite::Result<VolumeMove> {
    Ok(VolumeMove {
        volume_id: c.stored()?,
        project_id: c.stored()?,
        from_pool: c.stored()?,
        to_pool: c.stored()?,
        stage: c.stored()?,
        source_id: c.stored()?,
        target_id: c.stored()?,
        by_drain: c.plain()?,
        since: c.stored()?,
        message: c.plain()?,
    })
}

fn select(connection: &Connection, condition: &str) -> rusqlite::Result<Vec<VolumeMove>> {
    let sql = format!(
        "SELECT {MOVE} FROM volume_move m JOIN volume v ON v.id = m.volume_id WHERE {condition} ORDER BY m.volume_id"
    );
    all(connection, &sql, [], read)
}

/// A volume's move.
pub(crate) fn of(connection: &Connection, volume: VolumeId) -> rusqlite::Result<Option<VolumeMove>> {
    let sql = format!(
        "SELECT {MOVE} FROM volume_move m JOIN volume v ON v.id = m.volume_id WHERE m.volume_id = ?1"
    );
    first(connection, &sql, params![S(volume)], read)
}

/// Those that leave a node's pools or come to them.
pub(crate) fn of_node(connection: &Connection, node: NodeId) -> rusqlite::Result<Vec<VolumeMove>> {
    let sql = format!(
        "SELECT {MOVE} FROM volume_move m JOIN volume v ON v.id = m.volume_id
         WHERE m.from_pool IN (SELECT id FROM pool WHERE node_id = ?1)
            OR m.to_pool IN (SELECT id FROM pool WHERE node_id = ?1) ORDER BY m.volume_id"
    );
    all(connection, &sql, params![S(node)], read)
}

/// Whether the volume is between two pools, where nothing can be done with it.
pub(crate) fn is_between(connection: &Connection, volume: VolumeId) -> rusqlite::Result<bool> {
    Ok(of(connection, volume)?.is_some_and(|found| found.stage.is_between()))
}

/// Ends the volume's move, if it has one and is not between two pools: it is about to be used or changed, or to go.
pub(crate) fn call_off(
    connection: &Connection,
    volume: VolumeId,
    touched: &mut Touched,
) -> rusqlite::Result<()> {
    match of(connection, volume)? {
        Some(found) if !found.stage.is_between() => end(connection, &found, touched),
        Some(_) | None => Ok(()),
    }
}

/// Ends moves of a pool's volumes that nobody asked for but its drain, and that have not left it.
pub(crate) fn call_off_drain(
    connection: &Connection,
    pool: PoolId,
    touched: &mut Touched,
) -> rusqlite::Result<()> {
    for found in select(connection, "m.by_drain AND m.stage IN ('copying', 'failed')")? {
        if found.from_pool == pool {
            end(connection, &found, touched)?;
        }
    }
    Ok(())
}

/// Ends what failed of a pool's drain, which is asked for again: it is begun anew with the rest.
fn try_again(connection: &Connection, pool: PoolId) -> rusqlite::Result<()> {
    let mut touched = Touched::default();
    for found in select(connection, "m.by_drain AND m.stage = 'failed'")? {
        if found.from_pool == pool {
            end(connection, &found, &mut touched)?;
        }
    }
    touched.grow(connection)
}

/// Why a move failed that a restored backup tells of.
const RESTORED: &str = "a backup of the control plane was restored";

/// To be called once on a restored backup. Since it was made a volume may have been attached, of which no row tells: no move
/// takes it from where a guest may have it, and drains begin none. One that leaves fails as well: its host may have got it
/// back since, and if not, its file lies in the trash of the pool where the books have it, and stays. One that arrives goes
/// on: its old host has let go of it, and its new one leaves a file that is there as it is.
pub(crate) fn stop_all(connection: &Connection) -> rusqlite::Result<()> {
    execute(connection, "UPDATE pool SET moves_out = 0", [])?;
    let mut touched = Touched::default();
    for found in select(connection, "m.stage IN ('copying', 'leaving')")? {
        // It is not known here what time it is.
        fail(connection, &found, Some(RESTORED), found.since, &mut touched)?;
    }
    touched.grow(connection)
}

/// Nothing but the volume itself is left of the move.
fn end(connection: &Connection, found: &VolumeMove, touched: &mut Touched) -> rusqlite::Result<()> {
    execute(connection, "DELETE FROM volume_move WHERE volume_id = ?1", params![S(found.volume_id)])?;
    discard(connection, found.source_id, touched)?;
    discard(connection, found.target_id, touched)
}

/// Removes a snapshot of a move.
fn discard(connection: &Connection, id: SnapshotId, touched: &mut Touched) -> rusqlite::Result<()> {
    let sql = "SELECT s.project_id, p.node_id FROM snapshot s JOIN pool p ON p.id = s.pool_id
               WHERE s.id = ?1 AND s.of_move";
    let found = first(connection, sql, params![S(id)], |c| Ok((c.stored()?, c.stored()?)))?;
    let Some((project, host)) = found else { return Ok(()) };
    touched.storage(host);
    // A host that was given up can remove nothing, and say nothing of it.
    match node::is_expunged(connection, host)? {
        true => snapshot::remove(connection, id, project),
        false => {
            execute(connection, "UPDATE snapshot SET state = 'deleting' WHERE id = ?1", params![S(id)])?;
            Ok(())
        }
    }
}

/// What a move depends on, of the volume's side.
struct Mover {
    project: ProjectId,
    pool: PoolId,
    class: String,
    host: NodeId,
    state: VolumeState,
    size_gib: u32,
    actual_gib: u32,
}

fn mover(connection: &Connection, id: VolumeId) -> rusqlite::Result<Option<Mover>> {
    let sql = "SELECT v.project_id, v.pool_id, p.class, p.node_id, v.state, v.size_gib, v.actual_gib
               FROM volume v JOIN pool p ON p.id = v.pool_id WHERE v.id = ?1";
    first(connection, sql, params![S(id)], |c| {
        Ok(Mover {
            project: c.stored()?,
            pool: c.stored()?,
            class: c.plain()?,
            host: c.stored()?,
            state: c.stored()?,
            size_gib: c.plain()?,
            actual_gib: c.plain()?,
        })
    })
}

/// It is made anew, from its snapshot, in the pool that it leaves.
fn turn_back(
    connection: &Connection,
    found: &VolumeMove,
    now: Timestamp,
    touched: &mut Touched,
) -> rusqlite::Result<()> {
    let sql =
        "UPDATE volume_move SET to_pool = from_pool, target_id = source_id, since = ?2 WHERE volume_id = ?1";
    execute(connection, sql, params![S(found.volume_id), S(now)])?;
    if found.target_id == found.source_id {
        return Ok(());
    }
    discard(connection, found.target_id, touched)
}

fn of_move(volume: &Mover, pool_id: PoolId, now: Timestamp) -> Snapshot {
    Snapshot {
        id: SnapshotId::from_random(0),
        project_id: volume.project,
        pool_id,
        volume_id: Snapshot::NO_VOLUME,
        copy_of: None,
        image: None,
        root_of: None,
        size_gib: volume.actual_gib,
        description: String::new(),
        state: SnapshotState::Pending,
        freeze: None,
        freeze_kind: FreezeKind::default(),
        message: None,
        created_at: now,
    }
}

fn insert_snapshot(connection: &Connection, one: &Snapshot) -> rusqlite::Result<()> {
    snapshot::insert(connection, one)?;
    execute(connection, "UPDATE snapshot SET of_move = 1 WHERE id = ?1", params![S(one.id)])?;
    Ok(())
}

/// Carries on every move whose next step waits for nothing.
pub(crate) fn advance(
    connection: &Connection,
    now: Timestamp,
    touched: &mut Touched,
    wake: &mut BTreeSet<NodeId>,
) -> rusqlite::Result<()> {
    // One that has left its pool waits for the word of a host alone.
    for found in select(connection, "m.stage = 'copying'")? {
        copy_on(connection, &found, now, touched, wake)?;
    }
    Ok(())
}

fn copy_on(
    connection: &Connection,
    found: &VolumeMove,
    now: Timestamp,
    touched: &mut Touched,
    wake: &mut BTreeSet<NodeId>,
) -> rusqlite::Result<()> {
    let Some(volume) = mover(connection, found.volume_id)? else { return Ok(()) };
    let Some(to) = volume::open_pool(connection, found.to_pool)? else {
        return end(connection, found, touched);
    };
    let source = snapshot_of(connection, found.source_id)?;
    let target = snapshot_of(connection, found.target_id)?;
    match (source, target) {
        (Some(source), None) if source.state == SnapshotState::Completed => {
            let copy_of = Some(SnapshotSource { snapshot_id: source.id, pool_id: source.pool_id });
            let copy = Snapshot { id: found.target_id, copy_of, ..of_move(&volume, found.to_pool, now) };
            insert_snapshot(connection, &copy)?;
            touched.storage(to);
            wake.insert(to);
        }
        (Some(source), None) if source.state == SnapshotState::Pending => {}
        (Some(_), Some(target)) if target.state == SnapshotState::Pending => {}
        (Some(source), Some(target))
            if (source.state, target.state) == (SnapshotState::Completed, SnapshotState::Completed) =>
        {
            if may_leave(connection, found, &volume, (source.size_gib, target.size_gib))? {
                quarantine::keep(connection, found.volume_id)?;
                enter(connection, found.volume_id, MoveStage::Leaving, now)?;
                touched.storage(volume.host);
                wake.insert(volume.host);
            }
        }
        (source, target) => {
            let why = target.and_then(|one| one.message).or(source.and_then(|one| one.message));
            fail(connection, found, why.as_deref(), now, touched)?;
        }
    }
    Ok(())
}

fn snapshot_of(connection: &Connection, id: SnapshotId) -> rusqlite::Result<Option<Snapshot>> {
    let sql = format!("SELECT {SNAPSHOT} FROM snapshot WHERE id = ?1");
    first(connection, &sql, params![S(id)], read_snapshot)
}

/// It leaves its pool only while both hosts are heard, so that it is soon in the other one; and not before every snapshot of
/// it that somebody asked for is taken.
fn may_leave(
    connection: &Connection,
    found: &VolumeMove,
    volume: &Mover,
    sizes: (u32, u32),
) -> rusqlite::Result<bool> {
    let sql = "SELECT 1 FROM snapshot WHERE volume_id = ?1 AND state = 'pending' AND copy_of IS NULL";
    let is_awaited = exists(connection, sql, params![S(found.volume_id)])?;
    let is_whole = sizes == (volume.size_gib, volume.size_gib) && volume.actual_gib == volume.size_gib;
    let is_free = volume.state == VolumeState::Available
        && attachment::user(connection, found.volume_id)?.is_none()
        && !modification::is_under_way(connection, found.volume_id)?;
    Ok(is_free && is_whole && !is_awaited && are_up(connection, found)?)
}

fn are_up(connection: &Connection, found: &VolumeMove) -> rusqlite::Result<bool> {
    for pool in [found.from_pool, found.to_pool] {
        let sql = "SELECT n.state FROM pool p JOIN node n ON n.id = p.node_id WHERE p.id = ?1";
        let state = first(connection, sql, params![S(pool)], |c| c.stored::<NodeState>())?;
        if state != Some(NodeState::Up) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn enter(
    connection: &Connection,
    volume: VolumeId,
    stage: MoveStage,
    now: Timestamp,
) -> rusqlite::Result<()> {
    let sql = "UPDATE volume_move SET stage = ?2, since = ?3 WHERE volume_id = ?1";
    execute(connection, sql, params![S(volume), S(stage), S(now)])?;
    Ok(())
}

/// It stays, with why, so that it is not tried again and again.
fn fail(
    connection: &Connection,
    found: &VolumeMove,
    message: Option<&str>,
    now: Timestamp,
    touched: &mut Touched,
) -> rusqlite::Result<()> {
    enter(connection, found.volume_id, MoveStage::Failed, now)?;
    let sql = "UPDATE volume_move SET message = ?2 WHERE volume_id = ?1";
    execute(connection, sql, params![S(found.volume_id), message])?;
    discard(connection, found.source_id, touched)?;
    discard(connection, found.target_id, touched)
}

/// The host of its old pool has put its file into the trash.
pub(crate) fn gone(
    connection: &Connection,
    id: VolumeId,
    now: Timestamp,
    touched: &mut Touched,
    wake: &mut BTreeSet<NodeId>,
) -> rusqlite::Result<()> {
    let Some(found) = of(connection, id)?.filter(|found| found.stage == MoveStage::Leaving) else {
        return Ok(());
    };
    let file = (found.from_pool, StoredId::Volume(id));
    quarantine::add(connection, file, Some(found.project_id), now)?;
    arrive(connection, &found, now, touched, wake)
}

/// From now on it is in the pool that it goes to, whose host makes it from the copy there.
fn arrive(
    connection: &Connection,
    found: &VolumeMove,
    now: Timestamp,
    touched: &mut Touched,
    wake: &mut BTreeSet<NodeId>,
) -> rusqlite::Result<()> {
    enter(connection, found.volume_id, MoveStage::Arriving, now)?;
    let sql = "UPDATE volume SET pool_id = ?2 WHERE id = ?1";
    execute(connection, sql, params![S(found.volume_id), S(found.to_pool)])?;
    // A file of it in that pool's trash would keep it out, and holds nothing that the copy does not.
    quarantine::order_one(connection, (found.to_pool, StoredId::Volume(found.volume_id)))?;
    for pool in [found.from_pool, found.to_pool] {
        let sql = "SELECT node_id FROM pool WHERE id = ?1";
        for host in all(connection, sql, params![S(pool)], |c| c.stored::<NodeId>())? {
            touched.storage(host);
            wake.insert(host);
        }
    }
    Ok(())
}

/// The host of its pool has it. If it was on its way there, that is over.
pub(crate) fn present(
    connection: &Connection,
    id: VolumeId,
    host: NodeId,
    touched: &mut Touched,
) -> rusqlite::Result<()> {
    let Some(found) = of(connection, id)?.filter(|found| found.stage == MoveStage::Arriving) else {
        return Ok(());
    };
    // It must not be made a second time.
    touched.storage(host);
    end(connection, &found, touched)
}

fn held(connection: &Connection) -> rusqlite::Result<Vec<HeldVolume>> {
    let sql =
        "SELECT v.id, v.pool_id, v.state, v.state = 'available' AND v.actual_gib = v.size_gib AND NOT EXISTS
                   (SELECT 1 FROM volume_modification c WHERE c.volume_id = v.id AND c.ended_at IS NULL),
                   EXISTS (SELECT 1 FROM volume_move m WHERE m.volume_id = v.id),
                   (SELECT i.id FROM attachment a JOIN instance i ON i.n = a.instance_n
                    WHERE a.volume_id = v.id ORDER BY a.since, a.id LIMIT 1),
                   EXISTS (SELECT 1 FROM attachment a WHERE a.volume_id = v.id AND a.is_root)
               FROM volume v JOIN pool p ON p.id = v.pool_id WHERE p.moves_out ORDER BY v.id";
    all(connection, sql, [], |c| {
        let (volume_id, pool_id, _) = (c.stored()?, c.stored()?, c.stored::<VolumeState>()?);
        let (is_settled, is_moving) = (c.plain::<bool>()?, c.plain()?);
        let (user, is_root) = (c.optional()?, c.plain::<bool>()?);
        let held_by = match user {
            Some(instance) if is_root => Some(HeldBy::Root(instance)),
            Some(instance) => Some(HeldBy::Instance(instance)),
            None => (!is_settled).then_some(HeldBy::State),
        };
        Ok(HeldVolume { volume_id, pool_id, held_by, is_moving })
    })
}
