//! From an endpoint of the registry to a route: credential, path, request, reply are read and
//! written here, so that a handler only does its work.

use std::future::Future;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, RawPathParams, Request, State};
use axum::http::{HeaderMap, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, on};
use serde::de::DeserializeOwned;
use tepui_core::{Admission, Caller, Cloud};
use tepui_types::endpoint::{Carrier, DRY_RUN_HEADER, Endpoint, Method};

use crate::app::App;
use crate::failure::Failure;
use crate::listen::{Kept, Place};
use crate::metrics::Action;
use crate::request_id::RequestId;

/// Who asks, and for what.
pub(crate) struct Call {
    pub(crate) app: Arc<App>,
    pub(crate) caller: Caller,
    path: Vec<String>,
    admission: Option<Admission>,
    place: Option<Arc<Place>>,
    kept: Option<Kept>,
}

impl Call {
    pub(crate) fn cloud(&self) -> &Cloud {
        &self.app.cloud
    }

    /// Keeps the connection's place for the caller, whose request is there: until the call ends.
    pub(crate) fn keep_place(&mut self) {
        self.kept = self.place.as_ref().map(Place::keep);
    }

    /// The kept place, for what outlives the call: a reply that goes out for long.
    pub(crate) fn leave_kept(&mut self) -> Option<Kept> {
        self.kept.take()
    }

    /// The value of the path's first parameter.
    pub(crate) fn target(&self) -> &str {
        self.path.first().map_or("", String::as_str)
    }
}

/// Routes, and the endpoints they are for.
#[derive(Default)]
pub(crate) struct Routes {
    router: Router<Arc<App>>,
    names: Vec<&'static str>,
}

impl Routes {
    /// A handler that takes a request from query or JSON.
    pub(crate) fn add<E, H, F>(self, handler: H) -> Self
    where
        E: Endpoint + 'static,
        E::Request: 'static,
        H: Fn(Call, E::Request) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Result<E::Reply, Failure>> + Send + 'static,
    {
        self.route::<E, _, _, _>(move |mut call, query, body| {
            let handler = handler.clone();
            async move {
                let request = match E::CARRIER {
                    Carrier::Query | Carrier::RawBody => from_query(&query),
                    Carrier::Json => call.app.room.whole(body).await.and_then(|read| json(&read.bytes)),
                };
                call.keep_place();
                call.admission = Some(call.app.cloud.admit(&call.caller).await?);
                let reply = detached::<E, _>(call, |call| async move { handler(call, request?).await });
                reply.await.map(axum::Json)
            }
        })
    }

    /// A handler that reads and whose reply is no JSON: bytes that go out as they come.
    pub(crate) fn add_stream<E, H, F>(self, handler: H) -> Self
    where
        E: Endpoint + 'static,
        E::Request: 'static,
        H: Fn(Call, E::Request) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Result<Response, Failure>> + Send + 'static,
    {
        self.route::<E, _, _, _>(move |mut call, query, _| {
            let handler = handler.clone();
            async move {
                let request = from_query(&query)?;
                call.keep_place();
                call.admission = Some(call.app.cloud.admit(&call.caller).await?);
                handler(call, request).await
            }
        })
    }

    /// A handler that takes the body's bytes itself, as they come. It is not one of those that take
    /// turns: it lasts as long as its client likes, and has bounds of its own; once the call is within them
    /// it keeps its place.
    pub(crate) fn add_raw<E, H, F>(self, handler: H) -> Self
    where
        E: Endpoint + 'static,
        E::Request: 'static,
        H: Fn(Call, E::Request, Body) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Result<E::Reply, Failure>> + Send + 'static,
    {
        self.route::<E, _, _, _>(move |call, query, body| {
            let handler = handler.clone();
            async move {
                let request = from_query(&query);
                let reply = detached::<E, _>(call, |call| async move { handler(call, request?, body).await });
                reply.await.map(axum::Json)
            }
        })
    }

