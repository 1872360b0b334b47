//! Volumes that are deleted by themselves.

use std::collections::BTreeMap;

use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::{Connection, params};
use tepui_db::model::{EndingVolume, VolumeEnd, VolumeState};
use tepui_db::{DbError, VolumeEndDb, VolumeOutcome};
use tepui_types::{ProjectId, VolumeId};

use crate::row::{Columns, all, execute, first};
use crate::value::S;
use crate::verb::Verb;
use crate::{SqliteDb, volume};

/// The SELECT list, with `volume_end` as e, that [`read`] reads.
const END: &str = "e.at, e.warns_at, e.warned_seconds, e.set_by";

#[async_trait]
impl VolumeEndDb for SqliteDb {
    async fn set_volume_end(
        &self,
        project: ProjectId,
        id: VolumeId,
        end: Option<VolumeEnd>,
    ) -> Result<VolumeOutcome, DbError> {
        self.write(move |connection| Ok(set(connection, project, id, end)?)).await
    }

    async fn ending_volumes(&self, now: Timestamp) -> Result<Vec<EndingVolume>, DbError> {
        self.read(move |connection| {
            let sql = format!(
                "SELECT v.id, v.project_id, {END},
                     (SELECT i.id FROM attachment a JOIN instance i ON i.n = a.instance_n
                      WHERE a.volume_id = v.id ORDER BY a.since, a.id LIMIT 1)
                 FROM volume_end e JOIN volume v ON v.id = e.volume_id
                 WHERE (e.warns_at <= ?1 OR e.warned_seconds IS NOT NULL) AND v.state <> 'deleting' ORDER BY v.id"
            );
            all(connection, &sql, params![S(now)], |c| {
                Ok(EndingVolume {
                    volume_id: c.stored()?,
                    project_id: c.stored()?,
                    end: read(c)?,
                    used_by: c.optional()?,
                })
            })
        })
        .await
    }

    async fn note_warnings(&self, warned: &[(EndingVolume, Option<u32>)]) -> Result<(), DbError> {
        let warned = warned.to_vec();
        self.write(move |connection| {
            for (ending, seconds) in &warned {
                let sql = "UPDATE volume_end SET warned_seconds = ?4
                           WHERE volume_id = ?1 AND at = ?2 AND warned_seconds IS ?3";
                let VolumeEnd { at, warned_seconds, .. } = ending.end;
                execute(connection, sql, params![S(ending.volume_id), S(at), warned_seconds, *seconds])?;
            }
            Ok(())
        })
        .await
    }

    async fn end_volume(&self, ending: &EndingVolume) -> Result<VolumeOutcome, DbError> {
        let ending = *ending;
        self.write(move |connection| end(connection, &ending)).await
    }
}

fn read(c: &Columns<'_>) -> rusqlite::Result<VolumeEnd> {
    Ok(VolumeEnd { at: c.stored()?, warns_at: c.stored()?, warned_seconds: c.plain()?, set_by: c.stored()? })
}

/// The ends of a project's volumes.
pub(crate) fn of_project(
    connection: &Connection,
    project: ProjectId,
) -> rusqlite::Result<BTreeMap<VolumeId, VolumeEnd>> {
    let sql = format!(
        "SELECT e.volume_id, {END} FROM volume_end e JOIN volume v ON v.id = e.volume_id WHERE v.project_id = ?1"
    );
    Ok(all(connection, &sql, params![S(project)], |c| Ok((c.stored()?, read(c)?)))?.into_iter().collect())
}

/// Gives an end to a volume that has none.
pub(crate) fn insert(connection: &Connection, id: VolumeId, end: &VolumeEnd) -> rusqlite::Result<()> {
    let sql = "INSERT INTO volume_end (volume_id, at, warns_at, warned_seconds, set_by) VALUES (?1, ?2, ?3, ?4, ?5)";
    let VolumeEnd { at, warns_at, warned_seconds, set_by } = *end;
    execute(connection, sql, params![S(id), S(at), S(warns_at), warned_seconds, S(set_by)])?;
    Ok(())
}

fn of(connection: &Connection, id: VolumeId) -> rusqlite::Result<Option<VolumeEnd>> {
    let sql = format!("SELECT {END} FROM volume_end e WHERE e.volume_id = ?1");
    first(connection, &sql, params![S(id)], read)
}

fn set(
    connection: &Connection,
    project: ProjectId,
    id: VolumeId,
    end: Option<VolumeEnd>,
) -> rusqlite::Result<VolumeOutcome> {
    let sql = "SELECT state FROM volume WHERE id = ?1 AND project_id = ?2";
    match first(connection, sql, params![S(id), S(project)], |c| c.stored())? {
        None => return Ok(VolumeOutcome::NotFound),
        Some(VolumeState::Deleting) => return Ok(VolumeOutcome::WrongState(VolumeState::Deleting)),
        Some(VolumeState::Creating | VolumeState::Available | VolumeState::Error) => {}
    }
    if of(connection, id)? == end {
        return Ok(VolumeOutcome::Unchanged);
    }
    execute(connection, "DELETE FROM volume_end WHERE volume_id = ?1", params![S(id)])?;
    if let Some(end) = end {
        insert(connection, id, &end)?;
    }
    // No host has anything to do with it.
    Ok(VolumeOutcome::Changed(Vec::new()))
}

fn end(connection: &Connection, ending: &EndingVolume) -> Verb<VolumeOutcome> {
    if of(connection, ending.volume_id)? != Some(ending.end) {
        return Ok(VolumeOutcome::Unchanged);
    }
    volume::delete(connection, ending.project_id, ending.volume_id)
}
