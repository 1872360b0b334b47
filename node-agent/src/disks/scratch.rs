//! Scratch and swap disks: raw sparse files beside the overlays, each there whole or not at all.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tepui_types::PlacementId;
use tepui_types::agent::{ScratchDisks, ScratchKind};

use super::DiskError;
use crate::durable;

const GIB: u64 = 1 << 30;

/// What e2fsprogs 1.43 to 1.46 give a file system by themselves. Later ones add what kernels before 5.15 do not mount,
/// and a host's own settings shall not decide what a guest can read.
const FEATURES: &str = "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super,\
                        large_file,huge_file,dir_nlink,extra_isize,metadata_csum";

/// What the file name of such a disk ends with.
const fn suffix(kind: ScratchKind) -> &'static str {
    match kind {
        ScratchKind::Scratch => ".scratch",
        ScratchKind::Swap => ".swap",
    }
}

/// The placement whose scratch disk a file of this name is.
pub(crate) fn placement_of(name: &str) -> Option<PlacementId> {
    ScratchKind::ALL.iter().find_map(|kind| name.strip_suffix(suffix(*kind))?.parse().ok())
}

/// Whether a running domain's disk, by its source, is one of these.
pub(crate) fn is_scratch(source: &str) -> bool {
    let name = Path::new(source).file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| placement_of(name).is_some())
}

/// The name of a disk's file.
pub(crate) fn file_name(id: PlacementId, kind: ScratchKind) -> String {
    format!("{id}{}", suffix(kind))
}

/// Where a disk is.
pub(super) fn path(dir: &Path, id: PlacementId, kind: ScratchKind) -> PathBuf {
    dir.join(file_name(id, kind))
}

/// Makes the disks that are missing, by `make`. With `anew` those that are there go first: what was on them is of
/// nobody's use any more.
pub(super) fn ensure(
    dir: &Path,
    id: PlacementId,
    (wanted, anew): (ScratchDisks, bool),
    make: impl Fn(&Path, ScratchKind, u64) -> Result<(), DiskError>,
) -> Result<(), DiskError> {
    if anew {
        discard(dir, id)?;
    }
    for (kind, gib, _) in wanted.each() {
        let path = path(dir, id, kind);
        if !path.try_exists().map_err(file_error(&path))? {
            make(&path, kind, u64::from(gib) * GIB)?;
        }
    }
    Ok(())
}

/// Deletes the disks of a placement.
pub(super) fn discard(dir: &Path, id: PlacementId) -> Result<(), DiskError> {
    for kind in ScratchKind::ALL {
        let path = path(dir, id, *kind);
        durable::remove(&path).map_err(file_error(&path))?;
    }
    Ok(())
}

/// Makes one disk: of holes, which nobody ever wrote to, with what its guest looks for on it; it and its name are
/// durable when this returns.
pub(super) fn make(path: &Path, kind: ScratchKind, bytes: u64) -> Result<(), DiskError> {
    let half_made = path.with_added_extension("tmp");
    if let Err(error) = write(&half_made, kind, bytes) {
        // On a full disk it would be in the way of what makes room.
        durable::remove(&half_made).map_err(file_error(&half_made))?;
        return Err(error);
    }
    let renamed = std::fs::rename(&half_made, path).and_then(|()| durable::sync_parent(path));
    renamed.map_err(file_error(path))
}

/// Into a new file: a program that an agent before this one started may still write to the one that was left half-made.
fn write(path: &Path, kind: ScratchKind, bytes: u64) -> Result<(), DiskError> {
    durable::remove(path).map_err(file_error(path))?;
    let file = File::options().write(true).create_new(true).mode(0o600).open(path);
    let file = file.map_err(file_error(path))?;
    file.set_len(bytes).map_err(file_error(path))?;
    format(path, kind)?;
    file.sync_all().map_err(file_error(path))
}

/// The whole disk is the file system or swap area, as cloud-init expects it: without a table of partitions.
fn format(path: &Path, kind: ScratchKind) -> Result<(), DiskError> {
    match kind {
        // Tables and journal are zeros already, in the holes.
        ScratchKind::Scratch => {
            let lazy = "lazy_itable_init=1,lazy_journal_init=1";
            let options = ["-q", "-F", "-L", "ephemeral0", "-b", "4096", "-I", "256", "-m", "0"];
            run(Command::new("mkfs.ext4").args(options).args(["-O", FEATURES, "-E", lazy]).arg(path))
        }
        ScratchKind::Swap => run(Command::new("mkswap").args(["-L", "swap0"]).arg(path)),
    }
}

fn run(command: &mut Command) -> Result<(), DiskError> {
    let program = command.get_program().display().to_string();
    let failed = |why: String| DiskError::Format { program: program.clone(), why };
    let output = command.env("LC_ALL", "C").stdin(Stdio::null()).output();
    let output = output.map_err(|error| failed(error.to_string()))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
    }
}

