//! Signs EC2 requests with the signer of the AWS SDK, many times faster than a curl for each.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;

/// An access key at one endpoint.
#[derive(Clone)]
pub(crate) struct Signer {
    http: reqwest::Client,
    url: String,
    key: Credentials,
}

impl Signer {
    pub(crate) fn new(http: &reqwest::Client, url: String, id: &str, secret: &str) -> Self {
        Self { http: http.clone(), url, key: Credentials::from_keys(id, secret, None) }
    }

    /// Status and body of a call that nobody repeats.
    pub(crate) async fn call(&self, form: &str) -> (u16, String) {
        let identity = self.key.clone().into();
        let params = SigningParams::builder()
            .identity(&identity)
            .region("tepui-1")
            .name("ec2")
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()
            .unwrap();
        let body = SignableBody::Bytes(form.as_bytes());
        let signable = SignableRequest::new("POST", &self.url, std::iter::empty(), body).unwrap();
        let (signed, _) = sign(signable, &params.into()).unwrap().into_parts();
        let mut request = self.http.post(&self.url).body(form.to_owned());
        for (name, value) in signed.headers() {
            request = request.header(name, value);
        }
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }
}
