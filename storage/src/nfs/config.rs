//! Ganesha's configuration, and what its log says came of it.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read as _, Seek as _};
use std::path::{Path, PathBuf};

use super::Settings;
use super::ledger::Entry;

/// What stands before the list of all exports.
const LIST: &str = "Exports after update\n";
/// What stands before a folder in it.
const PATH: &str = "with path (";

/// All that ganesha is told.
///
/// - Version 3 alone, which QEMU's driver speaks: no leases, no state, and nothing that a restart would have to wait for.
/// - Nobody is admitted but the address of an export's client, and that as the export's own group: a handle that a
///   client made up leads to no file but its own.
/// - A write is answered once it is on the disk (`NFS_Commit`): QEMU's driver does not look at the verifier by which
///   RFC 1813 (3.3.21) tells a client that the server came anew and what it wrote before must be repeated.
/// - The log is where ganesha says that the last call of an export is done (`EXPORT` at `DEBUG`). It asks itself at each call
///   whether to say something, which takes a tenth of small reads: so it is told to while somebody `awaits` that word.
pub(super) fn text<'a>(
    settings: &Settings,
    awaits: bool,
    exports: impl Iterator<Item = &'a Entry>,
) -> String {
    let (address, recovery) = (settings.address, settings.run_dir.join("recovery"));
    let level = if awaits { "DEBUG" } else { "INFO" };
    let head = format!(
        "LOG {{ Default_Log_Level = WARN; Components {{ EXPORT = {level}; CONFIG = EVENT; }} }}\n\
         NFS_CORE_PARAM {{ Protocols = 3; Bind_Addr = {address}; NFS_Port = {nfs}; MNT_Port = {mount};\n  \
         Enable_NLM = false; Enable_RQUOTA = false; Enable_UDP = false; }}\n\
         NFSV4 {{ Graceless = true; RecoveryRoot = \"{recovery}\"; }}\n\
         EXPORT_DEFAULTS {{ Protocols = 3; Transports = TCP; Access_Type = None; SecType = sys; Squash = All; }}\n",
        nfs = super::PORT,
        mount = super::MOUNT_PORT,
        recovery = recovery.display(),
    );
    exports.fold(head, |text, entry| text + &block(entry))
}

/// Whether a configuration has an export's block as it was written.
pub(super) fn has(text: &str, entry: &Entry) -> bool {
    text.contains(&block(entry))
}

fn block(entry: &Entry) -> String {
    let Entry { number, group, folder, address, .. } = entry;
    let access = if entry.read_only { "RO" } else { "RW" };
    format!(
        "EXPORT {{ Export_Id = {number}; Path = \"{folder}\"; Anonymous_Uid = {group}; Anonymous_Gid = {group};\n  \
         NFS_Commit = true; FSAL {{ Name = VFS; }}\n  \
         CLIENT {{ Clients = {address}; Access_Type = {access}; Protocols = 3; }} }}\n",
        folder = folder.display(),
    )
}

