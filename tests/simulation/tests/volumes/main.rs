//! Everything of storage at once: a real control plane, real agents' keepers of pools on two real file systems, real
//! servers and stock clients, used at random while agents, servers and the control plane die; what every volume and
//! snapshot holds is compared with a model after each step.
//!
//! Each block carries the number of the write that put it there, and no two writes have one: whatever a disk should not
//! show, be it an older state, another volume's bytes or half of a write, is seen.
//!
//! `TEPUI_MODEL_SEED` repeats one run, `TEPUI_MODEL_STEPS` makes it longer.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    reason = "a helper of a test fails the test; the modules are the test's own"
)]

mod content;
mod faults;
mod guests;
mod host;
mod model;
mod site;
mod steps;
#[path = "../../../../storage/tests/support/mod.rs"]
mod support;
mod wire;

use std::path::Path;
use std::time::Duration;

use rand::Rng as _;
use site::Site;
use support::{BYTES, XFS, nfs, on};

/// What is run where nobody asks for another.
const SEED: u64 = 1;
const LENGTH: u64 = 220;
/// What a run of that length does at least once.
const ALL: [&str; 25] = [
    "a day",
    "agent dies",
    "agent dies at a step",
    "attach",
    "content breaks off",
    "control plane dies",
    "control plane dies at a step",
    "copy",
    "create",
    "delete snapshot",
    "delete volume",
    "detach",
    "detach by force",
    "grow",
    "move",
    "old way refused",
    "reclaim",
    "refused",
    "report comes twice",
    "report lost",
    "restore",
    "servers die",
    "snapshot",
    "thrown out",
    "write",
];
/// Longer than anything takes: a host that does not answer is waited for half a minute.
const PATIENCE: Duration = Duration::from_secs(90);

#[test]
fn every_disk_holds_what_the_model_says_whatever_is_done_and_whoever_dies() {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect(name));
    let length = number("TEPUI_MODEL_STEPS").unwrap_or(LENGTH);
    let seed = number("TEPUI_MODEL_SEED").unwrap_or(SEED);
    eprintln!("TEPUI_MODEL_SEED={seed} TEPUI_MODEL_STEPS={length}");
    nfs::host(move |first| {
        let first = first.to_owned();
        on(XFS, BYTES, move |second| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(live([&first, second], seed, length));
        });
    });
}

async fn live(disks: [&Path; 2], seed: u64, length: u64) {
    let dir = tepui_simulation::folder().unwrap();
    let mut site = Site::new(dir.path(), disks, seed).await;
    for step in 0..length {
        let begun = std::time::Instant::now();
        eprintln!("{step}: {}", site.step().await);
        // Something else goes wrong or is asked for before it is done.
        while site.chance.random_ratio(1, 2) {
            let next = if site.chance.random_ratio(1, 3) { site.step().await } else { site.fault().await };
            eprintln!("    {next}");
        }
        site.converge().await;
        eprintln!("      {} ms", begun.elapsed().as_millis());
    }
    site.end().await;
    eprintln!("{:#?}", site.counts);
    let missing: Vec<_> = ALL.iter().filter(|what| !site.counts.contains_key(**what)).collect();
    assert!(length < LENGTH || missing.is_empty(), "the run does not reach what it is for: {missing:?}");
}
