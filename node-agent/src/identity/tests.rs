//! Joining and renewing against a control plane on loopback that makes real certificates.

use std::net::Ipv4Addr;
use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderName;
use axum::http::header::DATE;
use axum::routing::post;
use axum::{Json, Router};
use jiff::ToSpan;
use rustls::pki_types::CertificateDer;
use tepui_types::Digest;
use tepui_types::agent::{
    ENROL_PATH, EnrolReply, EnrolRequest, NodeCapacity, RENEW_PATH, RenewReply, RenewRequest,
};
use url::Url;

use super::*;
use crate::link::ControlPlane;
use crate::testing::control_plane::{Issuer, authority, certify, control_plane};
use crate::testing::node_id;

async fn listen(authority: Arc<Issuer>) -> Url {
    let router = Router::new().route(ENROL_PATH, post(enrol)).route(RENEW_PATH, post(renewed));
    control_plane(&authority, router.with_state(Arc::clone(&authority))).await
}

async fn enrol(State(authority): State<Arc<Issuer>>, Json(request): Json<EnrolRequest>) -> Json<EnrolReply> {
    assert_eq!(request.token, "secret");
    let certificate_pem = certify(&authority, &request.csr_pem);
    Json(EnrolReply { node_id: node_id(), certificate_pem })
}

async fn renewed(
    State(authority): State<Arc<Issuer>>,
    Json(request): Json<RenewRequest>,
) -> ([(HeaderName, &'static str); 1], Json<RenewReply>) {
    let reply = RenewReply { certificate_pem: certify(&authority, &request.csr_pem) };
    ([(DATE, "Sun, 06 Nov 1994 08:49:37 GMT")], Json(reply))
}

fn joining(api_url: Url) -> Joining {
    Joining {
        api_url,
        name: "host".to_owned(),
        underlay_address: Ipv4Addr::new(10, 0, 0, 1),
        capacity: NodeCapacity { vcpus: 1, memory_mib: 1, disk_gib: 1 },
    }
}

fn token(ca: &CertificateDer<'_>) -> JoinToken {
    format!("secret.{}", Digest::of(ca)).parse().unwrap()
}

#[tokio::test]
async fn a_host_that_joins_keeps_its_uuid_and_can_renew_its_certificate() {
    let authority = Arc::new(authority());
    let url = listen(Arc::clone(&authority)).await;
    let dir = tempfile::tempdir().unwrap();
    let token = token(authority.der());
    let identity = join(dir.path(), &joining(url.clone()), &token, Uuid::from_u128(1)).await.unwrap();
    assert_eq!(identity.node_id, node_id());
    join(dir.path(), &joining(url.clone()), &token, Uuid::from_u128(2)).await.unwrap();
    assert_eq!(machine_uuid(dir.path(), Uuid::from_u128(3)).unwrap(), Uuid::from_u128(1));
    let control_plane = ControlPlane::new(url, &identity).unwrap();
    let renewed = renew(dir.path(), &identity, &control_plane).await.unwrap();
    assert_ne!(renewed.key_pem, identity.key_pem);
    let stored = Identity::load(dir.path()).unwrap();
    assert_eq!((stored.key_pem, stored.certificate_pem), (renewed.key_pem, renewed.certificate_pem));
}

#[tokio::test]
async fn a_torn_identity_is_refused_by_file_with_the_cure_and_joining_again_is_one() {
    let authority = Arc::new(authority());
    let url = listen(Arc::clone(&authority)).await;
    let dir = tempfile::tempdir().unwrap();
    let token = token(authority.der());
    join(dir.path(), &joining(url.clone()), &token, Uuid::from_u128(1)).await.unwrap();
    for name in [NODE_FILE, CA_FILE] {
        let path = dir.path().join(name);
        let whole = fs::read(&path).unwrap();
        for length in [0, whole.len() / 2] {
            fs::write(&path, &whole[..length]).unwrap();
            let error = Identity::load(dir.path()).err().unwrap();
            assert!(matches!(&error, IdentityError::Content { path: told, .. } if *told == path), "{error}");
            assert!(error.to_string().contains("join TOKEN"), "{error}");
        }
        join(dir.path(), &joining(url.clone()), &token, Uuid::from_u128(2)).await.unwrap();
        assert_eq!(machine_uuid(dir.path(), Uuid::from_u128(3)).unwrap(), Uuid::from_u128(1));
    }
}

#[tokio::test]
async fn the_secret_is_not_told_to_a_server_of_another_ca() {
    let url = listen(Arc::new(authority())).await;
    let dir = tempfile::tempdir().unwrap();
    let other = authority();
    let joined = join(dir.path(), &joining(url), &token(other.der()), Uuid::from_u128(1)).await;
    let Err(error) = joined else { panic!("joined a stranger") };
    assert!(
        crate::chain(&error).contains("the server's CA is not the join token's"),
        "{}",
        crate::chain(&error)
    );
    assert!(matches!(Identity::load(dir.path()), Err(IdentityError::NotJoined(_))));
}

#[test]
fn a_certificate_is_due_after_two_thirds_of_its_life() {
    let start = Timestamp::from_second(1_000_000).unwrap();
    let validity = Validity { not_before: start, not_after: start + 30.hours() };
    assert!(!validity.is_due(start + 19.hours()));
    assert!(validity.is_due(start + 20.hours()) && !validity.is_over(start + 20.hours()));
    assert!(validity.is_over(start + 30.hours()));
    assert!(validity.is_due(start - 1.hour()), "by a clock that was set back");
}

#[tokio::test]
async fn the_control_planes_clock_is_the_one_it_answers_with() {
    let authority = Arc::new(authority());
    let url = listen(Arc::clone(&authority)).await;
    let dir = tempfile::tempdir().unwrap();
    let token = token(authority.der());
    let identity = join(dir.path(), &joining(url.clone()), &token, Uuid::from_u128(1)).await.unwrap();
    let control_plane = ControlPlane::new(url, &identity).unwrap();
    assert_eq!(control_plane.now(), None);
    renew(dir.path(), &identity, &control_plane).await.unwrap();
    let (now, told) = (control_plane.now().unwrap(), "1994-11-06T08:49:37Z".parse::<Timestamp>().unwrap());
    assert!(now >= told && now < told + 1.hour(), "{now}");
}

#[test]
fn a_join_token_without_its_parts_is_refused() {
    for text in ["", "secret", ".", &format!(".{}", "0".repeat(64)), "secret.1234"] {
        assert!(text.parse::<JoinToken>().is_err(), "{text}");
    }
}

#[test]
fn a_token_comes_as_an_argument_or_from_standard_input_and_nowhere_else() {
    let text = format!("secret.{}", tepui_types::Digest::of(b"ca"));
    assert!(JoinToken::read(&text, std::io::empty()).is_ok());
    assert!(JoinToken::read("-", format!("{text}\n").as_bytes()).is_ok());
    assert!(JoinToken::read("-", std::io::empty()).is_err());
    assert!(JoinToken::read("--", text.as_bytes()).is_err());
}
