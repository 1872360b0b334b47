//! What the servers of volumes really serve, against what the ledger wants of them.
//!
//! They are asked beside the agent, which may be at work: nothing is changed, no server is started. What tgtd shows
//! of who is connected came over the network, and is shown without what could rule a terminal.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tepui_storage::filer;
use tepui_storage::iscsi::{self, Tgt};
use tepui_storage::nfs::{self, Ganesha};
use tepui_storage::{Access, Backend as _, Connection, Found, Local, Volume};
use tepui_types::ExportId;
use tepui_types::agent::{ExportPart, PartKey, PoolBackend, PoolPart, StoragePart, VolumePart, WantedExport};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::{Books, Finding, Subject, Witnesses, failure, warning};

/// A file system that is there answers at once; one of a filer that is away, when it likes.
const ANSWER: Duration = Duration::from_secs(5);

const WAIT: &str = "wait for the agent, which does it; if it stays, see the agent's log for the export";
const LET_GO: &str = "its guest lets go of it, or the agent cuts it off a moment later; if it stays, see the agent's log for the export";
const ANEW: &str =
    "detach the volume and attach it again, which makes an export of its own; find out who changed this one";
const ROOT: &str = "run the doctor as root; if it stays, see the server's log and the agent's";

/// What serves an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Tgt,
    Ganesha,
    Local,
    Filer,
}

impl By {
    fn of(pool: &PoolPart) -> Self {
        match (&pool.filer, pool.backend) {
            (Some(_), _) => Self::Filer,
            (None, PoolBackend::Iscsi) => Self::Tgt,
            (None, PoolBackend::Nfs) => Self::Ganesha,
            (None, PoolBackend::Local) => Self::Local,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Tgt => "tgtd",
            Self::Ganesha => "ganesha",
            Self::Local => "this host",
            Self::Filer => "the filer",
        }
    }
}

/// What is to be served, as the ledger has it.
struct Exports<'a> {
    part: Option<&'a StoragePart>,
    /// An export that it does not name is one that the control plane does not know.
    names_all: bool,
}

/// One export of a pool that is known.
struct Wanted<'a> {
    export: &'a WantedExport,
    by: By,
    /// The volume's file.
    file: PathBuf,
    /// It is there, as far as the control plane knows. Until then the export waits for it.
    is_made: bool,
}

impl<'a> Exports<'a> {
    /// `None` where nobody has said yet what is to be served, or that is damaged.
    fn of(books: &'a Books) -> Option<Self> {
        let is_storage = |key: &PartKey| matches!(key, PartKey::Storage(_));
        let wanted = &books.wanted;
        if wanted.damaged.iter().any(is_storage) {
            return None;
        }
        match wanted.storage.as_deref() {
            Some(part) => Some(Self {
                part: Some(part),
                names_all: wanted.parts.iter().any(|part| is_storage(&part.key)),
            }),
            None => wanted.names_everyone().then_some(Self { part: None, names_all: true }),
        }
    }