    fn route<E, H, F, R>(mut self, handler: H) -> Self
    where
        E: Endpoint + 'static,
        H: Fn(Call, String, Body) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Result<R, Failure>> + Send + 'static,
        R: IntoResponse,
    {
        let serve = move |State(app): State<Arc<App>>, path: RawPathParams, request: Request| {
            let handler = handler.clone();
            async move {
                let id = request_id(&request);
                let mut response = match answer(app, path, request, &id, handler).await {
                    Ok(reply) => reply.into_response(),
                    Err(failure) => failure.response(&id),
                };
                response.extensions_mut().insert(Action(E::NAME.into()));
                response
            }
        };
        self.router = self.router.route(E::PATH, on(filter(E::METHOD), serve));
        self.names.push(E::NAME);
        self
    }

    /// The endpoints so far.
    #[cfg(test)]
    pub(crate) fn names(&self) -> &[&'static str] {
        &self.names
    }

    pub(crate) fn into_router(self, app: Arc<App>) -> Router {
        tracing::debug!(endpoints = self.names.len(), "REST routes are set");
        self.router.with_state(app)
    }
}

async fn answer<H, F, R>(
    app: Arc<App>,
    path: RawPathParams,
    request: Request,
    id: &RequestId,
    handler: H,
) -> Result<R, Failure>
where
    H: Fn(Call, String, Body) -> F,
    F: Future<Output = Result<R, Failure>>,
{
    let (parts, body) = request.into_parts();
    let caller = authenticate(&app, &parts.headers, id).await?;
    let path = path.iter().map(|(_, value)| value.to_owned()).collect();
    let query = parts.uri.query().unwrap_or_default().to_owned();
    let place = Place::of(&parts.extensions).cloned();
    handler(Call { app, caller, path, admission: None, place, kept: None }, query, body).await
}

/// The id that the middleware gave the request.
pub(crate) fn request_id(request: &Request) -> RequestId {
    request.extensions().get().cloned().unwrap_or_default()
}

async fn authenticate(app: &App, headers: &HeaderMap, id: &RequestId) -> Result<Caller, Failure> {
    let missing = Failure::Unauthenticated("the header `Authorization: Bearer` with a token is missing");
    let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = value.and_then(|value| value.strip_prefix("Bearer ")).ok_or(missing)?;
    let key = app.cloud.authenticate_bearer(token).await?;
    let mut caller = key.caller(id.to_string());
    caller.dry_run = headers.get(DRY_RUN_HEADER).is_some_and(|value| value == "true");
    Ok(caller)
}

/// Runs a change in a task of its own, in which it is audited, also when its request cannot be read: a
/// client that hangs up must not cut it in half.
async fn detached<E, F>(call: Call, work: impl FnOnce(Call) -> F) -> Result<E::Reply, Failure>
where
    E: Endpoint,
    E::Reply: 'static,
    F: Future<Output = Result<E::Reply, Failure>> + Send + 'static,
{
    if E::METHOD == Method::Get {
        return work(call).await;
    }
    let (app, caller) = (Arc::clone(&call.app), call.caller.clone());
    let (cloud, change) = (Arc::clone(&app.cloud), work(call));
    let audited = async move { cloud.audited(&caller, E::ACTION, change).await };
    match app.changes.spawn(audited).await {
        Ok(outcome) => outcome,
        Err(error) => Err(Failure::internal(E::NAME, &error)),
    }
}

fn from_query<T: DeserializeOwned>(query: &str) -> Result<T, Failure> {
    let uri = Uri::builder().path_and_query(format!("/?{query}")).build();
    let uri = uri.map_err(|error| Failure::Malformed(format!("the query is no query: {error}")))?;
    Query::try_from_uri(&uri)
        .map(|Query(value)| value)
        .map_err(|error| Failure::Malformed(format!("the query: {}", cause(&error))))
}

/// The deepest reason: those above it only say that there is one.
fn cause(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), cause)
}

fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(bytes).map_err(|error| Failure::Malformed(format!("the request's body: {error}")))
}

fn filter(method: Method) -> MethodFilter {
    match method {
        Method::Get => MethodFilter::GET,
        Method::Post => MethodFilter::POST,
        Method::Put => MethodFilter::PUT,
        Method::Patch => MethodFilter::PATCH,
        Method::Delete => MethodFilter::DELETE,
    }
}
