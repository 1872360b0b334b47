//! Disk files and console logs, against the books.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tepui_types::PlacementId;

use super::{Books, Finding, Fix, Inventory, Subject, failure, warning};
use crate::captures;
use crate::disks::{backing_file, scratch};
use crate::durable::HALF_WRITTEN;

/// What a half-made disk is given to be completed. Nothing was ever written to it by a guest.
const HALF_MADE_FOR: Duration = Duration::from_secs(3600);

/// What there is below one directory.
#[derive(Debug, Clone, Default)]
pub struct Files {
    /// The files by name, with how long ago they were changed.
    pub ages: BTreeMap<String, Duration>,
    /// What is wrong with the image below a disk, by the disk's file.
    pub bases: BTreeMap<String, String>,
}

/// Looks at the files of a directory; one that is not there has none.
pub(super) fn files(dir: &Path) -> io::Result<Files> {
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Files::default()),
        entries => entries?,
    };
    let mut files = Files::default();
    for entry in entries {
        let entry = entry?;
        // One that was removed meanwhile is none.
        let Ok(changed) = entry.metadata().and_then(|metadata| metadata.modified()) else { continue };
        let age = SystemTime::now().duration_since(changed).unwrap_or_default();
        files.ages.insert(entry.file_name().to_string_lossy().into_owned(), age);
    }
    Ok(files)
}

/// As [`files`], with a look at the image below each disk.
pub(super) fn disk_files(dir: &Path) -> io::Result<Files> {
    let mut files = files(dir)?;
    let disks = files.ages.keys().filter(|name| name.ends_with(".qcow2"));
    files.bases = disks.filter_map(|name| Some((name.clone(), base_fault(&dir.join(name))?))).collect();
    Ok(files)
}

fn base_fault(disk: &Path) -> Option<String> {
    match backing_file(disk) {
        Ok(base) if base.exists() => None,
        Ok(base) => Some(format!("the image below it is gone: {}", base.display())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => Some(format!("its header cannot be read: {error}")),
    }
}

/// `disks` and `consoles` are where the files of the inventory are.
pub(super) fn findings(books: &Books, inventory: &Inventory, disks: &Path, consoles: &Path) -> Vec<Finding> {
    let known = books.known();
    let strangers =
        inventory.disks.ages.iter().filter_map(|(name, age)| stranger(name, *age, known.as_ref(), disks));
    let bases = inventory.disks.bases.iter().map(|(name, fault)| {
        let cure = "keep the file; stop and start the instance, so that the agent fetches the image again, or restore the disk from a backup";
        failure(Subject::Disks, name.clone(), fault.clone(), cure)
    });
    strangers.chain(bases).chain(orphan_consoles(known.as_ref(), inventory, consoles)).collect()
}

/// What no part names is left alone: it may hold somebody's data. While nobody says who is known, nothing is
/// said of it at all.
fn stranger(name: &str, age: Duration, known: Option<&BTreeSet<PlacementId>>, dir: &Path) -> Option<Finding> {
    if name.ends_with(HALF_WRITTEN) {
        let what = "was left half-made an hour ago or longer; no guest ever used it";
        let fix = Some(Fix::Remove(dir.join(name)));
        let finding = warning(Subject::Disks, name.to_owned(), what, "tepui-node doctor --fix");
        return (age > HALF_MADE_FOR).then_some(Finding { fix, ..finding });
    }
    if captures::placement_of(name).is_some() {
        let what = "was left of a snapshot of a root disk an hour ago or longer; the agent removes it when it starts";
        let fix = Some(Fix::Remove(dir.join(name)));
        let finding = warning(Subject::Disks, name.to_owned(), what, "tepui-node doctor --fix");
        return (age > HALF_MADE_FOR).then_some(Finding { fix, ..finding });
    }
    let root = name.strip_suffix(".qcow2").and_then(|id| id.parse::<PlacementId>().ok());
    let id = root.or_else(|| scratch::placement_of(name));
    known.filter(|known| id.is_none_or(|id| !known.contains(&id))).map(|_| {
        let what = "a disk file that the control plane does not name; the agent never deletes it";
        failure(Subject::Disks, name.to_owned(), what, "if nobody needs its data: delete it")
    })
}

/// Logs of placements of which nothing else is left.
fn orphan_consoles(known: Option<&BTreeSet<PlacementId>>, inventory: &Inventory, dir: &Path) -> Vec<Finding> {
    let (Some(known), Some(domains)) = (known, &inventory.domains) else { return Vec::new() };
    let is_orphan = |name: &&String| {
        let id = name.split('.').next().and_then(|id| id.parse::<PlacementId>().ok());
        id.is_some_and(|id| {
            !known.contains(&id)
                && !domains.contains_key(&id)
                && !inventory.disks.ages.contains_key(&format!("{id}.qcow2"))
        })
    };
    let orphans = inventory.consoles.ages.keys().filter(is_orphan);
    let told = orphans.map(|name| {
        let path: PathBuf = dir.join(name);
        let what = "the console's log of an instance that is gone";
        let finding = warning(Subject::Disks, name.clone(), what, "tepui-node doctor --fix");
        Finding { fix: Some(Fix::Remove(path)), ..finding }
    });
    told.collect()
}
