//! Desired state out, observed state in.

use std::sync::Arc;

use axum::Extension;
use axum::Json;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tepui_types::agent::{PollRequest, Report};
use tepui_types::{NodeId, PlacementId};

use crate::app::App;
use crate::body;
use crate::failure::Failure;
use crate::request_id::RequestId;
use crate::rest::request_id;

/// The end of a console, as agents send it.
const CONSOLE_BYTES: usize = 64 * 1024;
/// A report holds about 300 bytes for each guest: enough for 25,000.
const REPORT_BYTES: usize = 8 << 20;

pub(super) async fn poll(
    State(app): State<Arc<App>>,
    Extension(node): Extension<NodeId>,
    request: Request,
) -> Response {
    let id = request_id(&request);
    let work = async {
        let request: PollRequest = decoded(request).await?;
        tokio::select! {
            reply = app.cloud.poll(node, request) => Ok(reply?),
            () = app.stop.cancelled() => Err(Failure::ShuttingDown),
        }
    };
    answered(work.await, &id)
}

pub(super) async fn report(
    State(app): State<Arc<App>>,
    Extension(node): Extension<NodeId>,
    request: Request,
) -> Response {
    let id = request_id(&request);
    let work = async {
        let report: Report = parsed(&body::read_up_to(request.into_body(), REPORT_BYTES).await?)?;
        Ok(app.cloud.report(node, report).await?)
    };
    answered(work.await, &id)
}

pub(super) async fn console(
    State(app): State<Arc<App>>,
    Extension(node): Extension<NodeId>,
    Path(placement): Path<PlacementId>,
    request: Request,
) -> Response {
    let id = request_id(&request);
    let work = async {
        let bytes = body::read_up_to(request.into_body(), CONSOLE_BYTES).await?;
        Ok(app.cloud.put_console(node, placement, &bytes).await?)
    };
    answered(work.await, &id)
}

/// A request's JSON.
pub(super) async fn decoded<T: DeserializeOwned>(request: Request) -> Result<T, Failure> {
    parsed(&body::read(request.into_body()).await?)
}

/// A body's JSON.
pub(super) fn parsed<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(bytes).map_err(|error| Failure::Malformed(format!("the request's body: {error}")))
}

/// The answer to a request with this id.
pub(super) fn answered<T: Serialize>(outcome: Result<T, Failure>, id: &RequestId) -> Response {
    match outcome {
        Ok(reply) => Json(reply).into_response(),
        Err(failure) => failure.response(id),
    }
}