    fn pools(&self) -> impl Iterator<Item = &'a PoolPart> {
        self.part.into_iter().flat_map(|part| &part.pools)
    }

    fn exports(&self) -> impl Iterator<Item = &'a WantedExport> {
        self.part.into_iter().flat_map(|part| &part.exports)
    }

    fn wanted(&self, export: &'a WantedExport) -> Option<Wanted<'a>> {
        let volume = self.part?.volumes.iter().find(|volume| volume.id == export.volume_id)?;
        let pool = self.pools().find(|pool| pool.id == volume.pool_id)?;
        let file = Volume::file_in(pool.path.as_ref(), volume.id);
        let is_made = matches!(volume.wanted, VolumePart::Present { made: true, .. });
        Some(Wanted { export, by: By::of(pool), file, is_made })
    }

    /// Those of one server.
    fn by(&self, by: By) -> impl Iterator<Item = Wanted<'a>> {
        self.exports().filter_map(move |export| self.wanted(export).filter(|wanted| wanted.by == by))
    }

    fn open(&self, by: By) -> usize {
        self.by(by).filter(Wanted::is_open).count()
    }

    fn named(&self, id: ExportId) -> Option<&'a WantedExport> {
        self.exports().find(|export| export.id == id)
    }

    /// What a server has, and what it should have.
    fn compare(&self, by: By, found: &[Found], cure: impl Fn(&Found) -> String) -> Vec<Finding> {
        let mut findings = Vec::new();
        for one in found {
            let export = one.id.and_then(|id| self.named(id));
            findings.extend(match export.map(|export| (export, self.wanted(export))) {
                None => self.names_all.then(|| stranger(by, one, &cure(one))),
                Some((_, Some(wanted))) => wanted.judge(by, one),
                // Its pool is not named any more.
                Some((export, None)) => (export.wanted == ExportPart::Absent).then(|| leaves(export, one)),
            });
        }
        let have: BTreeSet<ExportId> = found.iter().filter_map(|one| one.id).collect();
        let missing = self.by(by).filter(|wanted| wanted.is_open() && !have.contains(&wanted.export.id));
        findings.extend(missing.map(|wanted| {
            let what = format!("should be open, and {} does not have it", by.name());
            failure(Subject::Exports, wanted.object(), what, WAIT)
        }));
        findings
    }
}

impl Wanted<'_> {
    fn is_to_go(&self) -> bool {
        self.export.wanted == ExportPart::Absent
    }

    fn is_open(&self) -> bool {
        !self.is_to_go() && self.is_made
    }

    fn object(&self) -> String {
        object(self.export)
    }

    /// What is wrong with an export that is there.
    fn judge(&self, by: By, found: &Found) -> Option<Finding> {
        let ExportPart::Open { read_only, .. } = &self.export.wanted else {
            return Some(leaves(self.export, found));
        };
        let wrong = |what: String, cure| Some(failure(Subject::Exports, self.object(), what, cure));
        let access = if *read_only { Access::ReadOnly } else { Access::ReadWrite };
        if by != self.by {
            return wrong(format!("{} has it, and {} should", by.name(), self.by.name()), ANEW);
        }
        if let Some(path) = found.path.as_ref().filter(|path| **path != self.file) {
            return wrong(format!("serves {}, and not {}", shown(path), shown(&self.file)), ANEW);
        }
        if !found.others.is_empty() {
            return wrong(
                format!("is not its guest's host's alone: it lets in {}", plain(&found.others.join(", "))),
                ANEW,
            );
        }
        if !found.open {
            return wrong(format!("should be open, and {} lets nobody in by it", by.name()), WAIT);
        }
        if found.access != access {
            return wrong(format!("is open {}, and should be {}", words(found.access), words(access)), ANEW);
        }
        None
    }
}

fn object(export: &WantedExport) -> String {
    format!("{} of {}", export.id, export.volume_id)
}

/// One that is to go and that the server still has.
fn leaves(export: &WantedExport, found: &Found) -> Finding {
    let object = object(export);
    match (found.connections.is_empty(), found.open) {
        (false, _) => {
            let what = format!("is to go, and is still connected to: {}", peers(&found.connections));
            warning(Subject::Exports, object, what, LET_GO)
        }
        (true, true) => failure(Subject::Exports, object, "is to go, and is still open", WAIT),
        (true, false) => warning(Subject::Exports, object, "is to go; it is shut, and still there", WAIT),
    }
}

fn stranger(by: By, found: &Found, cure: &str) -> Finding {
    let object = found.id.map_or_else(|| plain(&found.name), |id| id.to_string());
    let file = found.path.as_ref().map_or_else(|| "no file".to_owned(), |path| shown(path));
    let connected = match found.connections.is_empty() {
        true => String::new(),
        false => format!("; connected: {}", peers(&found.connections)),
    };
    let what = format!(
        "{} serves it, and the control plane does not name it: {file}, {}{connected}",
        by.name(),
        words(found.access)
    );
    failure(Subject::Exports, object, what, cure)
}

