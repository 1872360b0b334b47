//! Images by digest, whole or in ranges.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use tepui_types::Digest;
use tower::ServiceExt;
use tower_http::services::ServeFile;

use crate::app::App;

/// A file under its digest never changes, so that an agent can go on where it stopped.
pub(super) async fn serve(
    State(app): State<Arc<App>>,
    Path(digest): Path<Digest>,
    request: Request,
) -> Response {
    match ServeFile::new(app.importer.path(&digest)).oneshot(request).await {
        Ok(response) => response.into_response(),
        Err(never) => match never {},
    }
}
