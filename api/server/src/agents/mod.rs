//! What agents call, over TLS with a certificate of our authority.

mod enrol;
mod image;
mod peer;
mod sending;
mod state;

use std::sync::Arc;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post, put};
use tepui_types::agent::{
    CONSOLE_PATH, CONTENT_PATH, ENROL_PATH, IMAGE_PATH, POLL_PATH, RENEW_PATH, REPORT_PATH, SENDING_PATH,
};

use crate::app::App;
pub(crate) use peer::Peer;

/// Every path but [`ENROL_PATH`] is behind the check of the client's certificate.
pub(crate) fn router(app: Arc<App>) -> Router {
    let known = Router::new()
        .route(RENEW_PATH, post(enrol::renew))
        .route(POLL_PATH, post(state::poll))
        .route(REPORT_PATH, post(state::report))
        .route(CONSOLE_PATH, put(state::console))
        .route(IMAGE_PATH, get(image::serve))
        .route(CONTENT_PATH, get(sending::read))
        .route(SENDING_PATH, post(sending::bring).delete(sending::refuse))
        .route_layer(from_fn_with_state(Arc::clone(&app), peer::require));
    Router::new()
        .route(ENROL_PATH, post(enrol::enrol))
        .merge(known)
        .fallback(crate::public::no_route)
        .method_not_allowed_fallback(crate::public::wrong_method)
        .with_state(Arc::clone(&app))
        .layer(from_fn(peer::name_action))
        .layer(from_fn_with_state(
            (Arc::clone(&app.metrics), crate::metrics::AGENTS),
            crate::metrics::measure,
        ))
        .layer(from_fn_with_state(Arc::clone(&app.entropy), crate::request_id::assign))
}
