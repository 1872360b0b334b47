//! Snapshots that are made from images.

use rusqlite::{Connection, params};
use tepui_db::SnapshotOfImageOutcome;
use tepui_db::model::Snapshot;
use tepui_types::agent::VolumeImage;
use tepui_types::{ImageId, ProjectId};

use crate::generation::Touched;
use crate::row::first;
use crate::value::S;
use crate::verb::Verb;
use crate::{snapshot, tag, volume};

const GIB: u64 = 1 << 30;

pub(crate) fn create(
    connection: &Connection,
    of: ImageId,
    new: &Snapshot,
    tags: &[(String, String)],
) -> Verb<SnapshotOfImageOutcome> {
    let Some(image) = usable(connection, of, new.project_id)? else {
        return Ok(SnapshotOfImageOutcome::ImageMissing(of));
    };
    let Some(node) = volume::open_pool(connection, new.pool_id)? else {
        return Ok(SnapshotOfImageOutcome::PoolLost(new.pool_id));
    };
    let size_gib = u32::try_from(image.bytes.div_ceil(GIB)).unwrap_or(u32::MAX);
    snapshot::insert(connection, &Snapshot { image: Some(image), size_gib, ..new.clone() })?;
    for (key, value) in tags {
        tag::insert(connection, new.project_id, &new.id.to_string(), key, value)?;
    }
    let mut touched = Touched::default();
    touched.storage(node);
    touched.grow(connection)?;
    Ok(SnapshotOfImageOutcome::Making(node))
}

/// What an image holds that the project may launch.
fn usable(connection: &Connection, id: ImageId, project: ProjectId) -> rusqlite::Result<Option<VolumeImage>> {
    let sql = "SELECT digest, size_bytes FROM image
               WHERE id = ?1 AND state = 'available' AND (public OR project_id = ?2)";
    first(connection, sql, params![S(id), S(project)], |c| {
        Ok(VolumeImage { digest: c.stored()?, bytes: c.stored()? })
    })
}
