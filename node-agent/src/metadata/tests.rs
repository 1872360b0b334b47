//! The guest's side: raw HTTP over loopback, from the address the directory knows.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper::Method;
use tepui_types::agent::{NodePart, PlacementPart, WantedPlacement};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

use super::*;
use crate::testing::{address, placement, running, vpc_id};

fn spec_of(wanted: &mut WantedPlacement) -> &mut tepui_types::agent::PlacementSpec {
    let PlacementPart::Present(spec) = &mut wanted.wanted else { panic!("present") };
    spec
}

struct Service {
    metadata: MetadataService,
    address: SocketAddr,
}

fn service(placements: Vec<WantedPlacement>) -> Service {
    let metadata = MetadataService::new(&[3; 32]);
    metadata.directory().replace(Arc::new(NodePart { placements }));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    metadata.serve(vpc_id(), listener).unwrap();
    Service { metadata, address }
}

impl Service {
    /// Sends one request from `source`; gives status and body.
    async fn ask(&self, source: Ipv4Addr, method: &str, path: &str, headers: &str) -> (u16, String) {
        assert!(self.metadata.serves(vpc_id()));
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((source, 0).into()).unwrap();
        let mut stream = socket.connect(self.address).await.unwrap();
        let request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await.unwrap();
        let (head, body) = reply.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    async fn token(&self, source: Ipv4Addr) -> String {
        let ttl = "X-aws-ec2-metadata-token-ttl-seconds: 21600\r\n";
        let (status, token) = self.ask(source, "PUT", "/latest/api/token", ttl).await;
        assert_eq!(status, 200);
        format!("X-aws-ec2-metadata-token: {token}\r\n")
    }
}

/// Reads everything as cloud-init does: each listing, then each name in it, and nothing may fail.
async fn crawl(service: &Service, token: &str, path: String, found: &mut Vec<String>) {
    let (status, listing) = service.ask(address(7), "GET", &path, token).await;
    assert_eq!(status, 200, "{path}");
    for name in listing.lines() {
        let child = match name.split_once('=') {
            Some((number, _)) if number.parse::<u32>().is_ok() => format!("{path}{number}/openssh-key"),
            _ => format!("{path}{name}"),
        };
        if child.ends_with('/') {
            Box::pin(crawl(service, token, child, found)).await;
        } else {
            let (status, _) = service.ask(address(7), "GET", &child, token).await;
            assert_eq!(status, 200, "{child}");
            found.push(child);
        }
    }
}

#[tokio::test]
async fn cloud_init_reads_everything_that_is_listed_without_a_failure() {
    let service = service(vec![running(placement(7), 1, 0)]);
    let token = service.token(address(7)).await;
    for version in ["2009-04-04", "2016-09-02", "2018-09-24", "2021-03-23", "latest"] {
        let mut found = Vec::new();
        crawl(&service, &token, format!("/{version}/meta-data/"), &mut found).await;
        crawl(&service, &token, format!("/{version}/dynamic/instance-identity/"), &mut found).await;
        let mac = tepui_types::MacAddress::from_random(7);
        for name in [
            "meta-data/instance-id".to_owned(),
            "meta-data/public-keys/0/openssh-key".to_owned(),
            "meta-data/placement/availability-zone".to_owned(),
            "meta-data/block-device-mapping/ami".to_owned(),
            "meta-data/services/domain".to_owned(),
            "meta-data/tags/instance/Name".to_owned(),
            format!("meta-data/network/interfaces/macs/{mac}/subnet-ipv4-cidr-block"),
            "dynamic/instance-identity/document".to_owned(),
        ] {
            assert!(found.contains(&format!("/{version}/{name}")), "{name} of {version}: {found:#?}");
        }
        assert!(!found.iter().any(|name| name.ends_with("/a/b")), "a tag that is no name");
        let user_data = service.ask(address(7), "GET", &format!("/{version}/user-data"), &token).await;
        assert_eq!(user_data, (200, "#!/bin/sh\n".to_owned()));
    }
    let (status, versions) = service.ask(address(7), "GET", "/", &token).await;
    assert_eq!((status, versions.lines().count()), (200, 5));
}

#[tokio::test]
async fn what_does_not_exist_is_404() {
    let mut wanted = running(placement(7), 1, 0);
    spec_of(&mut wanted).user_data = None;
    spec_of(&mut wanted).metadata.options.tags_enabled = false;
    let service = service(vec![wanted]);
    let token = service.token(address(7)).await;
    for path in [
        "/latest/user-data",
        "/latest/meta-data/iam/info",
        "/latest/meta-data/tags/instance",
        "/latest/meta-data/instance-id/x",
        "/latest/dynamic/instance-identity/pkcs7",
        "/1999-01-01/meta-data/",
        "/latest/meta-data/../../etc/passwd",
    ] {
        assert_eq!(service.ask(address(7), "GET", path, &token).await.0, 404, "{path}");
    }
}

#[tokio::test]
async fn a_session_token_is_required_unless_the_owner_says_otherwise() {
    let mut lax = running(placement(8), 1, 0);
    spec_of(&mut lax).metadata.options.tokens_required = false;
    let mut off = running(placement(9), 1, 0);
    spec_of(&mut off).metadata.options.enabled = false;
    let service = service(vec![running(placement(7), 1, 0), lax, off]);
    let path = "/latest/meta-data/instance-id";
    assert_eq!(service.ask(address(7), "GET", path, "").await.0, 401);
    assert_eq!(service.ask(address(8), "GET", path, "").await.0, 200);
    assert_eq!(service.ask(address(8), "GET", path, "X-aws-ec2-metadata-token: x\r\n").await.0, 401);
    assert_eq!(service.ask(address(9), "GET", path, "").await.0, 403);
    let ttl = "X-aws-ec2-metadata-token-ttl-seconds: 60\r\n";
    assert_eq!(service.ask(address(9), "PUT", "/latest/api/token", ttl).await.0, 403);
    assert_eq!(service.ask(address(7), "POST", path, "").await.0, 405);
}

#[tokio::test]
async fn a_token_needs_a_life_of_1_to_21600_seconds_and_no_proxy() {
    let service = service(vec![running(placement(7), 1, 0)]);
    for (headers, expected) in [
        ("", 400),
        ("X-aws-ec2-metadata-token-ttl-seconds: 0\r\n", 400),
        ("X-aws-ec2-metadata-token-ttl-seconds: 21601\r\n", 400),
        ("X-aws-ec2-metadata-token-ttl-seconds: soon\r\n", 400),
        ("X-aws-ec2-metadata-token-ttl-seconds: 1\r\n", 200),
        ("X-aws-ec2-metadata-token-ttl-seconds: 1\r\nX-Forwarded-For: 10.0.0.1\r\n", 403),
    ] {
        assert_eq!(
            service.ask(address(7), "PUT", "/latest/api/token", headers).await.0,
            expected,
            "{headers}"
        );
    }
}

#[tokio::test]
async fn a_guest_is_its_address_and_a_token_of_another_guest_is_worth_nothing() {
    let service = service(vec![running(placement(7), 1, 0), running(placement(8), 1, 0)]);
    let token = service.token(address(7)).await;
    let path = "/latest/meta-data/instance-id";
    let forged = format!("{token}X-Forwarded-For: 127.0.0.8\r\n");
    let (status, id) = service.ask(address(7), "GET", path, &forged).await;
    assert_eq!((status, id), (200, tepui_types::InstanceId::from_random(7).to_string()));
    assert_eq!(service.ask(address(8), "GET", path, &token).await.0, 401);
    assert_eq!(service.ask(address(99), "GET", path, &token).await.0, 404);
}

#[test]
fn only_a_token_travels_with_the_hop_limit() {
    let mut wanted = running(placement(7), 1, 0);
    let spec = spec_of(&mut wanted);
    spec.metadata.options.hop_limit = 2;
    let tokens = Tokens::new(&[1; 32]);
    let put = Question {
        method: &Method::PUT,
        path: "/latest/api/token",
        token: None,
        token_ttl: Some("60"),
        forwarded: false,
    };
    let issued = answer(placement(7), spec, &tokens, &put, Duration::ZERO);
    assert_eq!(issued.hop_limit, Some(2));
    let token = String::from_utf8(issued.body).unwrap();
    let get = Question { method: &Method::GET, path: "/", token: Some(&token), ..put };
    assert_eq!(answer(placement(7), spec, &tokens, &get, Duration::ZERO).hop_limit, None);
    let expired = answer(placement(7), spec, &tokens, &get, Duration::from_secs(60));
    assert_eq!(expired.status, hyper::StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_guest_that_holds_many_connections_shuts_out_nobody_but_itself() {
    let service = service(vec![running(placement(7), 1, 0), running(placement(8), 1, 0)]);
    let connect = async || {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((address(7), 0).into()).unwrap();
        socket.connect(service.address).await.unwrap()
    };
    let mut held = Vec::new();
    for _ in 0..super::server::CONNECTIONS_OF_GUEST {
        held.push(connect().await);
    }
    let mut refused = connect().await;
    let closed = tokio::time::timeout(Duration::from_secs(3), refused.read(&mut [0; 1])).await;
    assert!(matches!(closed, Ok(Ok(0) | Err(_))), "{closed:?}");
    service.token(address(8)).await;
    drop(held);
}
