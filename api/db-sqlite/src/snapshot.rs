//! Snapshots.

use async_trait::async_trait;
use rusqlite::{Connection, params};
use tepui_db::model::{Snapshot, SnapshotRecord, SnapshotState, VolumeEvent, VolumeState};
use tepui_db::{
    CopySnapshotOutcome, DbError, DeleteOutcome, NewSnapshotsOutcome, ShareOutcome, SharingChange,
    SnapshotDb, SnapshotOfImageOutcome,
};
use tepui_types::agent::{FreezeKind, SnapshotSource};
use tepui_types::{ImageId, NodeId, PlacementId, PoolId, ProjectId, SnapshotId};

use crate::freeze::{Paused, insert_waiting};
use crate::generation::Touched;
use crate::row::{Columns, all, execute, first};
use crate::snapshot_share::USABLE;
use crate::value::S;
use crate::verb::{Undo, Verb};
use crate::{SqliteDb, node, snapshot_image, snapshot_root, snapshot_share, tag, volume, volume_move};

/// The SELECT list that [`read`] reads.
pub(crate) const SNAPSHOT: &str = "id, project_id, pool_id, volume_id, size_gib, description, state, message, created_at, copy_of, copy_pool_id, freeze, image_digest, image_bytes, root_of, freeze_kind";

#[async_trait]
impl SnapshotDb for SqliteDb {
    async fn create_snapshots(
        &self,
        snapshots: &[Snapshot],
        tags: &[(SnapshotId, String, String)],
    ) -> Result<NewSnapshotsOutcome, DbError> {
        let (snapshots, tags) = (snapshots.to_vec(), tags.to_vec());
        self.write(move |connection| create(connection, &snapshots, &tags, None)).await
    }

    async fn copy_snapshot(
        &self,
        of: SnapshotId,
        new: &Snapshot,
        tags: &[(String, String)],
    ) -> Result<CopySnapshotOutcome, DbError> {
        let (new, tags) = (new.clone(), tags.to_vec());
        self.write(move |connection| copy(connection, of, &new, &tags)).await
    }

    async fn snapshot_of_image(
        &self,
        of: ImageId,
        new: &Snapshot,
        tags: &[(String, String)],
    ) -> Result<SnapshotOfImageOutcome, DbError> {
        let (new, tags) = (new.clone(), tags.to_vec());
        self.write(move |connection| snapshot_image::create(connection, of, &new, &tags)).await
    }

    async fn snapshots(&self, project: ProjectId) -> Result<Vec<SnapshotRecord>, DbError> {
        self.read(move |connection| {
            // The bounds hold the texts that begin with "snap-".
            let mut tags = tag::of_kind(connection, project, "snap-", "snap.")?;
            let sql =
                format!("SELECT {SNAPSHOT} FROM snapshot WHERE project_id = ?1 AND NOT of_move ORDER BY id");
            let rows = all(connection, &sql, params![S(project)], read)?;
            let mut sharing = snapshot_share::of_project(connection, project)?;
            let record = |snapshot: Snapshot| SnapshotRecord {
                tags: tags.remove(&snapshot.id.to_string()).unwrap_or_default(),
                sharing: sharing.remove(&snapshot.id).unwrap_or_default(),
                snapshot,
            };
            Ok(rows.into_iter().map(record).collect())
        })
        .await
    }

    async fn shared_snapshots(&self, project: ProjectId) -> Result<Vec<SnapshotRecord>, DbError> {
        self.read(move |connection| snapshot_share::with_project(connection, project)).await
    }

    async fn share_snapshot(
        &self,
        project: ProjectId,
        id: SnapshotId,
        change: &SharingChange,
        max: usize,
    ) -> Result<ShareOutcome, DbError> {
        let change = change.clone();
        self.write(move |connection| snapshot_share::share(connection, project, id, &change, max)).await
    }

    async fn delete_snapshot(
        &self,
        project: ProjectId,
        id: SnapshotId,
    ) -> Result<(DeleteOutcome, Option<NodeId>), DbError> {
        self.write(move |connection| delete(connection, project, id)).await
    }

    async fn root_of_snapshot(&self, id: SnapshotId) -> Result<Option<(PlacementId, NodeId)>, DbError> {
        self.read(move |connection| snapshot_root::place_of(connection, id)).await
    }

    async fn snapshot_counts(&self) -> Result<Vec<(SnapshotState, u64)>, DbError> {
        self.read(|connection| {
            let sql = "SELECT state, count(*) FROM snapshot WHERE NOT of_move GROUP BY state ORDER BY state";
            all(connection, sql, [], |c| Ok((c.stored()?, c.stored()?)))
        })
        .await
    }
}

