//! The fuzz target of the configuration, over its corpus and mutations of it.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a target fails by panicking; the lints exempt test functions only, not their helpers"
)]

#[path = "../../../fuzz/targets/api_config.rs"]
mod api_config;
#[path = "../../../fuzz/replay.rs"]
mod replay;

#[test]
fn configurations() {
    replay::run("api_config", 10_000, api_config::run);
}
