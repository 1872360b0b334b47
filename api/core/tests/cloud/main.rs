//! The domain's verbs on the real embedded store, with a clock and a source of chance that the test
//! owns.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "the helpers of a test stop at the first surprise, as the tests do"
)]

mod adoption;
mod agents;
mod audit;
mod consoles;
mod doctor;
mod explain;
mod freezes;
mod harness;
mod heartbeats;
mod identity;
mod instances;
mod launch;
mod launch_volumes;
mod moves;
mod moves_random;
mod networks;
mod nodes;
mod quarantine;
mod races;
mod read_only_volumes;
mod restore_tests;
mod retention;
mod root_snapshots;
mod schedules;
mod scratch;
mod snapshot_images;
mod snapshots;
mod stalls;
mod tenancy;
mod volume_ends;
mod volume_races;
mod volume_roots;
mod volumes;
