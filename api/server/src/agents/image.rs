//! Images by digest, whole or in ranges.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use tepui_types::{Digest, NodeId};
use tower::ServiceExt;
use tower_http::services::ServeFile;

use crate::app::App;
use crate::failure::Failure;
use crate::rest::request_id;

/// A file under its digest never changes, so that an agent can go on where it stopped. A node is given
/// the images of its own placements, and of the others not even that they are there.
pub(super) async fn serve(
    State(app): State<Arc<App>>,
    Extension(node): Extension<NodeId>,
    Path(digest): Path<Digest>,
    request: Request,
) -> Response {
    let id = request_id(&request);
    match app.cloud.needs_image(node, &digest).await {
        Ok(true) => {}
        Ok(false) => return Failure::NoRoute(request.uri().path().to_owned()).response(&id),
        Err(error) => return Failure::from(error).response(&id),
    }
    match ServeFile::new(app.importer.path(&digest)).oneshot(request).await {
        Ok(response) => response.into_response(),
        Err(never) => match never {},
    }
}
