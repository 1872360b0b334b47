//! The host's network, real: namespaces, bridges, nftables and dnsmasq, in namespaces made by each test.
//! Needs root.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail the test")]

mod addresses;
mod doctor;
mod handover;
mod isolation;
mod lab;
mod lifecycle;
mod metadata;
mod names;
mod resilience;
mod security_groups;
