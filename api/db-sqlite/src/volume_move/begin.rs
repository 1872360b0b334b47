//! How a move begins, or is asked to be otherwise.

use jiff::Timestamp;
use rusqlite::{Connection, params};
use tepui_db::model::{MoveStage, Snapshot, VolumeMove, VolumeState};
use tepui_db::{MoveOutcome, NewMove};
use tepui_types::agent::StoredId;

use super::{Mover, end, insert_snapshot, mover, of, of_move, turn_back};
use crate::generation::Touched;
use crate::row::{execute, first};
use crate::value::S;
use crate::verb::Verb;
use crate::{attachment, modification, quarantine, volume};

/// Begins a move of a volume that nobody uses.
pub(super) fn begin(connection: &Connection, new: &NewMove, now: Timestamp) -> Verb<MoveOutcome> {
    let Some(volume) = mover(connection, new.volume_id)? else { return Ok(MoveOutcome::VolumeMissing) };
    let current = of(connection, new.volume_id)?;
    let mut touched = Touched::default();
    if let Some(refused) = go_on(connection, new, current.as_ref(), now)? {
        return Ok(refused);
    }
    if new.to_pool == volume.pool {
        let Some(found) = current else { return Ok(MoveOutcome::Unchanged) };
        end(connection, &found, &mut touched)?;
        touched.grow(connection)?;
        return Ok(MoveOutcome::Back(vec![volume.host]));
    }
    if let Some(refused) = refuse(connection, new, &volume)? {
        return Ok(refused);
    }
    let Some(to) = volume::open_pool(connection, new.to_pool)? else {
        return Ok(MoveOutcome::PoolLost(new.to_pool));
    };
    if let Some(found) = current {
        end(connection, &found, &mut touched)?;
    }
    insert(connection, new, &volume, now)?;
    touched.storage(volume.host);
    // Its file of an earlier time there would keep it out.
    if quarantine::order_one(connection, (new.to_pool, StoredId::Volume(new.volume_id)))? {
        touched.storage(to);
    }
    touched.grow(connection)?;
    Ok(MoveOutcome::Moving(vec![volume.host, to]))
}

/// What is to be said of a volume whose move goes on as it is, or can only turn back.
fn go_on(
    connection: &Connection,
    new: &NewMove,
    current: Option<&VolumeMove>,
    now: Timestamp,
) -> rusqlite::Result<Option<MoveOutcome>> {
    let Some(found) = current else { return Ok(None) };
    if found.to_pool == new.to_pool && found.stage != MoveStage::Failed {
        return Ok(Some(MoveOutcome::Unchanged));
    }
    match found.stage {
        MoveStage::Copying | MoveStage::Failed => Ok(None),
        // The other host was not told of it yet.
        MoveStage::Leaving if new.to_pool == found.from_pool => {
            let mut touched = Touched::default();
            turn_back(connection, found, now, &mut touched)?;
            touched.grow(connection)?;
            Ok(Some(MoveOutcome::Back(Vec::new())))
        }
        MoveStage::Leaving | MoveStage::Arriving => Ok(Some(MoveOutcome::Moved)),
    }
}

fn refuse(connection: &Connection, new: &NewMove, volume: &Mover) -> rusqlite::Result<Option<MoveOutcome>> {
    match volume.state {
        VolumeState::Available => {}
        VolumeState::Creating | VolumeState::Deleting | VolumeState::Error => {
            return Ok(Some(MoveOutcome::VolumeState(volume.state)));
        }
    }
    if let Some(instance) = attachment::user(connection, new.volume_id)? {
        return Ok(Some(MoveOutcome::InUse(instance)));
    }
    if modification::is_under_way(connection, new.volume_id)? || volume.actual_gib != volume.size_gib {
        return Ok(Some(MoveOutcome::Modifying));
    }
    let sql = "SELECT class FROM pool WHERE id = ?1";
    let class = first(connection, sql, params![S(new.to_pool)], |c| c.plain::<String>())?;
    Ok(match class {
        None => Some(MoveOutcome::PoolLost(new.to_pool)),
        Some(class) if class != volume.class => Some(MoveOutcome::OtherClass(volume.class.clone())),
        Some(_) => None,
    })
}

fn insert(connection: &Connection, new: &NewMove, volume: &Mover, now: Timestamp) -> rusqlite::Result<()> {
    let source =
        Snapshot { id: new.source_id, volume_id: new.volume_id, ..of_move(volume, volume.pool, now) };
    insert_snapshot(connection, &source)?;
    let sql = "INSERT INTO volume_move (volume_id, from_pool, to_pool, stage, source_id, target_id, by_drain, since)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    let values = params![
        S(new.volume_id),
        S(volume.pool),
        S(new.to_pool),
        S(MoveStage::Copying),
        S(new.source_id),
        S(new.target_id),
        new.by_drain,
        S(now),
    ];
    execute(connection, sql, values)?;
    Ok(())
}
