//! Brings an image from a URL into a file, without letting the URL reach where its owner may not:
//! each address, at each redirect, is checked after name resolution and used as checked.

mod address;
mod pace;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::header::LOCATION;
use reqwest::{Client, Response, redirect};
use tokio::io::AsyncWriteExt;
use url::Url;

pub use address::{AddressPolicy, is_public};
use pace::{Pace, TooSlow};

/// As browsers, more or less; a longer chain is a loop.
const MAX_REDIRECTS: usize = 8;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// A server that sends nothing for so long has hung.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

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
        status: reqwest::StatusCode,
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
    /// The file could not be written.
    #[error("{path} cannot be written")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// How far a download is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes written.
    pub received: u64,
    /// Bytes announced by the server.
    pub total: Option<u64>,
}

/// Downloads `url` into a new file at `target`.
///
/// # Errors
/// See [`FetchError`]. A half-written `target` is left to the caller, who owns its folder.
pub async fn download(
    url: &str,
    policy: AddressPolicy,
    target: &Path,
    max_bytes: u64,
    on_progress: impl Fn(Progress),
) -> Result<u64, FetchError> {
    let url = Url::parse(url).map_err(|_| FetchError::NotAUrl(url.chars().take(200).collect()))?;
    let response = follow(url, policy).await?;
    let url = without_credentials(response.url());
    let total = response.content_length();
    if total.is_some_and(|total| total > max_bytes) {
        return Err(FetchError::TooLarge(max_bytes));
    }
    let write = |source| FetchError::Write { path: target.into(), source };
    let mut file = tokio::fs::File::create_new(target).await.map_err(write)?;
    let mut received = 0;
    let (mut body, mut pace) = (response.bytes_stream(), Pace::new());
    let too_slow =
        |received, TooSlow { seconds }| FetchError::TooSlow { url: url.clone(), received, seconds };
    while let Some(chunk) = pace.next(&mut body).await.map_err(|slow| too_slow(received, slow))? {
        let chunk = chunk.map_err(|source| http_error(&url, source))?;
        received += chunk.len() as u64;
        if received > max_bytes {
            return Err(FetchError::TooLarge(max_bytes));
        }
        file.write_all(&chunk).await.map_err(write)?;
        on_progress(Progress { received, total });
    }
    file.sync_all().await.map_err(write)?;
    Ok(received)
}

/// Redirects are followed here and not by the client, so that each is judged like the first URL.
async fn follow(mut url: Url, policy: AddressPolicy) -> Result<Response, FetchError> {
    for _ in 0..=MAX_REDIRECTS {
        policy.check_url(&url)?;
        let response = client(policy, &url)?.get(url.clone()).send().await;
        let response = response.map_err(|source| http_error(&url, source))?;
        if !response.status().is_redirection() {
            return accept(response);
        }
        let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        url = location
            .and_then(|location| url.join(location).ok())
            .ok_or_else(|| FetchError::BadRedirect(without_credentials(&url)))?;
    }
    Err(FetchError::TooManyRedirects)
}

fn accept(response: Response) -> Result<Response, FetchError> {
    if response.status().is_success() {
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
