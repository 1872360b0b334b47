//! Reads request bodies within bounds of size and time.

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use crate::failure::Failure;

/// Largest body of any request but an image's: user data of 16 KiB in base64, sixty rules, the
/// report of a node with a thousand guests.
pub(crate) const MAX_BYTES: usize = 1 << 20;
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

/// The beginning of the body, up to `limit` bytes; what follows is not read.
pub(crate) async fn read_beginning(body: Body, limit: usize) -> Result<Bytes, Failure> {
    let read = async {
        let mut bytes = BytesMut::new();
        let mut chunks = body.into_data_stream();
        while bytes.len() < limit
            && let Some(chunk) = chunks.next().await
        {
            bytes.extend_from_slice(&chunk.map_err(broken_off)?);
        }
        bytes.truncate(limit);
        Ok(bytes.freeze())
    };
    tokio::time::timeout(TIMEOUT, read).await.map_err(|_| Failure::TooSlow)?
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
        assert!(matches!(read(stuck()).await, Err(Failure::TooSlow)));
        assert!(matches!(read_beginning(stuck(), 10).await, Err(Failure::TooSlow)));
    }

    #[tokio::test]
    async fn a_body_is_read_whole_or_refused_and_its_beginning_is_cut() {
        assert_eq!(read_up_to(Body::from("12345"), 5).await.unwrap(), "12345");
        assert!(matches!(read_up_to(Body::from("123456"), 5).await, Err(Failure::TooLarge { limit: 5 })));
        assert_eq!(read_beginning(Body::from("123456"), 5).await.unwrap(), "12345");
    }
}