/// The log from a byte on.
pub(super) fn said(log: &Path, from: u64) -> io::Result<String> {
    let mut file = fs::File::open(log)?;
    file.seek(io::SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The folders that ganesha serves, by the list that it wrote last. `None` where it wrote none.
pub(super) fn served(said: &str) -> Option<BTreeSet<PathBuf>> {
    let (_, list) = said.rsplit_once(LIST)?;
    let folder = |line: &str| {
        let (number, rest) = line.split_once(" pseudo (")?;
        let (folder, _) = rest.split_once(PATH)?.1.split_once(") and tag")?;
        // 0 is ganesha's own, the root of what version 4 of the protocol would see.
        (!number.ends_with(" 0")).then(|| PathBuf::from(folder))
    };
    Some(list.lines().filter_map(folder).filter(|folder| !is_released(said, folder)).collect())
}

/// Whether ganesha serves a folder, by the list that it writes after it has read its configuration anew.
pub(super) fn is_listed(said: &str, folder: &Path) -> bool {
    let list = said.rsplit_once(LIST).map(|(_, list)| list);
    list.is_some_and(|list| list.contains(&listed(folder)))
}

/// How the list names a folder.
fn listed(folder: &Path) -> String {
    format!("{PATH}{}) and tag", folder.display())
}

/// Whether ganesha will not serve a folder.
pub(super) fn is_refused(said: &str, folder: &Path) -> bool {
    said.lines().any(|line| {
        line.contains("Could not create export for") && line.ends_with(&format!("to ({})", folder.display()))
    })
}

/// Whether the last call of an export that was dropped is done: `free_export_resources` says so with the folder's name
/// once nobody holds the export, and without it of a block that changes nothing. What was said before the folder was
/// served last, as when its pool had been away, is of an export before this one.
pub(super) fn is_released(said: &str, folder: &Path) -> bool {
    let name = format!(" path {} pseudo ", folder.display());
    let since = said.rfind(&listed(folder)).and_then(|at| said.get(at..)).unwrap_or(said);
    since.lines().any(|line| line.contains("Goodbye export 0x") && line.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
28/11/2026 10:14:29 : vm : [sigmgr] free_export_resources :EXPORT :DEBUG :Goodbye export 0x7f3 path No Export pseudo No Export
28/11/2026 10:14:29 : vm : [sigmgr] fsal_cfg_commit :CONFIG :CRIT :Could not create export for ((null)) to (/pool/e4)
28/11/2026 10:14:29 : vm : [sigmgr] reread_exports :EXPORT :INFO :Exports after update
28/11/2026 10:14:29 : vm : [sigmgr] reread_exports :EXPORT :INFO :Export     1 pseudo (/1) with path (/pool/e1) and tag ((null))
28/11/2026 10:14:29 : vm : [sigmgr] free_export_resources :EXPORT :DEBUG :Goodbye export 0x7f4 path /pool/e3 pseudo No Export
28/11/2026 10:14:29 : vm : [svc_7] free_export_resources :EXPORT :DEBUG :Goodbye export 0x7f3 path /pool/e1 pseudo No Export
28/11/2026 10:14:30 : vm : [sigmgr] reread_exports :EXPORT :INFO :Exports after update
28/11/2026 10:14:30 : vm : [sigmgr] reread_exports :EXPORT :INFO :Export     0 pseudo (/) with path (/) and tag ((null))
28/11/2026 10:14:30 : vm : [sigmgr] reread_exports :EXPORT :INFO :Export     2 pseudo (/2) with path (/pool/e2) and tag ((null))
28/11/2026 10:14:30 : vm : [sigmgr] reread_exports :EXPORT :INFO :Export     3 pseudo (/3) with path (/pool/e3) and tag ((null))
";

    #[test]
    fn the_log_says_what_is_served_and_what_is_gone() {
        let told = |folder: &str| {
            let folder = Path::new(folder);
            [is_listed(LOG, folder), is_refused(LOG, folder), is_released(LOG, folder)]
        };
        assert_eq!(told("/pool/e1"), [false, false, true], "the last list counts");
        assert_eq!(told("/pool/e2"), [true, false, false]);
        assert_eq!(told("/pool/e3"), [true, false, false], "it came again after it was gone");
        assert_eq!(told("/pool/e"), [false; 3], "a name that begins another");
        assert_eq!(told("/pool/e4"), [false, true, false]);
        assert!(!is_listed("with path (/pool/e1) and tag", Path::new("/pool/e1")), "no list");
        assert_eq!(served(LOG), Some(["/pool/e2", "/pool/e3"].map(PathBuf::from).into()));
        let gone = "svc_7] free_export_resources :EXPORT :DEBUG :Goodbye export 0x7f4 path /pool/e2 pseudo No Export\n";
        assert_eq!(served(&format!("{LOG}{gone}")), Some([PathBuf::from("/pool/e3")].into()));
        assert_eq!(served("Export 1 pseudo (/1) with path (/pool/e1) and tag ((null))\n"), None, "no list");
    }
}
