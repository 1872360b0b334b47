//! Moves of volumes to other pools, for administrators.

use tepui_core::{Error, Kind};
use tepui_db::model;
use tepui_types::VolumeId;
use tepui_types::rest::{Empty, List, MoveStage, MoveVolumeRequest, VolumeMove};

use super::routes::Call;
use super::{pool, volume};
use crate::failure::Failure;

/// One of the caller's project, or any by its whole id: who moves volumes is their pool's operator.
async fn find(call: &Call, text: &str) -> Result<VolumeId, Failure> {
    match (volume::find(call, text).await, text.parse()) {
        (Err(Failure::Domain(Error::NotFound { kind: Kind::Volume, .. })), Ok(id)) => Ok(id),
        (found, _) => found,
    }
}

pub(super) async fn begin(call: Call, request: MoveVolumeRequest) -> Result<List<VolumeMove>, Failure> {
    let to = pool::find(&call, &request.pool).await?;
    let id = find(&call, call.target()).await?;
    let begun = call.cloud().move_volume(&call.caller, id, to).await?;
    Ok(List { items: begun.into_iter().map(shown).collect() })
}

pub(super) async fn list(call: Call, _: Empty) -> Result<List<VolumeMove>, Failure> {
    let moves = call.cloud().moves(&call.caller).await?;
    Ok(List { items: moves.into_iter().map(shown).collect() })
}

fn shown(found: model::VolumeMove) -> VolumeMove {
    VolumeMove {
        volume_id: found.volume_id,
        project_id: found.project_id,
        from_pool_id: found.from_pool,
        to_pool_id: found.to_pool,
        stage: match found.stage {
            model::MoveStage::Copying => MoveStage::Copying,
            model::MoveStage::Leaving => MoveStage::Leaving,
            model::MoveStage::Arriving => MoveStage::Arriving,
            model::MoveStage::Failed => MoveStage::Failed,
        },
        since: found.since,
        message: found.message,
    }
}
