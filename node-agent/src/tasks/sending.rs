//! Sends what snapshots hold to those who wait for it.

use std::error::Error;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures::Stream;
use futures::stream::unfold;
use tepui_types::agent::{PlacementPart, WantedSending};
use tepui_types::{PlacementId, SnapshotId};
use tokio::sync::mpsc;

use super::Context;
use crate::captures::{CaptureError, DiskContent, Wanted};
use crate::link::LinkError;

/// Portions that are read ahead of the network; each has about 64 KiB, or a piece of the disk that cannot be compressed.
const AHEAD: usize = 2;

/// One sending. It is asked for once: where it breaks off its reader asks for the rest.
pub(super) async fn send(context: Arc<Context>, order: WantedSending) {
    let sent = match order.root_of {
        Some(placement) => send_root(&context, order, placement).await,
        None => send_snapshot(&context, order).await,
    };
    if let Err(error) = sent {
        let (snapshot, message) = (order.snapshot_id, crate::chain(&error));
        tracing::warn!(%snapshot, message, "the content of a snapshot was not sent to its end");
    }
}

async fn send_snapshot(context: &Context, order: WantedSending) -> Result<(), LinkError> {
    match context.shared.storage.content(order).await {
        Ok(content) => {
            let bytes = content.bytes();
            context.control_plane.bring_content(order.id, bytes, read(content)).await
        }
        Err(error) => {
            let (snapshot, message) = (order.snapshot_id, crate::chain(&error));
            tracing::error!(%snapshot, message, "cannot open a snapshot that is to be sent");
            context.control_plane.refuse_content(order.id).await
        }
    }
}

/// It is captured first; who waits for it asks again where that takes too long.
async fn send_root(context: &Context, order: WantedSending, placement: PlacementId) -> Result<(), LinkError> {
    match capture(context, order.snapshot_id, placement).await {
        Ok(content) => {
            let bytes = content.bytes();
            context.control_plane.bring_content(order.id, bytes, read(content)).await
        }
        Err(error) => {
            let (snapshot, message) = (order.snapshot_id, crate::chain(&error));
            tracing::warn!(%placement, %snapshot, message, "no root disk to send yet");
            context.control_plane.refuse_content(order.id).await
        }
    }
}

async fn capture(
    context: &Context,
    snapshot: SnapshotId,
    placement: PlacementId,
) -> Result<DiskContent, CaptureError> {
    let part = context.shared.ledger().wanted().node;
    let wanted = part.placements.iter().find(|wanted| wanted.id == placement).map(|wanted| &wanted.wanted);
    let disk = match wanted {
        Some(PlacementPart::Present(spec)) => spec.root_disk.clone(),
        Some(PlacementPart::Absent { .. }) | None => None,
    };
    let disk = disk.ok_or(CaptureError::NoDisk(placement))?;
    context.shared.executor.captures.content(Wanted { snapshot, placement, disk }).await
}

/// Reads on a thread, no further ahead than the network lets it.
fn read<E: Error + Send + 'static>(
    content: impl Iterator<Item = Result<Vec<u8>, E>> + Send + 'static,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let (sender, portions) = mpsc::channel(AHEAD);
    tokio::task::spawn_blocking(move || {
        for portion in content.map(Some).chain([None]) {
            let is_over = !matches!(portion, Some(Ok(_)));
            // Nobody waits for it any more.
            if sender.blocking_send(portion).is_err() || is_over {
                return;
            }
        }
    });
    unfold(Some(portions), |portions| async move {
        let mut portions = portions?;
        match portions.recv().await {
            Some(Some(Ok(portion))) => Some((Ok(Bytes::from(portion)), Some(portions))),
            Some(Some(Err(error))) => Some((Err(unread(&error)), None)),
            Some(None) => None,
            None => Some((Err(io::ErrorKind::UnexpectedEof.into()), None)),
        }
    })
}

fn unread(error: &impl Error) -> io::Error {
    let message = crate::chain(error);
    tracing::error!(message, "cannot read a snapshot that is being sent");
    io::Error::other(message)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use axum::Router;
    use axum::extract::{Path, State};
    use axum::http::HeaderMap;
    use axum::routing::post;
    use tepui_storage::Content;
    use tepui_types::SendingId;
    use tepui_types::agent::SENDING_PATH;
    use tepui_types::frames::{Decoder, FrameError, PIECE_BYTES, RAW_SIZE_HEADER};

    use super::*;
    use crate::link::ControlPlane;
    use crate::testing::control_plane::{authority, control_plane, identity};

    /// What came: which sending, the size that was told, and the content.
    type Came = mpsc::UnboundedSender<(SendingId, String, Vec<u8>)>;

    async fn take(
        State(came): State<Came>,
        Path(id): Path<SendingId>,
        headers: HeaderMap,
        body: axum::body::Bytes,
    ) -> &'static str {
        let mut raw = Vec::new();
        let keep = |piece: &[u8]| {
            raw.extend_from_slice(piece);
            Ok::<_, FrameError>(())
        };
        Decoder::new().unwrap().read(&body, keep).unwrap();
        came.send((id, headers[RAW_SIZE_HEADER].to_str().unwrap().to_owned(), raw)).unwrap();
        "null"
    }

    /// Sends this content; what came of it.
    async fn sent(
        content: Content,
    ) -> (Result<(), crate::link::LinkError>, Option<(SendingId, String, Vec<u8>)>) {
        let (issuer, (sender, mut came)) = (authority(), mpsc::unbounded_channel());
        let router = Router::new().route(SENDING_PATH, post(take)).with_state(sender);
        let url = control_plane(&issuer, router).await;
        let link = ControlPlane::new(url, &identity(&issuer)).unwrap();
        let bytes = content.bytes();
        let done = link.bring_content(SendingId::from_random(7), bytes, read(content)).await;
        (done, came.try_recv().ok())
    }

    #[tokio::test]
    async fn content_goes_out_to_its_end_or_breaks_off() {
        let disk = tempfile::NamedTempFile::new().unwrap();
        let bytes = 3 * PIECE_BYTES as u64 + 5;
        disk.as_file().set_len(bytes).unwrap();
        disk.as_file().write_all_at(&[7; 4096], PIECE_BYTES as u64).unwrap();
        let open = || Content::open(disk.path().to_owned(), 1 << 20).unwrap();
        let (done, came) = sent(open()).await;
        done.unwrap();
        let (id, told, raw) = came.unwrap();
        assert_eq!((id, told), (SendingId::from_random(7), bytes.to_string()));
        assert!(raw == std::fs::read(disk.path()).unwrap()[PIECE_BYTES..]);

        // It became shorter under the reader, which no snapshot does: the end of it cannot be read.
        let content = open();
        disk.as_file().write_all_at(&[7; 4096], 3 * PIECE_BYTES as u64 - 4096).unwrap();
        disk.as_file().set_len(2 * PIECE_BYTES as u64 + 4096).unwrap();
        disk.as_file().write_all_at(&[7; 4096], 2 * PIECE_BYTES as u64).unwrap();
        let (done, came) = sent(content).await;
        assert!(done.is_err());
        assert!(came.is_none(), "what broke off is no content");
    }
}
