//! Changes of volumes' sizes: the last one of each volume.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rusqlite::{Connection, params};
use tepui_db::model::{Volume, VolumeModification};
use tepui_types::{ProjectId, VolumeId};

use crate::row::{all, execute, exists};
use crate::value::S;

/// Those of a project's volumes.
pub(crate) fn of_project(
    connection: &Connection,
    project: ProjectId,
) -> rusqlite::Result<BTreeMap<VolumeId, VolumeModification>> {
    let sql = "SELECT m.volume_id, m.original_gib, m.target_gib, m.started_at, m.ended_at
               FROM volume_modification m JOIN volume v ON v.id = m.volume_id WHERE v.project_id = ?1";
    let rows = all(connection, sql, params![S(project)], |c| {
        let id = c.stored()?;
        let (original_gib, target_gib) = (c.plain()?, c.plain()?);
        let (started_at, ended_at) = (c.stored()?, c.optional()?);
        Ok((id, VolumeModification { original_gib, target_gib, started_at, ended_at }))
    })?;
    Ok(rows.into_iter().collect())
}

/// Whether the volume's last modification has not ended.
pub(crate) fn is_under_way(connection: &Connection, volume: VolumeId) -> rusqlite::Result<bool> {
    let sql = "SELECT 1 FROM volume_modification WHERE volume_id = ?1 AND ended_at IS NULL";
    exists(connection, sql, params![S(volume)])
}

/// A volume is to have `target_gib`, from what it had.
pub(crate) fn begin(
    connection: &Connection,
    volume: &Volume,
    target_gib: u32,
    now: Timestamp,
) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO volume_modification (volume_id, original_gib, target_gib, started_at)
               VALUES (?1, ?2, ?3, ?4)";
    execute(connection, sql, params![S(volume.id), volume.size_gib, target_gib, S(now)])?;
    Ok(())
}

/// Ends the volume's modification if everybody has its size: the volume's host, and the guest that has it.
pub(crate) fn settle(connection: &Connection, volume: VolumeId, now: Timestamp) -> rusqlite::Result<()> {
    let sql = "UPDATE volume_modification AS m SET ended_at = ?2
               WHERE volume_id = ?1 AND ended_at IS NULL
                 AND target_gib <= (SELECT actual_gib FROM volume WHERE id = ?1)
                 AND NOT EXISTS (SELECT 1 FROM attachment WHERE volume_id = ?1 AND guest_gib < m.target_gib)";
    execute(connection, sql, params![S(volume), S(now)])?;
    Ok(())
}
