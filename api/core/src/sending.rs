//! Content of snapshots on its way from their hosts to readers. A host accepts no connections, so that it is asked by its
//! poll's reply, as for consoles, and brings the bytes; the two ends meet here, in memory, and nothing of it is stored.
//!
//! ```text
//!   reader: wanted ──▶ handed out by a poll ──▶ met ──▶ portions … end
//!              └─ not met within PATIENCE: refused    └─ an end that breaks off breaks the other's
//! ```

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tepui_types::agent::WantedSending;
use tepui_types::{NodeId, ProjectId, SendingId, frames};
use tokio::sync::{mpsc, oneshot};

use crate::failpoint::Passed;
use crate::{Cloud, Error, Kind};

/// Readers of one project at once.
const OF_PROJECT: usize = 4;
/// Readers in all. Each holds two connections, and a disk of a host busy.
const ALL: usize = 64;
/// How long a reader waits for the host, whose poll is woken at once.
const PATIENCE: Duration = Duration::from_secs(30);
/// For a root disk, which its host captures first. The reader, who asks again, gives up after two minutes.
const ROOT_PATIENCE: Duration = Duration::from_secs(100);
/// An end that does nothing for so long has broken off.
const SILENCE: Duration = Duration::from_secs(60);
/// Portions that wait between the two ends; a host that is faster than its reader waits. A portion is what a connection
/// reads at once: at most 64 KiB.
const WAITING: usize = 4;

/// The readers, by what they wait for or read.
#[derive(Clone, Default)]
pub(crate) struct Sendings(Arc<Mutex<HashMap<SendingId, Wanted>>>);

struct Wanted {
    node: NodeId,
    project: ProjectId,
    order: WantedSending,
    /// A poll's reply has named it. Naming it in each would make the agent poll in a circle.
    handed_out: bool,
    /// Until its host has answered.
    meet: Option<oneshot::Sender<Answer>>,
}

/// What a host answers.
enum Answer {
    Content { raw_bytes: u64, portions: mpsc::Receiver<Portion> },
    CannotSend,
}

enum Portion {
    Bytes(Bytes),
    /// All were sent. Portions that end without it have broken off.
    End,
}

/// A reader's place, until it is dropped.
struct Place {
    sendings: Sendings,
    id: SendingId,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.sendings.lock().remove(&self.id);
    }
}

/// The reader's end.
pub struct Content {
    /// The size of the whole, whatever offset the content begins at.
    pub raw_bytes: u64,
    portions: mpsc::Receiver<Portion>,
    has_ended: bool,
    _place: Place,
}

/// The content did not come to its end.
#[derive(Debug, thiserror::Error)]
#[error("the host of the snapshot broke off")]
pub struct BrokenOff;

impl Content {
    /// The next portion of the [`frames`]; `None` behind the last one.
    pub async fn next(&mut self) -> Option<Result<Bytes, BrokenOff>> {
        if self.has_ended {
            return None;
        }
        let portion = self.portions.recv().await;
        if let Some(Portion::Bytes(bytes)) = portion {
            return Some(Ok(bytes));
        }
        self.has_ended = true;
        portion.is_none().then_some(Err(BrokenOff))
    }
}

/// The host's end. Dropping it breaks the reader's off.
pub struct Outlet {
    portions: mpsc::Sender<Portion>,
    left: u64,
}

/// Why a host's bytes are not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Untaken {
    /// They are more than what was asked for can have.
    #[error("more bytes came than the snapshot can have")]
    TooMany,
    /// Nobody reads them any more.
    #[error("nobody reads the snapshot any more")]
    NoReader,
}

impl Outlet {
    /// Passes bytes on; waits while the reader is slower.
    ///
    /// # Errors
    /// See [`Untaken`]; the reader's end has broken off then.
    pub async fn send(&mut self, bytes: Bytes) -> Result<(), Untaken> {
        self.left = self.left.checked_sub(bytes.len() as u64).ok_or(Untaken::TooMany)?;
        self.pass(Portion::Bytes(bytes)).await
    }

    /// All bytes were sent.
    ///
    /// # Errors
    /// `NoReader`.
    pub async fn end(self) -> Result<(), Untaken> {
        self.pass(Portion::End).await
    }

    async fn pass(&self, portion: Portion) -> Result<(), Untaken> {
        self.portions.send_timeout(portion, SILENCE).await.map_err(|_| Untaken::NoReader)
    }
}

