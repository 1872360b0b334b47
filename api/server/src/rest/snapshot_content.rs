//! What snapshots hold, as it comes from their hosts.

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use futures::stream;
use tepui_core::Content;
use tepui_types::endpoint::{DownloadSnapshot, Endpoint as _};
use tepui_types::frames::RAW_SIZE_HEADER;
use tepui_types::rest::DownloadSnapshotRequest;

use super::routes::Call;
use super::snapshot;
use crate::failure::Failure;
use crate::listen::Kept;

/// The connection keeps its place until the last byte is handed over.
pub(super) async fn download(mut call: Call, request: DownloadSnapshotRequest) -> Result<Response, Failure> {
    let id = snapshot::find(&call, call.target()).await?;
    let content = call.cloud().snapshot_content(&call.caller, id, request.offset).await?;
    Ok(streamed(content, call.leave_kept()))
}

/// The reply that passes content on as it comes, and keeps something until then.
pub(crate) fn streamed(content: Content, kept: Option<Kept>) -> Response {
    let raw_bytes = content.raw_bytes;
    let portions = stream::unfold((content, kept), |(mut content, kept)| async move {
        let portion = content.next().await?;
        Some((portion, (content, kept)))
    });
    let mut response = Response::new(Body::from_stream(portions));
    let media = HeaderValue::from_static(DownloadSnapshot::MEDIA.name());
    response.headers_mut().insert(header::CONTENT_TYPE, media);
    response.headers_mut().insert(RAW_SIZE_HEADER, raw_bytes.into());
    response
}
