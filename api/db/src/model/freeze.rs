//! Guests that hold still.

use tepui_types::agent::FreezeKind;
use tepui_types::{FreezeId, PlacementId};

use super::FreezeStage;

/// A guest that holds still while snapshots of its volumes are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Freeze {
    /// The id.
    pub id: FreezeId,
    /// The guest.
    pub placement_id: PlacementId,
    /// What of it holds still.
    pub kind: FreezeKind,
    /// How far it is.
    pub stage: FreezeStage,
}
