//! Changes of volumes' sizes, limits and access: the last one of each volume.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rusqlite::{Connection, params};
use tepui_db::model::{Volume, VolumeModification};
use tepui_types::{ProjectId, VolumeId};

use crate::attachment::limits;
use crate::row::{all, execute, exists};
use crate::value::S;

/// Those of a project's volumes.
pub(crate) fn of_project(
    connection: &Connection,
    project: ProjectId,
) -> rusqlite::Result<BTreeMap<VolumeId, VolumeModification>> {
    let sql = "SELECT m.volume_id, m.original_gib, m.target_gib, m.original_iops, m.original_throughput_mib,
                   m.target_iops, m.target_throughput_mib, m.original_read_only, m.target_read_only, m.started_at,
                   m.ended_at
               FROM volume_modification m JOIN volume v ON v.id = m.volume_id WHERE v.project_id = ?1";
    let rows = all(connection, sql, params![S(project)], |c| {
        let id = c.stored()?;
        let modification = VolumeModification {
            original_gib: c.plain()?,
            target_gib: c.plain()?,
            original_limits: limits(c)?,
            target_limits: limits(c)?,
            original_read_only: c.plain()?,
            target_read_only: c.plain()?,
            started_at: c.stored()?,
            ended_at: c.optional()?,
        };
        Ok((id, modification))
    })?;
    Ok(rows.into_iter().collect())
}

/// Whether the volume's last modification has not ended.
pub(crate) fn is_under_way(connection: &Connection, volume: VolumeId) -> rusqlite::Result<bool> {
    let sql = "SELECT 1 FROM volume_modification WHERE volume_id = ?1 AND ended_at IS NULL";
    exists(connection, sql, params![S(volume)])
}

/// A volume is to have the size, limits and access of the target, from what it had.
pub(crate) fn begin(
    connection: &Connection,
    volume: &Volume,
    target: &Volume,
    now: Timestamp,
) -> rusqlite::Result<()> {
    let sql =
        "INSERT OR REPLACE INTO volume_modification (volume_id, original_gib, target_gib, original_iops,
                   original_throughput_mib, target_iops, target_throughput_mib, started_at, original_read_only,
                   target_read_only)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
    let values = params![
        S(volume.id),
        volume.size_gib,
        target.size_gib,
        volume.limits.iops,
        volume.limits.throughput_mib,
        target.limits.iops,
        target.limits.throughput_mib,
        S(now),
        volume.read_only,
        target.read_only,
    ];
    execute(connection, sql, values)?;
    Ok(())
}

/// Ends the volume's modification if it is carried out: the volume's host has its size, and every guest that uses it has
/// its size and limits.
pub(crate) fn settle(connection: &Connection, volume: VolumeId, now: Timestamp) -> rusqlite::Result<()> {
    let sql = "UPDATE volume_modification AS m SET ended_at = ?2
               WHERE volume_id = ?1 AND ended_at IS NULL
                 AND target_gib <= (SELECT actual_gib FROM volume WHERE id = ?1)
                 AND NOT EXISTS (SELECT 1 FROM attachment a WHERE a.volume_id = ?1 AND a.export_state <> 'closed'
                     AND (a.guest_gib < m.target_gib OR a.guest_iops <> m.target_iops
                          OR a.guest_throughput_mib <> m.target_throughput_mib))";
    execute(connection, sql, params![S(volume), S(now)])?;
    Ok(())
}