/// A server that does not run, where it should.
fn away(name: &str, open: usize, log: &Path) -> Vec<Finding> {
    let what = format!("it does not run, and {open} exports of it should be open");
    let cure = format!("start the agent, which starts it; if it runs, see its log, and {}", log.display());
    if open > 0 { vec![failure(Subject::Exports, name, what, &cure)] } else { Vec::new() }
}

async fn tgt(settings: &iscsi::Settings, exports: &Exports<'_>) -> Vec<Finding> {
    let tgt = Tgt::new(settings.clone());
    let wrong = |what: String, cure: &str| vec![failure(Subject::Exports, "tgtd", what, cure)];
    let found = match tgt.list().await {
        Ok(found) => found,
        Err(error) if error.is_absence() => {
            let (open, portal) = (exports.open(By::Tgt), settings.portal);
            if exports.pools().any(|pool| By::of(pool) == By::Tgt) && tgt.serves().await {
                let what =
                    format!("it cannot be ruled, and somebody serves at {portal}: {}", crate::chain(&error));
                let cure = "end the process that `ss --listening --tcp --processes` names there; the agent starts tgtd anew, and guests go on";
                return wrong(what, cure);
            }
            return away("tgtd", open, &settings.log());
        }
        Err(error) => return wrong(crate::chain(&error), ROOT),
    };
    let admin = settings.admin();
    let cure = |_: &Found| {
        format!(
            "if nobody needs it: `{admin} --mode target --op show` has its number, `{admin} --mode target --op delete --force --tid NUMBER` ends it"
        )
    };
    let mut findings = exports.compare(By::Tgt, &found, cure);
    match tgt.stray_accounts().await {
        Ok(accounts) => {
            let is_named = |account: &String| account.parse().is_ok_and(|id| exports.named(id).is_some());
            let strays = accounts.into_iter().filter(|account| exports.names_all && !is_named(account));
            findings.extend(strays.map(|account| {
                let account = plain(&account);
                let cure =
                    format!("if nobody needs it: {admin} --mode account --op delete --user '{account}'");
                let what = "tgtd has this account, which is bound to no target of Tepui's";
                warning(Subject::Exports, account, what, &cure)
            }));
        }
        Err(error) => findings.extend(wrong(crate::chain(&error), ROOT)),
    }
    match tgt.other_portals().await {
        Ok(None) => {}
        Ok(Some(portals)) => {
            let what = format!("it serves at {}, and not at {} alone", plain(&portals), settings.portal);
            let cure = "end what else listens there, then tgtd (it takes no other signal than KILL); the agent starts it anew, and guests go on";
            findings.extend(wrong(what, cure));
        }
        Err(error) => findings.extend(wrong(crate::chain(&error), ROOT)),
    }
    findings
}

async fn ganesha(settings: &nfs::Settings, exports: &Exports<'_>) -> Vec<Finding> {
    let ganesha = Ganesha::new(settings.clone());
    let open = exports.open(By::Ganesha);
    let wrong = |what: String, cure: &str| vec![failure(Subject::Exports, "ganesha", what, cure)];
    let found = match ganesha.list().await {
        Ok(found) => found,
        Err(error) if error.is_absence() => {
            return away("ganesha", open, &settings.log());
        }
        Err(error) => return wrong(crate::chain(&error), ROOT),
    };
    let cure = |found: &Found| match found.id {
        Some(_) => format!(
            "if nobody needs it: stop the agent, take it out of {}, end ganesha.nfsd, start the agent",
            settings.state_dir.join("exports.json").display()
        ),
        None => "restart the agent, which writes ganesha's configuration anew".to_owned(),
    };
    let mut findings = exports.compare(By::Ganesha, &found, cure);
    if open > 0 {
        match ganesha.is_found().await {
            Ok(true) => {}
            Ok(false) => {
                let what =
                    format!("it runs, and clients do not find it by the port mapper at {}", settings.address);
                findings.extend(wrong(
                    what,
                    "wait for the agent, which starts it anew; if it stays: is rpcbind another one by now?",
                ));
            }
            Err(error) => findings.extend(wrong(crate::chain(&error), ROOT)),
        }
    }
    findings
}

