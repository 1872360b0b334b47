//! Nodes and join tokens, for administrators.

use tepui_core::{Kind, NodeView};
use tepui_db::model;
use tepui_types::NodeId;
use tepui_types::rest::{
    Empty, ExpungeNodeRequest, ExpungedNode, JoinToken, List, Node, NodeState, Resources,
};

use super::resolve::pick;
use super::routes::Call;
use crate::failure::Failure;

async fn target(call: &Call) -> Result<NodeId, Failure> {
    let nodes = call.cloud().nodes(&call.caller).await?;
    pick(Kind::Node, call.target(), nodes.into_iter().map(|v| (v.load.node.id, Some(v.load.node.name))))
}

async fn shown_now(call: &Call, id: NodeId) -> Result<Node, Failure> {
    Ok(shown(call.cloud().node(&call.caller, id).await?))
}

pub(super) async fn list(call: Call, _: Empty) -> Result<List<Node>, Failure> {
    let nodes = call.cloud().nodes(&call.caller).await?;
    Ok(List { items: nodes.into_iter().map(shown).collect() })
}

pub(super) async fn show(call: Call, _: Empty) -> Result<Node, Failure> {
    shown_now(&call, target(&call).await?).await
}

pub(super) async fn drain(call: Call, _: Empty) -> Result<Node, Failure> {
    set_schedulable(&call, false).await
}

pub(super) async fn undrain(call: Call, _: Empty) -> Result<Node, Failure> {
    set_schedulable(&call, true).await
}

async fn set_schedulable(call: &Call, schedulable: bool) -> Result<Node, Failure> {
    let id = target(call).await?;
    call.cloud().set_schedulable(&call.caller, id, schedulable).await?;
    shown_now(call, id).await
}

pub(super) async fn expunge(call: Call, request: ExpungeNodeRequest) -> Result<ExpungedNode, Failure> {
    let id = target(&call).await?;
    if request.confirm != id.to_string() {
        let rule = format!("repeats the node's id, {id}: its instances are given up for good");
        return Err(Failure::invalid("confirm", request.confirm, rule));
    }
    let instances = call.cloud().expunge_node(&call.caller, id).await?;
    Ok(ExpungedNode { node: shown_now(&call, id).await?, instances })
}

pub(super) async fn join_token(call: Call, _: Empty) -> Result<JoinToken, Failure> {
    let new = call.cloud().create_join_token(&call.caller).await?;
    let token = format!("{}.{}", new.secret, call.app.authority.fingerprint());
    Ok(JoinToken { token, expires_at: new.expires_at })
}

fn shown(view: NodeView) -> Node {
    let load = view.load;
    let node = load.node;
    Node {
        id: node.id,
        name: node.name,
        state: match node.state {
            model::NodeState::Up => NodeState::Up,
            model::NodeState::Unreachable => NodeState::Unreachable,
            model::NodeState::Expunged => NodeState::Expunged,
        },
        state_since: node.state_since,
        schedulable: node.schedulable,
        impaired: node.impaired,
        underlay_address: node.underlay_address,
        capacity: Resources {
            vcpus: node.capacity.vcpus,
            memory_mib: node.capacity.memory_mib,
            disk_gib: node.capacity.disk_gib,
        },
        used: Resources {
            vcpus: load.used_vcpus,
            memory_mib: load.used_memory_mib,
            disk_gib: load.used_disk_gib,
        },
        agent_version: node.agent_version,
        created_at: node.created_at,
    }
}
