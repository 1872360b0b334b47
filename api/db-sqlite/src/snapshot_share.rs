//! What projects see of each other's snapshots.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, params};
use tepui_db::model::{SnapshotRecord, SnapshotSharing};
use tepui_db::{ShareOutcome, SharingChange};
use tepui_types::{ProjectId, SnapshotId};

use crate::project;
use crate::row::{all, execute, exists, first};
use crate::snapshot::{SNAPSHOT, read};
use crate::value::S;
use crate::verb::{Undo, Verb};

/// Whether the project `?2` may make something of a row of `snapshot`.
pub(crate) const USABLE: &str =
    "NOT snapshot.of_move AND (snapshot.project_id = ?2 OR snapshot.public OR EXISTS
    (SELECT 1 FROM snapshot_share h WHERE h.snapshot_id = snapshot.id AND h.project_id = ?2))";

/// With whom each of a project's own snapshots is shared that is shared.
pub(crate) fn of_project(
    connection: &Connection,
    project: ProjectId,
) -> rusqlite::Result<BTreeMap<SnapshotId, SnapshotSharing>> {
    let mut sharing: BTreeMap<SnapshotId, SnapshotSharing> = BTreeMap::new();
    let sql = "SELECT id FROM snapshot WHERE project_id = ?1 AND public";
    for id in all(connection, sql, params![S(project)], |c| c.stored())? {
        sharing.entry(id).or_default().public = true;
    }
    let sql = "SELECT h.snapshot_id, h.project_id FROM snapshot_share h
               JOIN snapshot s ON s.id = h.snapshot_id WHERE s.project_id = ?1";
    for (id, with) in all(connection, sql, params![S(project)], |c| Ok((c.stored()?, c.stored()?)))? {
        sharing.entry(id).or_default().projects.insert(with);
    }
    Ok(sharing)
}

/// What others share with a project. Their tags and whom else they share it with are their own.
pub(crate) fn with_project(
    connection: &Connection,
    project: ProjectId,
) -> rusqlite::Result<Vec<SnapshotRecord>> {
    let sql = format!(
        "SELECT {SNAPSHOT}, public,
                EXISTS (SELECT 1 FROM snapshot_share h WHERE h.snapshot_id = snapshot.id AND h.project_id = ?1)
         FROM snapshot
         WHERE project_id <> ?1 AND state IN ('pending', 'completed')
           AND (public OR id IN (SELECT snapshot_id FROM snapshot_share WHERE project_id = ?1))
         ORDER BY id"
    );
    all(connection, &sql, params![S(project)], |c| {
        let (snapshot, public, named) = (read(c)?, c.plain()?, c.plain::<bool>()?);
        let projects = BTreeSet::from_iter(named.then_some(project));
        let sharing = SnapshotSharing { public, projects };
        Ok(SnapshotRecord { snapshot, sharing, tags: BTreeMap::new() })
    })
}

/// Changes with whom a project's own snapshot is shared.
pub(crate) fn share(
    connection: &Connection,
    project: ProjectId,
    id: SnapshotId,
    change: &SharingChange,
    max: usize,
) -> Verb<ShareOutcome> {
    let sql = "SELECT 1 FROM snapshot WHERE id = ?1 AND project_id = ?2 AND NOT of_move";
    if !exists(connection, sql, params![S(id), S(project)])? {
        return Ok(ShareOutcome::NotFound);
    }
    match change {
        SharingChange::Change { add, remove } => {
            if let Some(missing) = grant(connection, id, add)? {
                return Err(Undo::Answer(ShareOutcome::ProjectMissing(missing)));
            }
            revoke(connection, id, remove)?;
        }
        SharingChange::Reset => {
            set_public(connection, id, false)?;
            execute(connection, "DELETE FROM snapshot_share WHERE snapshot_id = ?1", params![S(id)])?;
        }
    }
    let sql = "SELECT count(*) FROM snapshot_share WHERE snapshot_id = ?1";
    let count = first(connection, sql, params![S(id)], |c| c.stored::<u64>())?.unwrap_or(0);
    if count > max as u64 {
        return Err(Undo::Answer(ShareOutcome::TooMany));
    }
    Ok(ShareOutcome::Changed)
}

fn set_public(connection: &Connection, id: SnapshotId, public: bool) -> rusqlite::Result<()> {
    execute(connection, "UPDATE snapshot SET public = ?2 WHERE id = ?1", params![S(id), public])?;
    Ok(())
}

/// The first project that does not exist ends it.
fn grant(
    connection: &Connection,
    id: SnapshotId,
    add: &SnapshotSharing,
) -> rusqlite::Result<Option<ProjectId>> {
    if add.public {
        set_public(connection, id, true)?;
    }
    for with in &add.projects {
        if !project::exists(connection, *with)? {
            return Ok(Some(*with));
        }
        let sql =
            "INSERT INTO snapshot_share (snapshot_id, project_id) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
        execute(connection, sql, params![S(id), S(*with)])?;
    }
    Ok(None)
}

fn revoke(connection: &Connection, id: SnapshotId, remove: &SnapshotSharing) -> rusqlite::Result<()> {
    if remove.public {
        set_public(connection, id, false)?;
    }
    for with in &remove.projects {
        let sql = "DELETE FROM snapshot_share WHERE snapshot_id = ?1 AND project_id = ?2";
        execute(connection, sql, params![S(id), S(*with)])?;
    }
    Ok(())
}
