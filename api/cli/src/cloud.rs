//! Calls to the cloud.

use std::error::Error as _;
use std::fs;
use std::path::Path;

use serde_json::Value;
use tepui_client::{Client, ClientError, PreparedRequest};
use tepui_types::endpoint::Endpoint;

use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::session::Session;

impl Session {
    /// Calls an endpoint with the values of its path parameters.
    ///
    /// # Errors
    /// The cloud refused, did not answer, or none is configured.
    pub async fn call<E: Endpoint>(&mut self, path: &[&str], request: &E::Request) -> Result<E::Reply> {
        let client = self.client()?;
        let prepared = client.prepare::<E>(path, request)?;
        self.show_request(&prepared);
        Ok(client.send(&prepared).await?)
    }

    /// Asks the cloud whether it would make a change, without making it.
    ///
    /// # Errors
    /// The reason why it would be refused, or as [`Session::call`].
    pub async fn rehearse<E: Endpoint>(&mut self, path: &[&str], request: &E::Request) -> Result<()> {
        let client = self.client()?;
        let prepared = client.prepare::<E>(path, request)?.rehearsed();
        self.show_request(&prepared);
        Ok(client.send::<()>(&prepared).await?)
    }

    /// Sends a prepared request and returns whatever JSON comes back.
    ///
    /// # Errors
    /// As [`Session::call`].
    pub async fn call_raw(&mut self, prepared: &PreparedRequest) -> Result<Value> {
        self.show_request(prepared);
        Ok(self.client()?.send(prepared).await?)
    }

    /// The client of the configured cloud.
    ///
    /// # Errors
    /// No cloud or no credential is configured, or the URL or the CA file is unusable.
    pub fn client(&self) -> Result<Client> {
        let target = self.target.as_ref().map_err(Clone::clone)?;
        let token = target.token.as_deref().ok_or_else(no_token)?;
        connect(&target.url, token, target.ca_bundle.as_deref())
    }

    /// Where calls go.
    ///
    /// # Errors
    /// No cloud is configured, or the file of contexts is bad.
    pub fn url(&self) -> Result<&str> {
        self.target.as_ref().map(|target| target.url.as_str()).map_err(Clone::clone)
    }

    fn show_request(&mut self, prepared: &PreparedRequest) {
        if !self.show_request {
            return;
        }
        let rehearsed = if prepared.is_rehearsed() { " (dry run)" } else { "" };
        self.note(&format!("{} {}{rehearsed}", prepared.method(), prepared.url()));
        if let Some(body) = prepared.json_body() {
            self.note(body);
        }
    }
}

/// A client of the cloud at `url`.
pub(crate) fn connect(url: &str, token: &str, ca_bundle: Option<&Path>) -> Result<Client> {
    let ca = ca_bundle.map(read_ca).transpose()?;
    Ok(Client::new(url, token, ca.as_deref())?)
}

fn read_ca(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|e| {
        Failure::io(format!("the CA bundle {}", path.display()), &e)
            .why("TEPUI_CA_BUNDLE, AWS_CA_BUNDLE or the context names it")
            .docs("tepui help environment")
    })
}

fn no_token() -> Failure {
    Failure::new(Exit::Unauthenticated, "no credential is configured")
        .why("TEPUI_TOKEN is not set")
        .why("TEPUI_URL is, and a context's credential goes to its own cloud only")
        .try_("export TEPUI_TOKEN=KEY.SECRET     (an administrator makes one: tepui key create --user NAME)")
        .docs("tepui help environment")
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let message = error.to_string();
        let mut failure = Self::failed(message).docs("tepui help errors");
        let mut source = error.source();
        while let Some(cause) = source {
            failure = failure.why(cause.to_string());
            source = cause.source();
        }
        match error {
            ClientError::Refused { body, .. } => (*body).into(),
            ClientError::Unreachable { .. } | ClientError::BadReply { .. } => {
                failure.try_("check the URL and that the cloud is up, then: tepui whoami")
            }
            ClientError::BadUrl { .. } => failure.try_("a URL like https://HOST:8773"),
            ClientError::BrokenOff { .. } | ClientError::Frames(_) => failure.try_("the same command again"),
            ClientError::OtherFile { .. } => failure.try_("the same command without --resume"),
            ClientError::Unbuildable(_)
            | ClientError::PathParameters { .. }
            | ClientError::WrongContent { .. }
            | ClientError::Unwritable { .. }
            | ClientError::File { .. } => failure,
        }
    }
}
