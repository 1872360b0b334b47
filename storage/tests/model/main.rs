//! A pool that is used at random and dies at random, compared with a model of every byte in it.
//!
//! Each sector carries the number of the write that put it there, and no two writes have one: whatever a volume
//! should not show, be it an older state, another volume's bytes or those of a former owner of its space, is seen.
//!
//! `TEPUI_MODEL_SEED` repeats one run, `TEPUI_MODEL_STEPS` makes it longer.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    unreachable_pub,
    reason = "a helper of a test fails the test; the modules are the test's own"
)]

mod chance;
mod content;
mod operation;
mod state;
#[path = "../support/mod.rs"]
mod support;

use std::env;
use std::path::Path;
use std::process::Command;

use chance::Model;
use operation::Operation;
use support::{BYTES, XFS, on, pool_id};
use tepui_storage::{Pool, Watermarks};
use tepui_types::failpoint;

/// Tells the process that dies what to do where.
const POOL: &str = "TEPUI_TEST_POOL";
const OPERATION: &str = "TEPUI_TEST_OPERATION";
/// What is run where nobody asks for another.
const SEEDS: [u64; 3] = [1, 2, 3];
const LENGTH: u64 = 300;
/// What of the file system is free: so little that space passes from one owner to the next all the time.
const ROOM: u64 = 32 << 20;
/// In between, only what an operation touched is compared.
const COMPARE_ALL: u64 = 20;

/// Only in the processes that the next test starts is there something to do.
#[test]
fn the_process_that_dies() {
    let Ok(path) = env::var(POOL) else { return };
    failpoint::arm_from(&env::var(failpoint::VARIABLE).unwrap()).unwrap();
    let operation: Operation = env::var(OPERATION).unwrap().parse().unwrap();
    operation.perform(&open(Path::new(&path))).unwrap();
}

#[test]
fn every_byte_is_as_the_model_says_whatever_is_done_and_wherever_it_dies() {
    let number = |name| env::var(name).ok().map(|text| text.parse::<u64>().expect(name));
    let length = number("TEPUI_MODEL_STEPS").unwrap_or(LENGTH);
    let seeds = number("TEPUI_MODEL_SEED").map_or(SEEDS.to_vec(), |seed| vec![seed]);
    for seed in seeds {
        eprintln!("TEPUI_MODEL_SEED={seed} TEPUI_MODEL_STEPS={length}");
        on(XFS, BYTES, move |path| run(path, seed, length));
    }
}

fn run(path: &Path, seed: u64, length: u64) {
    let folder = path.join("pool");
    std::fs::create_dir(&folder).unwrap();
    let mut pool = open(&folder);
    fill(path, &pool);
    let mut model = Model::new(seed);
    for step in 0..length {
        let operation = model.choose();
        let Some(point) = model.death(&operation) else {
            eprintln!("{step}: {operation}");
            let done = operation.perform(&pool);
            model.expect(&operation, done);
            if step % COMPARE_ALL == 0 {
                model.state.compare(&pool);
            } else {
                model.state.compare_touched(&operation, &pool);
            }
            continue;
        };
        eprintln!("{step}: {operation}, and dies at {point}");
        drop(pool);
        die(&folder, &operation, &point);
        pool = open(&folder);
        model.adopt(&operation, &pool);
        model.state.compare(&pool);
    }
    model.state.compare(&pool);
    model.assert_telling(ROOM);
}

/// The test keeps the pool from getting full.
fn open(path: &Path) -> Pool {
    Pool::create(path, pool_id(), Watermarks { soft_percent: 100, hard_percent: 100 }).unwrap()
}

/// Takes all room but a little.
fn fill(path: &Path, pool: &Pool) {
    let bytes = pool.usage().unwrap().free - ROOM;
    let mut fallocate = Command::new("fallocate");
    support::call(fallocate.args(["-l", &bytes.to_string()]).arg(path.join("ballast")));
}

/// A process of its own carries the operation out and dies at a fail point.
fn die(folder: &Path, operation: &Operation, point: &str) {
    let died = Command::new(env::current_exe().unwrap())
        .args(["--exact", "the_process_that_dies"])
        .env(POOL, folder)
        .env(OPERATION, operation.to_string())
        .env(failpoint::VARIABLE, format!("{point}=exit"))
        .output()
        .unwrap();
    assert_eq!(died.status.code(), Some(failpoint::EXIT_CODE), "{operation} at {point}: {died:?}");
}
