//! The fuzz target of image headers, over its corpus and mutations of it.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a target fails by panicking; the lints exempt test functions only, not their helpers"
)]

#[path = "../../fuzz/targets/qcow2_header.rs"]
mod qcow2_header;
#[path = "../../fuzz/replay.rs"]
mod replay;

#[test]
fn image_headers() {
    replay::run("qcow2_header", 10_000, qcow2_header::run);
}
