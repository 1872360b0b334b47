//! Nodes, as operators see them. Administrators only.

use tepui_db::ExpungeOutcome;
use tepui_db::model::{Node, NodeRequest, NodeState, StateReason};
use tepui_types::NodeId;

use crate::failpoint::pass;
use crate::{Caller, Cloud, Error, Kind, NodeView};

impl Cloud {
    /// All nodes with what is taken on them and what they said last, by id.
    ///
    /// # Errors
    /// `Forbidden`.
    pub async fn nodes(&self, caller: &Caller) -> Result<Vec<NodeView>, Error> {
        caller.require_administrator()?;
        let (loads, now) = (self.db.nodes().await?, self.steady());
        let mut views: Vec<_> = loads.into_iter().map(|load| self.fleet.view(load, now)).collect();
        for view in &mut views {
            view.seen_at = view.seen_at.map(|at| self.time_of_day(at));
        }
        Ok(views)
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
    /// `Forbidden`, `NotFound`, `WrongState` for a node that was given up.
    pub async fn set_schedulable(&self, caller: &Caller, id: NodeId, on: bool) -> Result<(), Error> {
        let request = if on { NodeRequest::Undrain } else { NodeRequest::Drain };
        self.node_for(caller, id, request).await?;
        pass("core::drain::checked")?;
        let action = if on { "UndrainNode" } else { "DrainNode" };
        self.commit(caller, action, id.to_string(), async {
            let found = self.db.set_schedulable(id, on).await?;
            if found {
                return Ok(());
            }
            // It was given up meanwhile.
            self.node_for(caller, id, request).await?;
            Err(Error::not_found(Kind::Node, id))
        })
        .await?;
        pass("core::drain::committed").map(drop)
    }

    /// Gives a node up: its instances are terminated in the books, its certificate is worth nothing.
    /// The caller vouches that nothing of it runs. Only an unreachable node can be given up. Returns
    /// how many placements it took along. Safe to repeat.
    ///
    /// # Errors
    /// `Forbidden`, `NotFound`, `WrongState` for a node that polls.
    pub async fn expunge_node(&self, caller: &Caller, id: NodeId) -> Result<u32, Error> {
        let node = self.node_for(caller, id, NodeRequest::Expunge).await?;
        pass("core::expunge::checked")?;
        let reason = StateReason {
            code: "Server.InternalError".into(),
            message: "Server.InternalError: the host was given up by its operator".into(),
            detail: Some(format!("it was the node {}", node.name)),
        };
        let count = self
            .commit(caller, "ExpungeNode", id.to_string(), async {
                match self.db.expunge_node(id, &reason, self.now()).await? {
                    ExpungeOutcome::Expunged(count) => Ok(count),
                    ExpungeOutcome::Up => Err(refused(id, NodeState::Up, NodeRequest::Expunge)),
                    ExpungeOutcome::NotFound => Err(Error::not_found(Kind::Node, id)),
                }
            })
            .await?;
        let passed = pass("core::expunge::committed")?;
        self.fleet.forget(id);
        self.identities.forget(id);
        self.io.forget(id);
        self.wakes.wake_all(passed);
        pass("core::expunge::woken")?;
        Ok(count)
    }

    /// A node whose state allows the request.
    async fn node_for(&self, caller: &Caller, id: NodeId, request: NodeRequest) -> Result<Node, Error> {
        let node = self.node(caller, id).await?.load.node;
        match node.state.asked(request) {
            Some(_) => Ok(node),
            None => Err(refused(id, node.state, request)),
        }
    }
}

fn refused(id: NodeId, state: NodeState, request: NodeRequest) -> Error {
    let wanted = match request {
        NodeRequest::Drain | NodeRequest::Undrain => "up or unreachable",
        NodeRequest::Expunge => "unreachable",
    };
    Error::WrongState { id: id.to_string(), state: state.name().into(), wanted }
}
