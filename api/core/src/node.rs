//! Nodes, as operators see them. Administrators only.

use tepui_db::model::{Node, NodeState, StateReason};
use tepui_types::NodeId;

use crate::{Caller, Cloud, Error, Kind, NodeView};

impl Cloud {
    /// All nodes with what is taken on them and what they said last, by id.
    ///
    /// # Errors
    /// `Forbidden`.
    pub async fn nodes(&self, caller: &Caller) -> Result<Vec<NodeView>, Error> {
        caller.require_administrator()?;
        let (loads, now) = (self.db.nodes().await?, self.now());
        Ok(loads.into_iter().map(|load| self.fleet.view(load, now)).collect())
    }

    /// One node.
    ///
    /// # Errors
    /// `Forbidden`, `NotFound`.
    pub async fn node(&self, caller: &Caller, id: NodeId) -> Result<NodeView, Error> {
        let found = self.nodes(caller).await?.into_iter().find(|view| view.load.node.id == id);
        found.ok_or_else(|| Error::not_found(Kind::Node, id))
    }

    /// Lets new placements onto a node, or keeps them off: a drain.
    ///
    /// # Errors
    /// `Forbidden`, `NotFound`.
    pub async fn set_schedulable(&self, caller: &Caller, id: NodeId, on: bool) -> Result<(), Error> {
        caller.require_administrator()?;
        self.commit(caller, "SetSchedulable", id.to_string(), async {
            let found = self.db.set_schedulable(id, on).await?;
            if found { Ok(()) } else { Err(Error::not_found(Kind::Node, id)) }
        })
        .await
    }

    /// Gives a node up: its instances are terminated in the books, its certificate is worth nothing.
    /// The caller vouches that nothing of it runs. Only an unreachable node can be given up. Returns
    /// how many placements it took along. Safe to repeat.
    ///
    /// # Errors
    /// `Forbidden`, `NotFound`, `WrongState` for a node that polls.
    pub async fn expunge_node(&self, caller: &Caller, id: NodeId) -> Result<u32, Error> {
        let node = self.node(caller, id).await?.load.node;
        check_expungeable(&node)?;
        let reason = StateReason {
            code: "Server.InternalError".into(),
            message: format!("the node {} was given up by its operator", node.name),
        };
        let count = self
            .commit(caller, "ExpungeNode", id.to_string(), async {
                self.db.set_node_state(id, NodeState::Expunged, self.now()).await?;
                Ok(self.db.expunge_placements(id, &reason, self.now()).await?)
            })
            .await?;
        self.fleet.forget(id);
        self.wakes.wake_all();
        Ok(count)
    }
}

/// An expunged one passes, so that a call cut off between its two writes can be repeated.
fn check_expungeable(node: &Node) -> Result<(), Error> {
    match node.state {
        NodeState::Unreachable | NodeState::Expunged => Ok(()),
        NodeState::Up => {
            Err(Error::WrongState { id: node.id.to_string(), state: "up".into(), wanted: "unreachable" })
        }
    }
}
