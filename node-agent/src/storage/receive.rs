//! A snapshot that comes from another host: a task reads the network, a thread writes.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use tepui_storage::{Copying, Pool, PoolError};
use tepui_types::SnapshotId;
use tepui_types::agent::StoredState;
use tepui_types::frames::{Decoder, FrameError};
use tokio::sync::mpsc;

use super::stored::is_permanent;
use crate::link::LinkError;

/// Portions that wait between the network and the disk.
const AHEAD: usize = 8;

/// The size of a disk, and its content as frames.
pub type RemoteContent = (u64, BoxStream<'static, Result<Bytes, LinkError>>);

/// Where what other hosts' snapshots hold comes from.
#[async_trait]
pub trait ContentSource: Send + Sync {
    /// Opens what a snapshot holds of which this host makes a copy.
    async fn content(&self, of: SnapshotId) -> Result<RemoteContent, LinkError>;
}

/// Why a copy was not made.
#[derive(Debug, thiserror::Error)]
pub(super) enum TransferError {
    #[error("the content does not come from its host")]
    Link(#[from] LinkError),
    #[error(transparent)]
    Pool(#[from] PoolError),
}

impl From<FrameError> for TransferError {
    fn from(error: FrameError) -> Self {
        Self::Pool(error.into())
    }
}

impl TransferError {
    /// What was deleted before it was copied never comes.
    pub(super) fn is_permanent(&self) -> bool {
        match self {
            Self::Link(error) => error.is_not_found(),
            Self::Pool(error) => is_permanent(error),
        }
    }

    pub(super) fn state(&self) -> StoredState {
        StoredState::Failed { message: crate::chain(self), permanent: self.is_permanent() }
    }
}

/// Brings a snapshot into a pool, and tells what became of it: once nothing of it is under way any more, also when this
/// is cancelled.
pub(super) async fn receive(
    source: Arc<dyn ContentSource>,
    (id, of): (SnapshotId, SnapshotId),
    to: Arc<Pool>,
    copying: Arc<Copying>,
    tell: impl FnOnce(Result<(), TransferError>) + Send + 'static,
) {
    let (bytes, mut content) = match open(&*source, of, &to).await {
        Ok(opened) => opened,
        Err(error) => return tell(Err(error)),
    };
    let (sender, portions) = mpsc::channel(AHEAD);
    tokio::task::spawn_blocking(move || tell(write(&to, id, (bytes, &copying), portions)));
    while let Some(portion) = content.next().await {
        // The thread has ended, and told why.
        if sender.send(portion).await.is_err() {
            return;
        }
    }
}

/// Nothing is asked of another host that has no room here: it would read or capture a disk, again at each try.
async fn open(
    source: &dyn ContentSource,
    of: SnapshotId,
    to: &Arc<Pool>,
) -> Result<RemoteContent, TransferError> {
    let pool = Arc::clone(to);
    let room = tokio::task::spawn_blocking(move || pool.require_room()).await;
    room.unwrap_or(Err(PoolError::Stopped))?;
    Ok(source.content(of).await?)
}

fn write(
    to: &Pool,
    id: SnapshotId,
    size: (u64, &Copying),
    mut portions: mpsc::Receiver<Result<Bytes, LinkError>>,
) -> Result<(), TransferError> {
    let made = to.receive_snapshot(id, size, |incoming| {
        let mut decoder = Decoder::new().map_err(FrameError::Damaged)?;
        while let Some(portion) = portions.blocking_recv() {
            decoder.read(&portion?, |piece| incoming.piece(piece).map_err(TransferError::from))?;
        }
        Ok::<_, TransferError>(())
    });
    made.map(drop)
}
