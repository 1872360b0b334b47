//! Pools, for administrators.

use tepui_core::{CreatePool, Kind, PoolView};
use tepui_db::model::NodeState;
use tepui_types::rest::{
    CreatePoolRequest, DrainPoolRequest, Empty, List, Pool, PoolBackend, PoolLeaving, PoolUsage,
};
use tepui_types::{PoolId, agent};

use super::resolve::pick;
use super::routes::Call;
use crate::failure::Failure;

/// The pool that a text names.
pub(super) async fn find(call: &Call, text: &str) -> Result<PoolId, Failure> {
    let pools = call.cloud().pools(&call.caller).await?;
    let names = pools.into_iter().map(|view| (view.load.pool.id, Some(view.load.pool.name)));
    pick(Kind::Pool, text, names)
}

pub(super) async fn create(call: Call, request: CreatePoolRequest) -> Result<Pool, Failure> {
    let nodes = call.cloud().nodes(&call.caller).await?;
    let names = nodes.into_iter().map(|view| (view.load.node.id, Some(view.load.node.name)));
    let node_id = pick(Kind::Node, &request.node, names)?;
    let CreatePoolRequest { name, class, backend, node: _, path, filer, soft_percent, hard_percent } =
        request;
    let backend = match backend {
        PoolBackend::Iscsi => agent::PoolBackend::Iscsi,
        PoolBackend::Nfs => agent::PoolBackend::Nfs,
        PoolBackend::Local => agent::PoolBackend::Local,
    };
    let new = CreatePool { name, class, backend, node_id, path, filer, soft_percent, hard_percent };
    shown(call.cloud().create_pool(&call.caller, new).await?)
}

pub(super) async fn list(call: Call, _: Empty) -> Result<List<Pool>, Failure> {
    let pools = call.cloud().pools(&call.caller).await?;
    Ok(List { items: pools.into_iter().map(shown).collect::<Result<_, _>>()? })
}

pub(super) async fn show(call: Call, _: Empty) -> Result<Pool, Failure> {
    let id = find(&call, call.target()).await?;
    shown_now(&call, id).await
}

pub(super) async fn drain(call: Call, request: DrainPoolRequest) -> Result<Pool, Failure> {
    if !request.move_volumes {
        return set_draining(&call, true).await;
    }
    let id = find(&call, call.target()).await?;
    call.cloud().empty_pool(&call.caller, id).await?;
    shown_now(&call, id).await
}

pub(super) async fn undrain(call: Call, _: Empty) -> Result<Pool, Failure> {
    set_draining(&call, false).await
}

async fn set_draining(call: &Call, draining: bool) -> Result<Pool, Failure> {
    let id = find(call, call.target()).await?;
    call.cloud().set_pool_draining(&call.caller, id, draining).await?;
    shown_now(call, id).await
}

pub(super) async fn delete(call: Call, _: Empty) -> Result<Empty, Failure> {
    let id = find(&call, call.target()).await?;
    call.cloud().delete_pool(&call.caller, id).await?;
    Ok(Empty {})
}

async fn shown_now(call: &Call, id: PoolId) -> Result<Pool, Failure> {
    shown(call.cloud().pool(&call.caller, id).await?)
}

fn shown(view: PoolView) -> Result<Pool, Failure> {
    let PoolView { load, state, io: _, leaving } = view;
    let pool = load.pool;
    let usage = match &state {
        Some(agent::PoolState::Ready { total_bytes, used_bytes }) => {
            Some(PoolUsage { total_bytes: *total_bytes, used_bytes: *used_bytes })
        }
        Some(agent::PoolState::Failed { .. }) | None => None,
    };
    let trouble = trouble(load.node_state, state);
    let backend = match pool.backend {
        agent::PoolBackend::Iscsi => PoolBackend::Iscsi,
        agent::PoolBackend::Nfs => PoolBackend::Nfs,
        agent::PoolBackend::Local => PoolBackend::Local,
    };
    Ok(Pool {
        id: pool.id,
        name: pool.name,
        class: pool.class,
        backend,
        node_id: pool.node_id,
        path: pool.path,
        filer: pool.filer,
        soft_percent: pool.soft_percent,
        hard_percent: pool.hard_percent,
        draining: pool.draining,
        volumes: load.volumes,
        provisioned_gib: load.provisioned_gib,
        snapshots: load.snapshots,
        usage,
        leaving: leaving.map(|leaving| PoolLeaving {
            moving: leaving.moving,
            waiting: leaving.waiting,
            in_use: leaving.held.len() as u64,
            failed: leaving.failed,
        }),
        trouble,
        created_at: pool.created_at,
    })
}

fn trouble(node: NodeState, state: Option<agent::PoolState>) -> Option<String> {
    match (node, state) {
        (NodeState::Expunged, _) => Some("lost: its node was given up".into()),
        (NodeState::Unreachable, _) => Some("its node is unreachable".into()),
        (NodeState::Up, Some(agent::PoolState::Failed { message })) => Some(message),
        (NodeState::Up, Some(agent::PoolState::Ready { .. }) | None) => None,
    }
}
