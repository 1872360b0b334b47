//! The fuzz targets of what the agent reads, over their corpora and mutations of them.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a target fails by panicking; the lints exempt test functions only, not their helpers"
)]

#[path = "../../fuzz/targets/ledger_file.rs"]
mod ledger_file;
#[path = "../../fuzz/targets/node_config.rs"]
mod node_config;
#[path = "../../fuzz/targets/poll_reply.rs"]
mod poll_reply;
#[path = "../../fuzz/replay.rs"]
mod replay;

#[test]
fn replies_to_polls() {
    replay::run("poll_reply", 5_000, poll_reply::run);
}

#[test]
fn files_of_the_ledger() {
    replay::run("ledger_file", 5_000, ledger_file::run);
}

#[test]
fn configurations() {
    replay::run("node_config", 10_000, node_config::run);
}
