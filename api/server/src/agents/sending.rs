//! Content of snapshots, from their hosts to whoever waits for it. Nothing is kept: a host that is faster than its reader
//! waits.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::{Path, Request, State};
use axum::http::HeaderMap;
use axum::response::Response;
use futures::StreamExt;
use tepui_types::frames::RAW_SIZE_HEADER;
use tepui_types::rest::Empty;
use tepui_types::{NodeId, SendingId, SnapshotId};

use super::state::answered;
use crate::app::App;
use crate::failure::Failure;
use crate::rest::{request_id, streamed};

/// A host that sends nothing for so long has broken off.
const SILENCE: Duration = Duration::from_secs(60);

/// A node brings only what it was asked for, once.
pub(super) async fn bring(
    State(app): State<Arc<App>>,
    Extension(node): Extension<NodeId>,
    Path(sending): Path<SendingId>,
    request: Request,
) -> Response {
    let id = request_id(&request);
    let work = async {
        let raw_bytes = raw_bytes(request.headers())?;
        let mut outlet = app.cloud.bring_content(node, sending, raw_bytes)?;
        let mut portions = request.into_body().into_data_stream();
        // Leaving here breaks the reader's end off.
        while let Some(portion) =
            tokio::time::timeout(SILENCE, portions.next()).await.map_err(|_| Failure::TooSlow)?
        {
            let portion = portion
                .map_err(|error| Failure::Malformed(format!("the request's body broke off: {error}")))?;
            outlet.send(portion).await.map_err(untaken)?;
        }
        outlet.end().await.map_err(untaken)?;
        Ok(Empty {})
    };
    answered(work.await, &id)
}

/// A node is given what it is to copy, and of other snapshots not even that they are there.
pub(super) async fn read(
    State(app): State<Arc<App>>,
    Extension(node): Extension<NodeId>,
    Path(snapshot): Path<SnapshotId>,
    request: Request,
) -> Response {
    match app.cloud.content_for_copy(node, snapshot).await {
        Ok(content) => streamed(content, None),
        Err(error) => Failure::from(error).response(&request_id(&request)),
    }
}

pub(super) async fn refuse(
    State(app): State<Arc<App>>,
    Extension(node): Extension<NodeId>,
    Path(sending): Path<SendingId>,
    request: Request,
) -> Response {
    let refused = app.cloud.refuse_content(node, sending).map(|()| Empty {});
    answered(refused.map_err(Failure::from), &request_id(&request))
}

fn raw_bytes(headers: &HeaderMap) -> Result<u64, Failure> {
    let value = headers.get(RAW_SIZE_HEADER).and_then(|value| value.to_str().ok()?.parse().ok());
    let missing = || format!("the header {RAW_SIZE_HEADER} is missing: it tells the size of the whole");
    value.ok_or_else(|| Failure::Malformed(missing()))
}

fn untaken(why: tepui_core::Untaken) -> Failure {
    Failure::Conflict(why.to_string())
}
