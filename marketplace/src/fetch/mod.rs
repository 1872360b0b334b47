//! Brings an image from a URL into a file, without letting the URL reach where its owner may not:
//! each address, at each redirect, is checked after name resolution and used as checked.

mod address;
mod pace;
mod partial;

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use backon::{ExponentialBuilder, Retryable as _};
use headers::{ContentRange, HeaderMapExt as _, LastModified};
use reqwest::header::{ETAG, HeaderMap, HeaderName, HeaderValue, IF_RANGE, LAST_MODIFIED, LOCATION};
use reqwest::{Client, Response, StatusCode, redirect};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use url::Url;

pub use address::{AddressPolicy, is_public};
use pace::{Pace, TooSlow};
use partial::{Partial, Version};

/// As browsers, more or less; a longer chain is a loop.
const MAX_REDIRECTS: usize = 8;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// A server that sends nothing for so long has hung.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// A file that changed later may change once more within the second that its date has.
const SETTLED: Duration = Duration::from_secs(60);
/// Between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Why a download failed.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Not http or https.
    #[error("the URL's scheme is '{0}'; images are fetched over https or http")]
    Scheme(String),
    /// The URL cannot be parsed.
    #[error("'{0}' is not a URL")]
    NotAUrl(String),
    /// The address is inside the operator's network.
    #[error("{0} has no public address; loopback, link-local and private addresses are not fetched from")]
    PrivateAddress(String),
    /// A chain of redirects without end.
    #[error("more than {MAX_REDIRECTS} redirects")]
    TooManyRedirects,
    /// A redirect to nowhere.
    #[error("a redirect of {0} has no valid location")]
    BadRedirect(Url),
    /// The server refused.
    #[error("{url} answered {status}")]
    Status {
        /// The address, after redirects.
        url: Url,
        /// For example `404 Not Found`.
        status: StatusCode,
    },
    /// More bytes than allowed.
    #[error("the file is larger than {0} bytes")]
    TooLarge(u64),
    /// A source that sends so slowly would hold its place for days.
    #[error("{url} is too slow: {received} bytes came in {seconds} s")]
    TooSlow {
        /// The address, without credentials.
        url: Url,
        /// What came until then.
        received: u64,
        /// How long it took.
        seconds: u64,
    },
    /// The connection broke.
    #[error("{url} cannot be fetched")]
    Http {
        /// The address, without credentials.
        url: Url,
        /// Why.
        source: reqwest::Error,
    },
    /// Fewer or more bytes came than were announced.
    #[error("{url} sent {received} bytes and announced {total}")]
    WrongLength {
        /// The address, without credentials.
        url: Url,
        /// What came.
        received: u64,
        /// What was announced.
        total: u64,
    },
    /// The caller ended it.
    #[error("the download was stopped")]
    Stopped,
    /// The file could not be written.
    #[error("{path} cannot be written")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl FetchError {
    /// Whether it may go well in a moment.
    fn is_passing(&self) -> bool {
        match self {
            Self::Http { .. } | Self::WrongLength { .. } => true,
            Self::Status { status, .. } => {
                status.is_server_error()
                    || matches!(*status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS)
            }
            Self::Scheme(_)
            | Self::NotAUrl(_)
            | Self::PrivateAddress(_)
            | Self::TooManyRedirects
            | Self::BadRedirect(_)
            | Self::TooLarge(_)
            | Self::TooSlow { .. }
            | Self::Stopped
            | Self::Write { .. } => false,
        }
    }
}

/// How far a download is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes written.
    pub received: u64,
    /// Bytes announced by the server.
    pub total: Option<u64>,
}

/// What to fetch.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// Where it is; credentials in it are used and never shown.
    pub url: &'a str,
    /// Which addresses it may lead to.
    pub policy: AddressPolicy,
    /// How large the file may be.
    pub max_bytes: u64,
    /// What a broken connection gets.
    pub retries: Retries,
    /// Ends the download; what came by then is kept for a later one.
    pub stop: &'a CancellationToken,
}

