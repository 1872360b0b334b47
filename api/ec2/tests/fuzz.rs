//! The fuzz targets of the wire, over their corpora and mutations of them.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a target fails by panicking; the lints exempt test functions only, not their helpers"
)]

#[path = "../../../fuzz/targets/ec2_query.rs"]
mod ec2_query;
#[path = "../../../fuzz/replay.rs"]
mod replay;
#[path = "../../../fuzz/targets/sigv4_canonical.rs"]
mod sigv4_canonical;

#[test]
fn queries() {
    replay::run("ec2_query", 30_000, ec2_query::run);
}

#[test]
fn canonical_requests() {
    replay::run("sigv4_canonical", 20_000, sigv4_canonical::run);
}
