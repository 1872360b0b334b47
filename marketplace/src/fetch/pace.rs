//! How slow a source may be: a download holds a place that others wait for.

use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use tokio::time::{Instant, timeout_at};

/// A window of time,
const WINDOW: Duration = Duration::from_secs(60);
/// and what comes in each at least: a tenth of a slow home connection.
const WINDOW_BYTES: u64 = 4 << 20;
/// Windows of one download. The largest image comes in this time at 3 MiB a second.
const WINDOWS: u32 = 360;

/// The source is too slow.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooSlow {
    /// Since the download began.
    pub(super) seconds: u64,
}

/// Takes a body in at a pace.
pub(super) struct Pace {
    end: Instant,
    received: u64,
    windows: u32,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { end: Instant::now() + WINDOW, received: 0, windows: 0 }
    }

    /// Begins a window at a connection's first byte: the pause before it is nobody's slowness. All
    /// connections of a download share its number of windows.
    pub(super) fn begin(&mut self) {
        (self.end, self.received) = (Instant::now() + WINDOW, 0);
    }

    /// The next piece of the body; `None` at its end.
    pub(super) async fn next<E>(
        &mut self,
        body: &mut (impl Stream<Item = Result<Bytes, E>> + Unpin),
    ) -> Result<Option<Result<Bytes, E>>, TooSlow> {
        loop {
            match timeout_at(self.end, body.next()).await {
                Ok(piece) => {
                    let length = piece.as_ref().and_then(|piece| piece.as_ref().ok()).map_or(0, Bytes::len);
                    self.received += length as u64;
                    return Ok(piece);
                }
                Err(_) => self.turn()?,
            }
        }
    }

    /// Begins the next window.
    fn turn(&mut self) -> Result<(), TooSlow> {
        self.windows += 1;
        if self.received < WINDOW_BYTES || self.windows == WINDOWS {
            return Err(TooSlow { seconds: u64::from(self.windows) * WINDOW.as_secs() });
        }
        (self.end, self.received) = (self.end + WINDOW, 0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    /// Gives a piece each second.
    fn source(piece: usize, seconds: u32) -> impl Stream<Item = Result<Bytes, Infallible>> + Unpin {
        Box::pin(futures::stream::iter(0..seconds).then(move |_| async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok(Bytes::from(vec![0; piece]))
        }))
    }

    async fn end_of(mut body: impl Stream<Item = Result<Bytes, Infallible>> + Unpin) -> Result<u64, TooSlow> {
        let (mut pace, mut received) = (Pace::new(), 0);
        while let Some(Ok(piece)) = pace.next(&mut body).await? {
            received += piece.len() as u64;
        }
        Ok(received)
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_that_trickles_is_given_up_after_a_minute() {
        assert_eq!(end_of(source(1000, 600)).await, Err(TooSlow { seconds: 60 }));
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_at_the_pace_is_read_to_its_end() {
        assert_eq!(end_of(source(1 << 17, 600)).await, Ok(600 << 17));
        assert_eq!(end_of(source(1, 30)).await, Ok(30));
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_without_end_is_given_up_after_six_hours() {
        assert_eq!(end_of(source(1 << 17, 30_000)).await, Err(TooSlow { seconds: 21_600 }));
    }
}
