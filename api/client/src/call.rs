//! Sending requests.

use backon::Retryable;
use serde::de::DeserializeOwned;
use tepui_types::endpoint::Endpoint;

use crate::client::{Client, PreparedRequest, read_reply};
use crate::{ClientError, retry};

impl Client {
    /// Calls an endpoint with the values of its path parameters, in their order. Idempotent calls
    /// are tried again when nothing answered or the cloud was busy.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with the cloud's reason, or why none came.
    pub async fn call<E: Endpoint>(
        &self,
        path: &[&str],
        request: &E::Request,
    ) -> Result<E::Reply, ClientError> {
        self.send(&self.prepare::<E>(path, request)?).await
    }

    /// Asks whether a change would be carried out, without making it.
    ///
    /// # Errors
    /// The reason why it would be refused, or as in [`Client::call`].
    pub async fn rehearse<E: Endpoint>(
        &self,
        path: &[&str],
        request: &E::Request,
    ) -> Result<(), ClientError> {
        self.send::<()>(&self.prepare::<E>(path, request)?.rehearsed()).await
    }

    /// Sends a prepared request, as [`Client::call`] does.
    ///
    /// # Errors
    /// As in [`Client::call`].
    pub async fn send<T: DeserializeOwned>(&self, prepared: &PreparedRequest) -> Result<T, ClientError> {
        let once = || self.send_once(&prepared.request);
        if !prepared.idempotent {
            return once().await;
        }
        once.retry(retry::policy()).when(ClientError::is_passing).await
    }

    async fn send_once<T: DeserializeOwned>(&self, request: &reqwest::Request) -> Result<T, ClientError> {
        let url = request.url().to_string();
        // Prepared requests hold their whole body, so that each can be copied.
        let copy = request.try_clone().ok_or_else(|| ClientError::BadUrl { url: url.clone() })?;
        let response = self
            .http
            .execute(copy)
            .await
            .map_err(|source| ClientError::Unreachable { url: url.clone(), source: source.without_url() })?;
        read_reply(&url, response).await
    }
}