fn file_error(path: &Path) -> impl Fn(io::Error) -> DiskError + use<> {
    let path = path.to_owned();
    move |source| DiskError::File { path: path.clone(), source }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::os::unix::fs::{FileExt as _, MetadataExt as _};

    use super::*;
    use crate::testing::placement;

    const BOTH: ScratchDisks = ScratchDisks { scratch_gib: 20, swap_gib: 2 };

    fn said(program: &str, arguments: &[&str], path: &Path) -> String {
        let output = Command::new(program).args(arguments).arg(path).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{program}: {text}{}", String::from_utf8_lossy(&output.stderr));
        text
    }

    fn names(dir: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = entries.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn the_tools_find_a_clean_file_system_and_a_swap_area_in_sparse_files() {
        let dir = tempfile::tempdir().unwrap();
        let id = placement(1);
        ensure(dir.path(), id, (BOTH, true), make).unwrap();
        assert_eq!(names(dir.path()), [format!("{id}.scratch"), format!("{id}.swap")]);
        let of = |kind| path(dir.path(), id, kind);
        let (scratch, swap) = (of(ScratchKind::Scratch), of(ScratchKind::Swap));
        let kind = |path: &Path| said("blkid", &["-p", "-o", "value", "-s", "TYPE", "-s", "LABEL"], path);
        let words = |path: &Path| kind(path).split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(
            (words(&scratch), words(&swap)),
            (vec!["ephemeral0".to_owned(), "ext4".to_owned()], vec!["swap0".to_owned(), "swap".to_owned()])
        );
        said("e2fsck", &["-f", "-n"], &scratch);
        let shown = said("dumpe2fs", &["-h"], &scratch);
        let features = shown.lines().find(|line| line.starts_with("Filesystem features:")).unwrap();
        assert!(!features.contains("orphan_file") && !features.contains("metadata_csum_seed"), "{features}");
        for (path, gib) in [(&scratch, 20), (&swap, 2)] {
            let metadata = path.metadata().unwrap();
            assert_eq!((metadata.len(), metadata.mode() & 0o777), (gib * GIB, 0o600));
            assert!(metadata.blocks() * 512 < 64 << 20, "{} takes {}", path.display(), metadata.blocks());
        }
    }

    /// What lay in the place of the file, or was written to the disk before, is nowhere in the new one.
    #[test]
    fn nothing_of_before_is_read_on_a_disk_that_is_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let (id, wanted) = (placement(1), ScratchDisks { scratch_gib: 0, swap_gib: 1 });
        let swap = path(dir.path(), id, ScratchKind::Swap);
        let canary = |path: &Path| {
            let file = File::options().write(true).create(true).truncate(false).open(path).unwrap();
            file.write_all_at(&[7; 4096], 512 << 10).unwrap();
        };
        let read = || {
            let mut bytes = [1; 4096];
            File::open(&swap).unwrap().read_exact_at(&mut bytes, 512 << 10).unwrap();
            bytes
        };
        canary(&swap.with_added_extension("tmp"));
        ensure(dir.path(), id, (wanted, true), make).unwrap();
        assert_eq!(read(), [0; 4096], "left by a death half-way");
        canary(&swap);
        ensure(dir.path(), id, (wanted, false), make).unwrap();
        assert_eq!(read(), [7; 4096], "kept over a reboot");
        ensure(dir.path(), id, (wanted, true), make).unwrap();
        assert_eq!(read(), [0; 4096], "made anew");
        discard(dir.path(), id).unwrap();
        discard(dir.path(), id).unwrap();
        assert_eq!(names(dir.path()), Vec::<String>::new());
    }

    #[test]
    fn only_what_is_missing_is_made_and_a_failure_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let id = placement(1);
        let made = RefCell::new(Vec::new());
        let note = |path: &Path, kind, bytes| {
            made.borrow_mut().push((kind, bytes));
            std::fs::write(path, b"").map_err(file_error(path))
        };
        ensure(dir.path(), id, (ScratchDisks { swap_gib: 0, ..BOTH }, false), note).unwrap();
        ensure(dir.path(), id, (BOTH, false), note).unwrap();
        assert_eq!(made.take(), [(ScratchKind::Scratch, 20 * GIB), (ScratchKind::Swap, 2 * GIB)]);
        // Too small for a signature.
        let tiny = dir.path().join("tiny");
        let error = make(&tiny, ScratchKind::Swap, 4096).unwrap_err();
        assert!(matches!(&error, DiskError::Format { program, .. } if program == "mkswap"), "{error}");
        assert!(!error.is_permanent(), "{error}");
        assert_eq!(names(dir.path()), [format!("{id}.scratch"), format!("{id}.swap")]);
    }

    #[test]
    fn a_file_is_known_by_its_name() {
        let id = placement(1);
        for name in [format!("{id}.scratch"), format!("{id}.swap")] {
            assert_eq!(placement_of(&name), Some(id));
        }
        for name in [format!("{id}.qcow2"), format!("{id}.swap.tmp"), "x.swap".to_owned()] {
            assert_eq!(placement_of(&name), None, "{name}");
        }
    }
}
