//! Signs the simplest form of a request by hand, so that the verifier is not tested with itself.

use std::sync::Arc;

use data_encoding::HEXLOWER;
use hmac::{Hmac, Mac};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest, Sha256};
use tepui_core::{Clock, NewAccessKey};
use tepui_ec2::{Ec2, Request};

use crate::harness::TestClock;
use crate::reply::{Element, Reply};
use crate::validator::validate;

#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) key_id: String,
    pub(crate) secret: String,
    pub(crate) project: String,
    ec2: Arc<Ec2>,
    clock: Arc<TestClock>,
}

impl Client {
    pub(crate) fn new(ec2: &Arc<Ec2>, clock: &Arc<TestClock>, key: &NewAccessKey) -> Self {
        Self {
            key_id: key.id.clone(),
            secret: key.secret.clone(),
            project: key.project_id.to_string(),
            ec2: Arc::clone(ec2),
            clock: Arc::clone(clock),
        }
    }

    /// The same client of another endpoint of the same cloud.
    pub(crate) fn of(&self, ec2: &Arc<Ec2>) -> Self {
        Self { ec2: Arc::clone(ec2), ..self.clone() }
    }

    /// The reply to an action that must succeed, held against the model.
    pub(crate) async fn ok(&self, action: &str, params: &[(&str, &str)]) -> Element {
        let reply = self.call(action, params).await;
        assert_eq!(reply.status, 200, "{action}: {}", reply.body);
        validate(action, &reply.root);
        reply.root
    }

    /// Code and status of an action that must be refused.
    pub(crate) async fn refused(&self, action: &str, params: &[(&str, &str)]) -> (String, u16) {
        let reply = self.call(action, params).await;
        (reply.error_code().unwrap_or_else(|| panic!("{action} succeeded: {}", reply.body)), reply.status)
    }

    pub(crate) async fn call(&self, action: &str, params: &[(&str, &str)]) -> Reply {
        let (service, version) =
            if action == "GetCallerIdentity" { ("sts", "2011-06-15") } else { ("ec2", "2016-11-15") };
        let mut form = format!("Action={action}&Version={version}");
        for (name, value) in params {
            form += &format!("&{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC));
        }
        self.post(service, &form).await
    }

    pub(crate) async fn post(&self, service: &str, form: &str) -> Reply {
        let [time, authorization] = self.signed_headers(service, form);
        let headers =
            [("host", "ec2.test"), ("x-amz-date", time.as_str()), ("authorization", authorization.as_str())];
        self.send(&headers, form).await
    }

    /// The headers `x-amz-date` and `authorization` of a form.
    pub(crate) fn signed_headers(&self, service: &str, form: &str) -> [String; 2] {
        let (time, scope) = self.scope(service);
        let digest = HEXLOWER.encode(&Sha256::digest(form));
        let canonical = format!("POST\n/\n\nhost:ec2.test\nx-amz-date:{time}\n\nhost;x-amz-date\n{digest}");
        let signature = self.signature(&time, &scope, &canonical);
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders=host;x-amz-date, Signature={signature}",
            self.key_id
        );
        [time, authorization]
    }

    /// The query of a GET that is signed in it; `pairs` are sorted and come before `X-Amz-`.
    pub(crate) fn signed_query(&self, pairs: &str) -> String {
        let (time, scope) = self.scope("ec2");
        let credential = format!("{}/{scope}", self.key_id).replace('/', "%2F");
        let query = format!(
            "{pairs}&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={credential}&X-Amz-Date={time}\
             &X-Amz-Expires=60&X-Amz-SignedHeaders=host"
        );
        let digest = HEXLOWER.encode(&Sha256::digest(""));
        let canonical = format!("GET\n/\n{query}\nhost:ec2.test\n\nhost\n{digest}");
        format!("{query}&X-Amz-Signature={}", self.signature(&time, &scope, &canonical))
    }

    fn scope(&self, service: &str) -> (String, String) {
        let time = self.clock.now().strftime("%Y%m%dT%H%M%SZ").to_string();
        let scope = format!("{}/any-region/{service}/aws4_request", &time[..8]);
        (time, scope)
    }

    fn signature(&self, time: &str, scope: &str, canonical: &str) -> String {
        let text =
            format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", HEXLOWER.encode(&Sha256::digest(canonical)));
        let mut key = format!("AWS4{}", self.secret).into_bytes();
        for part in scope.split('/') {
            key = sign(&key, part);
        }
        HEXLOWER.encode(&sign(&key, &text))
    }

    pub(crate) async fn send(&self, headers: &[(&str, &str)], form: &str) -> Reply {
        let request = Request {
            method: "POST",
            path: "/",
            query: "",
            headers: headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect(),
            body: form.as_bytes(),
            request_id: "req-test",
        };
        self.handle(&request).await
    }

    pub(crate) async fn handle(&self, request: &Request<'_>) -> Reply {
        let response = self.ec2.handle(request).await;
        assert!(response.headers.contains(&("x-amzn-requestid", "req-test".into())));
        assert!(response.headers.contains(&("content-type", "text/xml;charset=UTF-8".into())));
        let bytes = response.body.bytes();
        let stated = response.headers.iter().find(|(name, _)| *name == "content-length");
        assert_eq!(stated.map(|(_, value)| value.parse().unwrap()), bytes);
        let body = response.body.whole();
        assert!(bytes.is_none_or(|bytes| bytes == body.len()), "{bytes:?} are stated of {}", body.len());
        Reply { status: response.status, root: Element::parse(&body), body, bytes }
    }
}

fn sign(key: &[u8], message: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(message.as_bytes());
    mac.finalize().into_bytes().to_vec()
}