impl Sendings {
    fn lock(&self) -> MutexGuard<'_, HashMap<SendingId, Wanted>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn want(
        &self,
        node: NodeId,
        project: ProjectId,
        order: WantedSending,
    ) -> Result<(Place, oneshot::Receiver<Answer>), Error> {
        let mut wanted = self.lock();
        if wanted.values().filter(|one| one.project == project).count() >= OF_PROJECT {
            let what = "contents of snapshots that a project reads at once";
            return Err(Error::LimitExceeded { what, limit: OF_PROJECT });
        }
        if wanted.len() >= ALL {
            return Err(Error::Busy);
        }
        let (meet, answer) = oneshot::channel();
        let id = order.id;
        wanted.insert(id, Wanted { node, project, order, handed_out: false, meet: Some(meet) });
        Ok((Place { sendings: self.clone(), id }, answer))
    }

    /// What a node is to send and no reply has named yet.
    pub(crate) fn hand_out(&self, node: NodeId) -> Vec<WantedSending> {
        let mut wanted = self.lock();
        let due = wanted.values_mut().filter(|one| one.node == node && !one.handed_out);
        let mut orders: Vec<_> = due
            .map(|one| {
                one.handed_out = true;
                one.order
            })
            .collect();
        orders.sort_unstable_by_key(|order| order.id);
        orders
    }

    /// The reader who waits for this of this node, and the offset.
    fn meet(&self, node: NodeId, id: SendingId) -> Option<(oneshot::Sender<Answer>, u64)> {
        let mut wanted = self.lock();
        let one = wanted.get_mut(&id).filter(|one| one.node == node)?;
        Some((one.meet.take()?, one.order.offset))
    }
}

impl Cloud {
    /// Asks a node for content of so many bytes at most, and waits until it comes or is refused.
    pub(crate) async fn request_content(
        &self,
        node: NodeId,
        (project, most): (ProjectId, u64),
        order: WantedSending,
    ) -> Result<Content, Error> {
        let unreadable = |why| Error::Unreadable { id: order.snapshot_id.to_string(), why };
        let (place, answer) = self.sendings.want(node, project, order)?;
        self.wakes.wake(Passed::NOTHING_DURABLE, [node]);
        let patience = if order.root_of.is_some() { ROOT_PATIENCE } else { PATIENCE };
        match tokio::time::timeout(patience, answer).await {
            Ok(Ok(Answer::Content { raw_bytes, .. })) if raw_bytes == 0 || raw_bytes > most => {
                Err(unreadable("its host tells a size that it cannot have"))
            }
            Ok(Ok(Answer::Content { raw_bytes, .. })) if order.offset > raw_bytes => Err(Error::invalid(
                "offset",
                order.offset,
                format!("is at most {raw_bytes}, the snapshot's size"),
            )),
            Ok(Ok(Answer::Content { raw_bytes, portions })) => {
                Ok(Content { raw_bytes, portions, has_ended: false, _place: place })
            }
            Ok(Ok(Answer::CannotSend)) => Err(unreadable("its host cannot open it")),
            // The place keeps the other end of the channel.
            Ok(Err(_)) | Err(_) => Err(unreadable("its host does not answer")),
        }
    }

    /// A node brings content of so many bytes in all that it was asked for.
    ///
    /// # Errors
    /// `NotFound` for what it was not asked for, has brought already, or nobody waits for any more.
    pub fn bring_content(&self, node: NodeId, id: SendingId, raw_bytes: u64) -> Result<Outlet, Error> {
        let not_found = || Error::not_found(Kind::Resource, id);
        let (meet, offset) = self.sendings.meet(node, id).ok_or_else(not_found)?;
        let (sender, portions) = mpsc::channel(WAITING);
        meet.send(Answer::Content { raw_bytes, portions }).map_err(|_| not_found())?;
        Ok(Outlet { portions: sender, left: frames::most_bytes(raw_bytes.saturating_sub(offset)) })
    }