/// How often a download that broke off is gone on with.
#[derive(Debug, Clone, Copy)]
pub struct Retries {
    /// So often in all.
    pub most: usize,
    /// The pause before the first; each later one is twice as long, up to half a minute.
    pub pause: Duration,
}

impl Default for Retries {
    /// Ten, over some three minutes: a server that restarts is back by then.
    fn default() -> Self {
        Self { most: 10, pause: Duration::from_millis(500) }
    }
}

/// Downloads a file to `target`. What an earlier call left there, in this process or in one that died,
/// is gone on with if the server can tell that the file is still the same (RFC 9110, "Range" and
/// "If-Range"); else it is begun again. When it is done nothing but `target` is left.
///
/// # Errors
/// See [`FetchError`]. A half-written `target` with its `.part` is left to the caller, who owns the
/// folder and may try again.
pub async fn download(
    source: &Source<'_>,
    target: &Path,
    on_progress: impl Fn(Progress),
) -> Result<u64, FetchError> {
    let url =
        Url::parse(source.url).map_err(|_| FetchError::NotAUrl(source.url.chars().take(200).collect()))?;
    let pauses = ExponentialBuilder::default()
        .with_min_delay(source.retries.pause)
        .with_max_delay(LONGEST_PAUSE)
        .with_max_times(source.retries.most);
    let pace = Mutex::new(Pace::new());
    let attempt = || attempt(&url, source, target, &pace, &on_progress);
    let notify = |error: &FetchError, pause| {
        tracing::info!(url = %without_credentials(&url), %error, ?pause, "a download broke off");
    };
    let received = attempt.retry(pauses).when(FetchError::is_passing).notify(notify).await?;
    let part = target.with_extension("part");
    tokio::fs::remove_file(&part).await.map_err(|source| FetchError::Write { path: part, source })?;
    Ok(received)
}

/// Brings what is missing.
async fn attempt(
    url: &Url,
    source: &Source<'_>,
    target: &Path,
    pace: &Mutex<Pace>,
    on_progress: &impl Fn(Progress),
) -> Result<u64, FetchError> {
    let mut partial = Partial::open(target).await?;
    if partial.is_whole() {
        return Ok(partial.received());
    }
    let response = answer(url, source.policy, &mut partial).await?;
    let url = without_credentials(response.url());
    let total = partial.version().total;
    if total.is_some_and(|total| total > source.max_bytes) {
        return Err(FetchError::TooLarge(source.max_bytes));
    }
    let mut body = response.bytes_stream();
    let mut pace = pace.lock().await;
    pace.begin();
    loop {
        let Some(next) = source.stop.run_until_cancelled(pace.next(&mut body)).await else {
            partial.keep().await?;
            return Err(FetchError::Stopped);
        };
        let slow = |TooSlow { seconds }| FetchError::TooSlow {
            url: url.clone(),
            received: partial.received(),
            seconds,
        };
        let chunk = match next.map_err(slow)? {
            None => break,
            Some(Ok(chunk)) => chunk,
            Some(Err(broken)) => {
                partial.keep().await?;
                return Err(http_error(&url, broken));
            }
        };
        if partial.received() + chunk.len() as u64 > source.max_bytes {
            return Err(FetchError::TooLarge(source.max_bytes));
        }
        partial.append(&chunk).await?;
        on_progress(Progress { received: partial.received(), total });
    }
    partial.keep().await?;
    match total {
        Some(total) if partial.received() != total => {
            Err(FetchError::WrongLength { url, received: partial.received(), total })
        }
        Some(_) | None => Ok(partial.received()),
    }
}

/// The server's answer, and `partial` where its bytes begin.
async fn answer(url: &Url, policy: AddressPolicy, partial: &mut Partial) -> Result<Response, FetchError> {
    let response = follow(url.clone(), policy, wanted(partial)).await?;
    match response.status() {
        StatusCode::PARTIAL_CONTENT if continues(&response, partial) => Ok(response),
        // The rest cannot be had, or is not the rest of this.
        StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => {
            partial.restart(Version::default()).await?;
            let response = accept(follow(url.clone(), policy, HeaderMap::new()).await?)?;
            partial.restart(version(&response)).await?;
            Ok(response)
        }
        _ => {
            let response = accept(response)?;
            partial.restart(version(&response)).await?;
            Ok(response)
        }
    }
}