/// Reads a snapshot's row.
pub(crate) fn read(c: &Columns<'_>) -> rusqlite::Result<Snapshot> {
    Ok(Snapshot {
        id: c.stored()?,
        project_id: c.stored()?,
        pool_id: c.stored()?,
        volume_id: c.stored()?,
        size_gib: c.plain()?,
        description: c.plain()?,
        state: c.stored()?,
        message: c.plain()?,
        created_at: c.stored()?,
        copy_of: read_source(c)?,
        freeze: c.optional()?,
        image: volume::read_image(c)?,
        root_of: c.optional()?,
        freeze_kind: c.stored()?,
    })
}

fn read_source(c: &Columns<'_>) -> rusqlite::Result<Option<SnapshotSource>> {
    let (snapshot, pool) = (c.optional()?, c.optional()?);
    Ok(snapshot.zip(pool).map(|(snapshot_id, pool_id)| SnapshotSource { snapshot_id, pool_id }))
}

/// Those of `paused` wait until its guest is.
pub(crate) fn create(
    connection: &Connection,
    snapshots: &[Snapshot],
    tags: &[(SnapshotId, String, String)],
    paused: Option<&Paused>,
) -> Verb<NewSnapshotsOutcome> {
    let mut touched = Touched::default();
    let mut nodes = Vec::new();
    if let Some(paused) = paused {
        touched.node(paused.node);
        nodes.push(paused.node);
    }
    for snapshot in snapshots {
        let Some((state, found, node)) = volume_of(connection, snapshot)? else {
            let node = snapshot_root::take(connection, snapshot)?;
            touched.storage(node);
            nodes.push(node);
            continue;
        };
        match state {
            VolumeState::Available if volume_move::is_between(connection, snapshot.volume_id)? => {
                return Err(Undo::Answer(NewSnapshotsOutcome::Moving(snapshot.volume_id)));
            }
            VolumeState::Available => match paused.filter(|paused| paused.volumes.contains(&found.volume_id))
            {
                // Its host hears of it once the guest is paused.
                Some(paused) => {
                    insert_waiting(connection, found, paused.freeze, FreezeKind::Vcpus)?;
                    continue;
                }
                None => insert(connection, &found)?,
            },
            VolumeState::Creating | VolumeState::Deleting | VolumeState::Error => {
                return Err(Undo::Answer(NewSnapshotsOutcome::VolumeState(snapshot.volume_id, state)));
            }
        }
        touched.storage(node);
        nodes.push(node);
    }
    let project = snapshots.first().map(|snapshot| snapshot.project_id);
    for (id, key, value) in tags {
        project.map(|project| tag::insert(connection, project, &id.to_string(), key, value)).transpose()?;
    }
    touched.grow(connection)?;
    nodes.sort_unstable();
    nodes.dedup();
    Ok(NewSnapshotsOutcome::Taking(nodes))
}

/// The state of a snapshot's volume, the snapshot with its volume's pool and size, and the pool's node.
pub(crate) fn volume_of(
    connection: &Connection,
    snapshot: &Snapshot,
) -> rusqlite::Result<Option<(VolumeState, Snapshot, NodeId)>> {
    let sql =
        "SELECT v.state, v.pool_id, v.actual_gib, p.node_id FROM volume v JOIN pool p ON p.id = v.pool_id
               WHERE v.id = ?1 AND v.project_id = ?2";
    first(connection, sql, params![S(snapshot.volume_id), S(snapshot.project_id)], |c| {
        let state = c.stored()?;
        let found = Snapshot { pool_id: c.stored()?, size_gib: c.plain()?, ..snapshot.clone() };
        Ok((state, found, c.stored()?))
    })
}

/// Takes a snapshot if its volume can have one; the node that does. The caller grows the node's storage part.
pub(crate) fn take_if_available(
    connection: &Connection,
    snapshot: &Snapshot,
) -> rusqlite::Result<Option<NodeId>> {
    match volume_of(connection, snapshot)? {
        // Its pool is not the one where it will be read next.
        Some((VolumeState::Available, ..)) if volume_move::is_between(connection, snapshot.volume_id)? => {
            Ok(None)
        }
        Some((VolumeState::Available, found, node)) => {
            insert(connection, &found)?;
            Ok(Some(node))
        }
        Some((VolumeState::Creating | VolumeState::Deleting | VolumeState::Error, ..)) | None => Ok(None),
    }
}