    /// A node cannot bring what it was asked for.
    ///
    /// # Errors
    /// As [`Cloud::bring_content`].
    pub fn refuse_content(&self, node: NodeId, id: SendingId) -> Result<(), Error> {
        let not_found = || Error::not_found(Kind::Resource, id);
        let (meet, _) = self.sendings.meet(node, id).ok_or_else(not_found)?;
        meet.send(Answer::CannotSend).map_err(|_| not_found())
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use tepui_types::{PoolId, SnapshotId};

    use super::*;

    fn order(number: u128) -> WantedSending {
        WantedSending {
            id: SendingId::from_random(number),
            pool_id: PoolId::from_random(1),
            snapshot_id: SnapshotId::from_random(1),
            offset: 0,
            root_of: None,
        }
    }

    fn project(number: u128) -> ProjectId {
        ProjectId::from_random(number)
    }

    #[test]
    fn readers_are_bounded_for_each_project_and_in_all_until_they_leave() {
        let (sendings, node) = (Sendings::default(), NodeId::from_random(1));
        let mut places = Vec::new();
        for number in 0..ALL as u128 {
            let project = project(1 + number / OF_PROJECT as u128);
            places.push(sendings.want(node, project, order(number)).ok().unwrap());
        }
        let refused = |of| sendings.want(node, project(of), order(1000)).err().unwrap();
        assert!(matches!(refused(1), Error::LimitExceeded { limit: OF_PROJECT, .. }));
        assert!(matches!(refused(1000), Error::Busy));
        places.pop();
        drop(sendings.want(node, project(1000), order(1000)).ok().unwrap());
        drop(places);
        assert!(sendings.lock().is_empty());
    }

    #[test]
    fn only_the_node_that_is_asked_is_told_once_and_may_answer_once() {
        let sendings = Sendings::default();
        let (node, other) = (NodeId::from_random(1), NodeId::from_random(2));
        let _wanted = sendings.want(node, project(1), order(1)).ok().unwrap();
        assert_eq!(sendings.hand_out(other), []);
        assert_eq!(sendings.hand_out(node), [order(1)]);
        assert_eq!(sendings.hand_out(node), []);
        assert!(sendings.meet(other, order(1).id).is_none());
        assert!(sendings.meet(node, order(2).id).is_none());
        assert!(sendings.meet(node, order(1).id).is_some());
        assert!(sendings.meet(node, order(1).id).is_none());
    }

    fn ends(raw_bytes: u64) -> (Outlet, Content) {
        let (sender, portions) = mpsc::channel(WAITING);
        let sendings = Sendings::default();
        let (place, _) = sendings.want(NodeId::from_random(1), project(1), order(1)).ok().unwrap();
        let outlet = Outlet { portions: sender, left: frames::most_bytes(raw_bytes) };
        (outlet, Content { raw_bytes, portions, has_ended: false, _place: place })
    }

    #[tokio::test]
    async fn content_without_its_end_has_broken_off() {
        let (mut outlet, mut content) = ends(10);
        outlet.send(Bytes::from_static(b"ab")).await.unwrap();
        assert_eq!(content.next().await.unwrap().unwrap(), "ab");
        outlet.end().await.unwrap();
        assert!(content.next().await.is_none());
        let (mut outlet, mut content) = ends(10);
        outlet.send(Bytes::from_static(b"ab")).await.unwrap();
        drop(outlet);
        assert_eq!(content.next().await.unwrap().unwrap(), "ab");
        assert!(content.next().await.unwrap().is_err());
        assert!(content.next().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_waits_for_a_slow_reader_and_gives_up_one_that_does_not_read() {
        let (mut outlet, mut content) = ends(1 << 30);
        for _ in 0..WAITING {
            outlet.send(Bytes::from_static(b"ab")).await.unwrap();
        }
        assert!(outlet.send(Bytes::from_static(b"ab")).now_or_never().is_none(), "it waits");
        content.next().await.unwrap().unwrap();
        outlet.send(Bytes::from_static(b"ab")).await.unwrap();
        assert_eq!(outlet.send(Bytes::from_static(b"ab")).await, Err(Untaken::NoReader));
        let (mut outlet, content) = ends(1 << 30);
        drop(content);
        assert_eq!(outlet.send(Bytes::from_static(b"ab")).await, Err(Untaken::NoReader));
    }

    #[tokio::test]
    async fn a_host_that_sends_more_than_there_can_be_is_cut_off() {
        let (mut outlet, mut content) = ends(0);
        assert_eq!(outlet.send(Bytes::from_static(b"a")).await, Err(Untaken::TooMany));
        drop(outlet);
        assert!(content.next().await.unwrap().is_err());
    }
}