/// The local backend knows nothing; who has a file open is seen all the same.
async fn local(exports: &Exports<'_>) -> Vec<Finding> {
    let local = Local::default();
    let is_read =
        |volume| exports.exports().any(|one| one.volume_id == volume && one.wanted != ExportPart::Absent);
    for wanted in
        exports.by(By::Local).filter(|wanted| wanted.is_to_go() && !is_read(wanted.export.volume_id))
    {
        local.take_over(wanted.export.id, wanted.file).await;
    }
    match local.list().await {
        Ok(found) => {
            let held = found.iter().filter(|one| !one.connections.is_empty());
            held.filter_map(|one| Some(leaves(exports.named(one.id?)?, one))).collect()
        }
        Err(error) => vec![failure(Subject::Exports, "local volumes", crate::chain(&error), ROOT)],
    }
}

/// Who has a file of a filer is told by the file.
async fn on_filers(exports: &Exports<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for wanted in exports.by(By::Filer) {
        let (id, volume, file) = (wanted.export.id, wanted.export.volume_id, wanted.file.clone());
        let (told, answer) = oneshot::channel();
        // The end of this process waits for no thread of its own, and so for no filer that is away.
        std::thread::spawn(move || {
            // Nobody listens any more.
            let _ = told.send(filer::look(id, volume, &file));
        });
        let wrong = |what: String| {
            failure(
                Subject::Exports,
                wanted.object(),
                what,
                "mend the filer or its mount; its guests wait for it",
            )
        };
        match timeout(ANSWER, answer).await {
            Ok(Ok(Ok(found))) if wanted.is_open() => findings.extend(wanted.judge(By::Filer, &found)),
            // What its readers had is shared by all of them, and the last one takes it along.
            Ok(Ok(Ok(found))) if wanted.is_to_go() && found.open && found.access == Access::ReadWrite => {
                findings.push(leaves(wanted.export, &found));
            }
            Ok(Ok(Ok(_))) => {}
            Ok(Ok(Err(error))) if wanted.is_open() => {
                findings.push(wrong(format!("{}: {error}", shown(&wanted.file))))
            }
            Ok(Ok(Err(_))) => {}
            Ok(Err(_)) | Err(_) => {
                let what = format!("{} gives no answer within {} s", shown(&wanted.file), ANSWER.as_secs());
                findings.push(wrong(what));
                break;
            }
        }
    }
    findings
}

/// What is served by this host's servers. Nothing is said of it before the control plane has said what is to be.
pub(super) async fn findings(books: &Books, witnesses: Witnesses<'_>) -> Vec<Finding> {
    let (Some(servers), Some(exports)) = (witnesses.servers, Exports::of(books)) else { return Vec::new() };
    let mut findings = tgt(&servers.iscsi, &exports).await;
    findings.extend(ganesha(&servers.nfs, &exports).await);
    findings.extend(local(&exports).await);
    if witnesses.filers {
        findings.extend(on_filers(&exports).await);
    }
    findings
}

/// So many exports are to be open.
pub(super) fn count(books: &Books) -> usize {
    let part = books.wanted.storage.iter();
    part.flat_map(|part| &part.exports).filter(|export| export.wanted != ExportPart::Absent).count()
}

fn words(access: Access) -> &'static str {
    match access {
        Access::ReadOnly => "read-only",
        Access::ReadWrite => "read-write",
    }
}

fn peers(connections: &[Connection]) -> String {
    let peer = |one: &Connection| match one.address {
        Some(address) => format!("{} at {address}", plain(&one.peer)),
        None => plain(&one.peer),
    };
    connections.iter().map(peer).collect::<Vec<_>>().join(", ")
}

fn shown(path: &Path) -> String {
    plain(&path.display().to_string())
}

/// Without what a terminal would obey.
fn plain(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).collect()
}

#[cfg(test)]
mod tests;
