//! Reads request bodies within bounds of size and time.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tepui_core::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::failure::Failure;

/// Largest body of any request but an image's: user data of 16 KiB in base64, sixty rules, the
/// report of a node with a thousand guests.
pub(crate) const MAX_BYTES: usize = 1 << 20;
/// This much of a request's body comes without asking for room.
pub(crate) const FREE_BYTES: usize = 64 << 10;
/// What is beyond, of all such bodies together.
const ROOM_BYTES: usize = 256 << 20;
/// A whole body of that size has this long to come.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The whole body.
pub(crate) async fn read(body: Body) -> Result<Bytes, Failure> {
    read_up_to(body, MAX_BYTES).await
}

/// The whole body, if it is not larger than `limit` bytes.
pub(crate) async fn read_up_to(body: Body, limit: usize) -> Result<Bytes, Failure> {
    let whole = tokio::time::timeout(TIMEOUT, Limited::new(body, limit).collect());
    match whole.await.map_err(|_| Failure::TooSlow)? {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Failure::TooLarge { limit: limit as u64 }),
        Err(error) => Err(broken_off(error)),
    }
}

/// The memory for the bodies of requests. The senders of many are known only once the whole body is
/// here, as its digest is part of what they signed. Without this bound, connections alone would decide
/// how much it is.
pub(crate) struct Room(Arc<Semaphore>);

/// The beginning of a body, and the room that it takes.
pub(crate) struct Beginning {
    pub(crate) bytes: Bytes,
    _room: Option<OwnedSemaphorePermit>,
}

impl Default for Room {
    fn default() -> Self {
        Self::of(ROOM_BYTES)
    }
}

impl Room {
    fn of(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes)))
    }

    /// The whole body, of no more than [`MAX_BYTES`].
    pub(crate) async fn whole(&self, body: Body) -> Result<Beginning, Failure> {
        let read = self.beginning(body, MAX_BYTES + 1).await?;
        if read.bytes.len() > MAX_BYTES {
            Err(Failure::TooLarge { limit: MAX_BYTES as u64 })
        } else {
            Ok(read)
        }
    }

    /// The beginning of the body, up to `limit` bytes; what follows is not read.
    pub(crate) async fn beginning(&self, body: Body, limit: usize) -> Result<Beginning, Failure> {
        let read = tokio::time::timeout(TIMEOUT, self.read(body, limit));
        read.await.map_err(|_| Failure::TooSlow)?
    }

    async fn read(&self, body: Body, limit: usize) -> Result<Beginning, Failure> {
        let (mut bytes, mut room) = (BytesMut::new(), None);
        let mut chunks = body.into_data_stream();
        while bytes.len() < limit
            && let Some(chunk) = chunks.next().await
        {
            let chunk = chunk.map_err(broken_off)?;
            let beyond = (bytes.len() + chunk.len()).saturating_sub(FREE_BYTES.max(bytes.len()));
            self.take(beyond, &mut room)?;
            bytes.extend_from_slice(&chunk);
        }
        bytes.truncate(limit);
        Ok(Beginning { bytes: bytes.freeze(), _room: room })
    }

    fn take(&self, bytes: usize, room: &mut Option<OwnedSemaphorePermit>) -> Result<(), Failure> {
        let more = Arc::clone(&self.0).try_acquire_many_owned(u32::try_from(bytes).unwrap_or(u32::MAX));
        let more = more.map_err(|_| Error::Busy)?;
        match room {
            Some(room) => room.merge(more),
            None => *room = Some(more),
        }
        Ok(())
    }
}

fn broken_off(error: impl std::fmt::Display) -> Failure {
    Failure::Malformed(format!("the request's body broke off: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_is_given_up() {
        let stuck = || Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
        let begun = tokio::time::Instant::now();
        assert!(matches!(read(stuck()).await, Err(Failure::TooSlow)));
        assert!(matches!(Room::default().beginning(stuck(), 10).await, Err(Failure::TooSlow)));
        assert!(begun.elapsed() <= Duration::from_secs(60), "half a minute each");
    }

    #[tokio::test]
    async fn a_body_is_read_whole_or_refused_and_its_beginning_is_cut() {
        assert_eq!(read_up_to(Body::from("12345"), 5).await.unwrap(), "12345");
        assert!(matches!(read_up_to(Body::from("123456"), 5).await, Err(Failure::TooLarge { limit: 5 })));
        assert_eq!(Room::default().beginning(Body::from("123456"), 5).await.unwrap().bytes, "12345");
    }

    #[tokio::test]
    async fn bodies_of_unknown_senders_share_a_room_that_ends() {
        let room = Room::of(10);
        let large = || Body::from(vec![0; FREE_BYTES + 8]);
        let first = room.beginning(large(), MAX_BYTES).await.unwrap();
        assert!(matches!(room.beginning(large(), MAX_BYTES).await, Err(Failure::Domain(Error::Busy))));
        assert!(room.beginning(Body::from(vec![0; FREE_BYTES]), MAX_BYTES).await.is_ok());
        drop(first);
        assert!(room.beginning(large(), MAX_BYTES).await.is_ok());
    }
}
