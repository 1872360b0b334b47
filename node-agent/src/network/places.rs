//! Who had which address since flows were last ended, kept in a file beside the router: an address may change
//! hands while no agent is there, or while one dies half-way through the change. The file need not outlive the
//! host, with which its flows end, and is not fsynced.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tepui_types::VpcId;

use super::NetworkError;
use super::conntrack::Place;
use super::error::file;
use super::names;

/// The places of one VPC.
#[derive(Debug)]
pub(super) struct Places {
    path: PathBuf,
    /// `None` when nobody knows: there was no file, or a damaged one.
    held: Option<BTreeSet<Place>>,
}

impl Places {
    /// Those that the agent before left.
    pub(super) fn load(run_dir: &Path, vpc: VpcId) -> Result<Self, NetworkError> {
        let path = path(run_dir, vpc);
        let held = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).ok(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(file(&path)(error)),
        };
        Ok(Self { path, held })
    }

    /// Everything that may have a flow.
    pub(super) const fn held(&self) -> Option<&BTreeSet<Place>> {
        self.held.as_ref()
    }

    /// These come. Before any of them takes effect.
    pub(super) fn add(&mut self, wanted: &BTreeSet<Place>) -> Result<(), NetworkError> {
        match &self.held {
            Some(held) if !wanted.is_subset(held) => self.write(held.union(wanted).copied().collect()),
            Some(_) | None => Ok(()),
        }
    }

    /// Only these are left: the flows of all others were ended.
    pub(super) fn keep(&mut self, wanted: BTreeSet<Place>) -> Result<(), NetworkError> {
        if self.held.as_ref() == Some(&wanted) { Ok(()) } else { self.write(wanted) }
    }

    fn write(&mut self, places: BTreeSet<Place>) -> Result<(), NetworkError> {
        let bytes = serde_json::to_vec(&places).map_err(|error| file(&self.path)(error.into()))?;
        names::replace(&self.path, &bytes)?;
        self.held = Some(places);
        Ok(())
    }
}

/// Removes the file; one that is missing is a success.
pub(super) fn remove(run_dir: &Path, vpc: VpcId) -> Result<(), NetworkError> {
    let path = path(run_dir, vpc);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(file(&path)(error)),
        _ => Ok(()),
    }
}

fn path(run_dir: &Path, vpc: VpcId) -> PathBuf {
    run_dir.join("places").join(vpc.to_string())
}
