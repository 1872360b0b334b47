//! What takes room in pools beside what is wanted there, for administrators.

use tepui_core::{LeftoverState as State, LeftoverView};
use tepui_types::agent::{LeftoverKind as Found, StoredId};
use tepui_types::rest::{Empty, Leftover, LeftoverKind, LeftoverState, List};

use super::pool::find;
use super::routes::Call;
use crate::failure::Failure;

pub(super) async fn list(call: Call, _: Empty) -> Result<List<Leftover>, Failure> {
    let pool = find(&call, call.target()).await?;
    Ok(shown(call.cloud().leftovers(&call.caller, pool).await?))
}

pub(super) async fn reclaim(call: Call, _: Empty) -> Result<List<Leftover>, Failure> {
    let pool = find(&call, call.target()).await?;
    Ok(shown(call.cloud().reclaim_pool(&call.caller, pool).await?))
}

fn shown(views: Vec<LeftoverView>) -> List<Leftover> {
    List { items: views.into_iter().map(leftover).collect() }
}

fn leftover(view: LeftoverView) -> Leftover {
    let (kind, id) = match view.kind {
        Found::Removed { id } | Found::Unnamed { id } => (kind(id), id.to_string()),
        Found::Base { digest } => (LeftoverKind::Image, digest.to_string()),
    };
    let (state, goes_at) = match view.state {
        State::Quarantined { until } => (LeftoverState::Quarantined, Some(until)),
        State::Unlinking => (LeftoverState::Unlinking, None),
        State::Referred => (LeftoverState::Referred, None),
        State::Unnamed => (LeftoverState::Unnamed, None),
        State::Unused => (LeftoverState::Unused, None),
    };
    let LeftoverView { kind: _, bytes, state: _, project_id, removed_at } = view;
    Leftover { id, kind, state, bytes, project_id, removed_at, goes_at }
}

fn kind(id: StoredId) -> LeftoverKind {
    match id {
        StoredId::Volume(_) => LeftoverKind::Volume,
        StoredId::Snapshot(_) => LeftoverKind::Snapshot,
    }
}
