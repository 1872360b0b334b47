//! The client and its requests.

use std::sync::Once;
use std::time::Duration;

use reqwest::Certificate;
use reqwest::header::HeaderValue;
use reqwest::redirect::Policy;
use tepui_types::ErrorBody;
use tepui_types::endpoint::{Carrier, DRY_RUN_HEADER, Endpoint, Method, path_parameters};
use url::Url;

use crate::ClientError;

/// A connection takes at most this long to open.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest silence from the server. A fetch of a console waits for a node's next poll, which is
/// well below it.
const READ_TIMEOUT: Duration = Duration::from_secs(90);

/// A caller of one cloud with one credential. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    pub(crate) http: reqwest::Client,
    base: Url,
    token: String,
}

/// A request that was not sent yet, for those who want to see it first.
#[derive(Debug)]
pub struct PreparedRequest {
    pub(crate) request: reqwest::Request,
    pub(crate) idempotent: bool,
}

impl PreparedRequest {
    /// The same, only asked: the change is not made, and a success has no content.
    #[must_use]
    pub fn rehearsed(mut self) -> Self {
        self.request.headers_mut().insert(DRY_RUN_HEADER, HeaderValue::from_static("true"));
        self.idempotent = true;
        self
    }

    /// Whether it is only asked.
    pub fn is_rehearsed(&self) -> bool {
        self.request.headers().contains_key(DRY_RUN_HEADER)
    }

    /// HTTP's method.
    pub fn method(&self) -> &str {
        self.request.method().as_str()
    }

    /// The whole URL.
    pub fn url(&self) -> &str {
        self.request.url().as_str()
    }

    /// The JSON body, if there is one.
    pub fn json_body(&self) -> Option<&str> {
        self.request.body()?.as_bytes().and_then(|bytes| std::str::from_utf8(bytes).ok())
    }
}

impl Client {
    /// A client of the cloud at `url` (scheme, host, port), with the token that `Authorization:
    /// Bearer` carries. With `ca_pem` only certificates of these authorities are trusted, without it
    /// the system's.
    ///
    /// # Errors
    /// The URL is not one, or `ca_pem` holds no certificate.
    pub fn new(url: &str, token: &str, ca_pem: Option<&[u8]>) -> Result<Self, ClientError> {
        install_crypto_provider();
        let base = parse_base(url)?;
        // The token is for this cloud: no redirect takes it elsewhere, and without TLS a proxy would read it.
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .redirect(Policy::none());
        if base.scheme() == "http" {
            builder = builder.no_proxy();
        }
        if let Some(pem) = ca_pem {
            let certificates = Certificate::from_pem_bundle(pem).map_err(ClientError::Unbuildable)?;
            builder = builder.tls_certs_only(certificates);
        }
        let http = builder.build().map_err(ClientError::Unbuildable)?;
        Ok(Self { http, base, token: token.to_owned() })
    }

    /// Builds the request of an endpoint without sending it.
    ///
    /// # Errors
    /// The number of path parameters is wrong or the request does not fit into a query.
    pub fn prepare<E: Endpoint>(
        &self,
        path: &[&str],
        request: &E::Request,
    ) -> Result<PreparedRequest, ClientError> {
        let builder = self.request(E::METHOD, self.url_of::<E>(path)?);
        let builder = match E::CARRIER {
            Carrier::Query | Carrier::RawBody => builder.query(request),
            Carrier::Json => builder.json(request),
        };
        let request = builder.build().map_err(ClientError::Unbuildable)?;
        Ok(PreparedRequest { request, idempotent: E::METHOD.is_idempotent() })
    }

    /// Builds a request to any path, for raw access.
    ///
    /// # Errors
    /// `path` does not form a URL with the cloud's address.
    pub fn prepare_raw(
        &self,
        method: Method,
        path: &str,
        body: Option<&serde_json::Value>,
    ) -> Result<PreparedRequest, ClientError> {
        let url = self.base.join(path).map_err(|_| ClientError::BadUrl { url: path.to_owned() })?;
        if url.origin() != self.base.origin() {
            return Err(ClientError::BadUrl { url: path.to_owned() });
        }
        let builder = self.request(method, url);
        let builder = match body {
            Some(json) => builder.json(json),
            None => builder,
        };
        let request = builder.build().map_err(ClientError::Unbuildable)?;
        Ok(PreparedRequest { request, idempotent: method.is_idempotent() })
    }

    fn request(&self, method: Method, url: Url) -> reqwest::RequestBuilder {
        self.http.request(http_method(method), url).bearer_auth(&self.token)
    }

    fn url_of<E: Endpoint>(&self, path: &[&str]) -> Result<Url, ClientError> {
        let wanted = path_parameters(E::PATH).count();
        if wanted != path.len() {
            return Err(ClientError::PathParameters { path: E::PATH, wanted, given: path.len() });
        }
        let mut values = path.iter();
        let segments = E::PATH.split('/').skip(1).map(|segment| match segment.starts_with('{') {
            true => values.next().copied().unwrap_or_default(),
            false => segment,
        });
        let mut url = self.base.clone();
        url.path_segments_mut()
            .map_err(|()| ClientError::BadUrl { url: self.base.to_string() })?
            .clear()
            .extend(segments);
        Ok(url)
    }
}

/// Reads a reply, or the reason why there is none.
pub(crate) async fn read_reply<T: serde::de::DeserializeOwned>(
    url: &str,
    response: reqwest::Response,
) -> Result<T, ClientError> {
    let status = response.status();
    let bytes = response
        .bytes()
        .await
        .map_err(|source| ClientError::Unreachable { url: url.to_owned(), source: source.without_url() })?;
    let bad = |source| ClientError::BadReply { url: url.to_owned(), status: status.as_u16(), source };
    if status.is_success() {
        // A status without content (204) reads as JSON's null.
        let json: &[u8] = if bytes.is_empty() { b"null" } else { &bytes };
        return serde_json::from_slice(json).map_err(bad);
    }
    let body: ErrorBody = serde_json::from_slice(&bytes).map_err(bad)?;
    Err(ClientError::Refused { status: status.as_u16(), body: Box::new(body) })
}

/// Why a reply is none that was asked for.
pub(crate) async fn refusal(url: &str, response: reqwest::Response) -> ClientError {
    let status = response.status().as_u16();
    match read_reply::<serde::de::IgnoredAny>(url, response).await {
        Err(error) => error,
        // Neither a success nor a refusal, as a redirect is.
        Ok(_) => ClientError::WrongContent { url: format!("{url} (status {status})"), why: "it is none" },
    }
}

fn parse_base(url: &str) -> Result<Url, ClientError> {
    Url::parse(url)
        .ok()
        .filter(|parsed| matches!(parsed.scheme(), "http" | "https") && parsed.has_host())
        .ok_or_else(|| ClientError::BadUrl { url: url.to_owned() })
}

fn http_method(method: Method) -> reqwest::Method {
    match method {
        Method::Get => reqwest::Method::GET,
        Method::Post => reqwest::Method::POST,
        Method::Put => reqwest::Method::PUT,
        Method::Patch => reqwest::Method::PATCH,
        Method::Delete => reqwest::Method::DELETE,
    }
}

/// The HTTP library takes its cryptography from the process, where a program may have put its own.
fn install_crypto_provider() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
}