/// The headers that ask for the rest of the same version; none where all must come.
fn wanted(partial: &Partial) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let validator = partial.version().validator.as_deref().filter(|_| partial.received() > 0);
    if let Some(validator) = validator.and_then(|text| HeaderValue::from_str(text).ok())
        && let Ok(range) = headers::Range::bytes(partial.received()..)
    {
        headers.typed_insert(range);
        headers.insert(IF_RANGE, validator);
    }
    headers
}

/// Whether the answer is the rest of what is there. Servers that know ranges and not `If-Range` send the
/// rest of whatever is there now, so that the answer itself must say that it is of the same version.
fn continues(response: &Response, partial: &Partial) -> bool {
    let Some(range) = response.headers().typed_get::<ContentRange>() else { return false };
    let begins = range.bytes_range().is_some_and(|(first, _)| first == partial.received());
    let known = partial.version().validator.as_deref();
    let is_same = known
        .is_some_and(|known| [ETAG, LAST_MODIFIED].iter().any(|name| text(response, name) == Some(known)));
    begins && range.bytes_len() == partial.version().total && is_same
}

/// The version that a whole answer is of. Neither a weak entity tag nor the date of a file that changed
/// just now tells two versions apart byte by byte (RFC 9110, "If-Range").
fn version(response: &Response) -> Version {
    let tag = text(response, &ETAG).filter(|tag| !tag.starts_with("W/"));
    let date = text(response, &LAST_MODIFIED).filter(|_| is_settled(response));
    Version { validator: tag.or(date).map(str::to_owned), total: response.content_length() }
}

fn text<'a>(response: &'a Response, name: &HeaderName) -> Option<&'a str> {
    response.headers().get(name).and_then(|value| value.to_str().ok())
}

/// Whether the file changed long enough ago that another change would have another date, which counts
/// seconds. A minute also for clocks that differ, as RFC 7232 asked for.
fn is_settled(response: &Response) -> bool {
    let now = response.headers().typed_get::<headers::Date>().map(SystemTime::from);
    let changed = response.headers().typed_get::<LastModified>().map(SystemTime::from);
    now.zip(changed)
        .and_then(|(now, changed)| now.duration_since(changed).ok())
        .is_some_and(|age| age >= SETTLED)
}

/// Redirects are followed here and not by the client, so that each is judged like the first URL.
async fn follow(mut url: Url, policy: AddressPolicy, headers: HeaderMap) -> Result<Response, FetchError> {
    for _ in 0..=MAX_REDIRECTS {
        policy.check_url(&url)?;
        let request = client(policy, &url)?.get(url.clone()).headers(headers.clone());
        let response = request.send().await.map_err(|source| http_error(&url, source))?;
        if !response.status().is_redirection() {
            return Ok(response);
        }
        let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        url = location
            .and_then(|location| url.join(location).ok())
            .ok_or_else(|| FetchError::BadRedirect(without_credentials(&url)))?;
    }
    Err(FetchError::TooManyRedirects)
}

fn accept(response: Response) -> Result<Response, FetchError> {
    if response.status() == StatusCode::OK {
        return Ok(response);
    }
    Err(FetchError::Status { url: without_credentials(response.url()), status: response.status() })
}

/// No proxy and no redirect of its own: both would lead around the address check.
fn client(policy: AddressPolicy, url: &Url) -> Result<Client, FetchError> {
    Client::builder()
        .redirect(redirect::Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        .dns_resolver(policy)
        .build()
        .map_err(|source| http_error(url, source))
}

fn http_error(url: &Url, source: reqwest::Error) -> FetchError {
    match address::refused_host(&source) {
        Some(host) => FetchError::PrivateAddress(host),
        None => FetchError::Http { url: without_credentials(url), source: source.without_url() },
    }
}

/// URLs are stored and logged; user names and passwords in them must not be.
pub fn without_credentials(url: &Url) -> Url {
    let mut url = url.clone();
    // Fails only for URLs that cannot carry credentials.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url
}