pub(crate) fn insert(connection: &Connection, snapshot: &Snapshot) -> rusqlite::Result<()> {
    let sql = format!(
        "INSERT INTO snapshot ({SNAPSHOT}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)"
    );
    let values = params![
        S(snapshot.id),
        S(snapshot.project_id),
        S(snapshot.pool_id),
        S(snapshot.volume_id),
        snapshot.size_gib,
        snapshot.description,
        S(snapshot.state),
        snapshot.message,
        S(snapshot.created_at),
        snapshot.copy_of.map(|source| S(source.snapshot_id)),
        snapshot.copy_of.map(|source| S(source.pool_id)),
        snapshot.freeze.map(S),
        snapshot.image.map(|image| S(image.digest)),
        snapshot.image.map(|image| S(image.bytes)),
        snapshot.root_of.map(S),
        S(snapshot.freeze_kind),
    ];
    execute(connection, &sql, values)?;
    Ok(())
}

fn copy(
    connection: &Connection,
    of: SnapshotId,
    copy: &Snapshot,
    tags: &[(String, String)],
) -> Verb<CopySnapshotOutcome> {
    let sql = format!("SELECT {SNAPSHOT} FROM snapshot WHERE id = ?1 AND {USABLE}");
    let Some(source) = first(connection, &sql, params![S(of), S(copy.project_id)], read)? else {
        return Ok(CopySnapshotOutcome::SourceMissing(of));
    };
    match source.state {
        SnapshotState::Completed => {}
        SnapshotState::Pending | SnapshotState::Deleting | SnapshotState::Error => {
            return Ok(CopySnapshotOutcome::SourceState(of, source.state));
        }
    }
    let Some(node) = copy_host(connection, copy.pool_id, source.pool_id)? else {
        return Ok(CopySnapshotOutcome::PoolLost(copy.pool_id));
    };
    let copy_of = Some(SnapshotSource { snapshot_id: of, pool_id: source.pool_id });
    let (freeze, freeze_kind) = (source.freeze, source.freeze_kind);
    let copy = Snapshot { copy_of, size_gib: source.size_gib, freeze, freeze_kind, ..copy.clone() };
    insert(connection, &copy)?;
    for (key, value) in tags {
        tag::insert(connection, copy.project_id, &copy.id.to_string(), key, value)?;
    }
    let mut touched = Touched::default();
    touched.storage(node);
    touched.grow(connection)?;
    Ok(CopySnapshotOutcome::Copying(node))
}

/// The host that makes a copy: that of the pool it goes to. A pool that takes no new volumes still takes what comes from
/// itself, as it takes snapshots.
fn copy_host(connection: &Connection, to: PoolId, from: PoolId) -> rusqlite::Result<Option<NodeId>> {
    if to == from {
        return first(connection, "SELECT node_id FROM pool WHERE id = ?1", params![S(to)], |c| c.stored());
    }
    volume::open_pool(connection, to)
}

fn delete(
    connection: &Connection,
    project: ProjectId,
    id: SnapshotId,
) -> Verb<(DeleteOutcome, Option<NodeId>)> {
    const NEEDED_BY: [(&str, &str); 2] = [
        (
            "SELECT count(*) FROM volume WHERE snapshot_id = ?1 AND state = 'creating' AND project_id = ?2",
            "volumes",
        ),
        (
            "SELECT count(*) FROM snapshot WHERE copy_of = ?1 AND state = 'pending' AND project_id = ?2",
            "copies",
        ),
    ];
    let sql = "SELECT s.state, p.node_id FROM snapshot s JOIN pool p ON p.id = s.pool_id
               WHERE s.id = ?1 AND s.project_id = ?2 AND NOT s.of_move";
    let found = first(connection, sql, params![S(id), S(project)], |c| {
        Ok((c.stored::<SnapshotState>()?, c.stored::<NodeId>()?))
    })?;
    let Some((state, host)) = found else { return Ok((DeleteOutcome::NotFound, None)) };
    for (sql, what) in NEEDED_BY {
        let count = first(connection, sql, params![S(id), S(project)], |c| c.stored::<u64>())?.unwrap_or(0);
        if count > 0 {
            return Ok((DeleteOutcome::InUse(format!("{count} {what} that are being made from it")), None));
        }
    }
    if state.after(VolumeEvent::Delete).is_none() {
        return Ok((DeleteOutcome::Deleted, None));
    }
    // A host that was given up can remove nothing, and say nothing of it.
    match node::is_expunged(connection, host)? {
        true => remove(connection, id, project)?,
        false => {
            execute(connection, "UPDATE snapshot SET state = 'deleting' WHERE id = ?1", params![S(id)])?;
        }
    }
    let mut touched = Touched::default();
    touched.storage(host);
    touched.grow(connection)?;
    Ok((DeleteOutcome::Deleted, Some(host)))
}

/// Forgets a snapshot of which nothing is left.
pub(crate) fn remove(connection: &Connection, id: SnapshotId, project: ProjectId) -> rusqlite::Result<()> {
    execute(connection, "DELETE FROM snapshot WHERE id = ?1", params![S(id)])?;
    tag::delete_all(connection, project, &id.to_string())?;
    Ok(())
}
