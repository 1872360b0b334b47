//! `tepui dev down`: ends what a dev cloud made, whatever state it is in.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use super::marker;
use super::names::Names;
use super::node::{Host, remove_pins};
use super::process;
use super::shared;
use super::topology;
use crate::failure::{Failure, Result};
use crate::session::Session;

/// What `up` and its daemons put into the directory, besides the hosts' own `nN`.
const FILES: [&str; 5] = ["api.toml", "sim.toml", "sim-tokens", "env", "state.json"];
const FOLDERS: [&str; 3] = ["api", "sim", "log"];

/// Ends the cloud in `dir`. One that is not there is a success.
pub(super) async fn run(dir: &Path, session: &mut Session) -> Result<()> {
    let dir = match fs::canonicalize(dir) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        found => found.map_err(|e| Failure::io(dir.display(), &e))?,
    };
    let names = Names::of(&dir);
    let _lock = marker::existing(&names)?;
    let hosts = hosts(&names);
    session.note("dev: ending guests and daemons");
    for number in &hosts {
        Host { names: &names, number: *number }.end().await?;
    }
    let configs = ["api.toml", "sim.toml"].map(|file| dir.join(file));
    process::end(|| process::daemons_of(&configs)).await?;
    session.note("dev: removing networks, mounts and files");
    topology::remove(&names)?;
    remove_pins(&names.pins());
    remove_folder(&names.run_dir())?;
    shared::restore()?;
    remove_files(&names, &hosts)?;
    session.note(&format!("dev: nothing is left of the cloud in {}", dir.display()));
    Ok(())
}

/// The hosts that have a directory, by number.
fn hosts(names: &Names) -> Vec<u16> {
    let folders = [names.dir().to_owned(), names.run_dir()];
    let entries = folders.into_iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten();
    let found = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.strip_prefix('n')?.parse().ok());
    let mut numbers: Vec<u16> = found.collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

fn remove_files(names: &Names, hosts: &[u16]) -> Result<()> {
    for number in hosts {
        remove_folder(&names.node_dir(*number))?;
    }
    for folder in FOLDERS {
        remove_folder(&names.dir().join(folder))?;
    }
    for file in FILES.map(|file| names.dir().join(file)) {
        forgive(fs::remove_file(&file), &file)?;
    }
    marker::remove(names)?;
    // It stays if somebody else has something in it.
    let _ = fs::remove_dir(names.dir());
    Ok(())
}

fn remove_folder(path: &Path) -> Result<()> {
    forgive(fs::remove_dir_all(path), path)
}

fn forgive(removed: std::io::Result<()>, path: &Path) -> Result<()> {
    match removed {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(Failure::io(path.display(), &e)),
        _ => Ok(()),
    }
}
