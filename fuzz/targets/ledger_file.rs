//! Whatever a file of the ledger holds, the agent starts and goes on: it reads the file, or names it as
//! damaged. A case is the file's name, and after the line's end what was sealed under it.

use std::fs;

use tepui_agent::ledger::{Ledger, Seal};
use tepui_types::{NodeId, PlacementId, VpcId};

pub(crate) fn run(case: &[u8]) {
    let end = case.iter().position(|byte| *byte == b'\n').unwrap_or(case.len());
    let (name, content) = (&case[..end], case.get(end + 1..).unwrap_or_default());
    let Some(name) = std::str::from_utf8(name).ok().filter(|name| is_name(name)) else { return };
    // In memory: nobody's disk is waited for.
    let dir = tempfile::tempdir_in("/dev/shm").expect("a folder");
    let seal = Seal::open(&dir.path().join("key")).expect("a key");
    let folder = dir.path().join("ledger");
    fs::create_dir(&folder).expect("a folder");
    for sealed in [seal.seal(name, content).expect("a seal"), content.to_vec()] {
        fs::write(folder.join(name), sealed).expect("room for a file");
        let ledger = Ledger::open(&folder, seal.clone()).expect("a ledger, whatever is in it");
        let wanted = ledger.wanted();
        let known = wanted.parts.len() + wanted.damaged.len() + ledger.progress().len();
        assert!(known <= 1, "one file says one thing: {wanted:?}");
        if let Ok(id) = name.parse::<PlacementId>() {
            assert!(ledger.progress().contains_key(&id), "what was done is known, or taken as done");
        }
    }
}

/// As the agent names its files.
fn is_name(name: &str) -> bool {
    name.parse::<NodeId>().is_ok() || name.parse::<VpcId>().is_ok() || name.parse::<PlacementId>().is_ok()
}
