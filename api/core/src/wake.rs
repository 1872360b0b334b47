//! Wakes the polls of nodes whose desired state grew. A wake-up is a hint: a poll that misses one
//! finds the change at its deadline.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tepui_types::NodeId;
use tokio::sync::watch;

/// One counter for each node that ever polled.
#[derive(Default)]
pub(crate) struct Wakes(Mutex<HashMap<NodeId, watch::Sender<u64>>>);

impl Wakes {
    /// A receiver that sees every wake-up from now on. Subscribe before reading the state: a change
    /// in between then wakes at once.
    pub(crate) fn subscribe(&self, node: NodeId) -> watch::Receiver<u64> {
        let mut nodes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        nodes.entry(node).or_insert_with(|| watch::Sender::new(0)).subscribe()
    }

    /// Ends every wait.
    pub(crate) fn wake_all(&self) {
        let senders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        senders.values().for_each(|sender| sender.send_modify(|count| *count += 1));
    }

    /// Whether anybody waits for this node's wake-ups.
    pub(crate) fn is_waited_for(&self, node: NodeId) -> bool {
        let nodes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        nodes.get(&node).is_some_and(|sender| sender.receiver_count() > 0)
    }

    /// Ends the waits of these nodes.
    pub(crate) fn wake(&self, nodes: impl IntoIterator<Item = NodeId>) {
        let senders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for sender in nodes.into_iter().filter_map(|node| senders.get(&node)) {
            sender.send_modify(|count| *count += 1);
        }
    }
}
