//! iSCSI by tgt: one target for each export.
//!
//! ```text
//!   enlarge: shut ─ close… ─ unit, then as for a half-made one
//!   ensure: target ─ unit ─ parameters ─ account ─ bind ─ admit          revoke: shut ─ close… ─ target ─ account
//!                                                    └ from here on open          └ from here on shut
//! ```
//! The order is what keeps a target safe that is half made or half revoked. tgt lets an initiator in by its name
//! **or** its address, so that none is admitted by address; it asks for no secret where no account is bound, so that
//! the initiator is admitted last and shut out first; and it lets a login that has passed its checks become a session
//! of whatever target has the number by then, so that a target's number comes from its name and is never another's.
//! A target can be removed only when it has no session, and a session lasts as long as a write of it is under way:
//! when tgtd has removed the target, nothing of that export can land any more.
//!
//! A write is answered once it is on the disk: an initiator repeats only what was not answered, so that after a power
//! cut the guest's next flush would cover bytes that are nowhere.

mod control;
mod daemon;
mod look;
mod names;
mod protocol;
mod show;

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use secrecy::ExposeSecret as _;
use tepui_types::agent::{iscsi_account, iscsi_initiator};
use tepui_types::{ExportId, failpoint};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

pub use control::TgtError;
use control::{Control, State};
use daemon::Daemon;
pub use daemon::Settings;
use look::{connection, found};
use names::{serial, target_name, target_number};
pub use protocol::Code;
use show::{Target, Unit};

use crate::export::refuse_second;
use crate::{Access, Backend, Connection, Export, ExportError, Found, Revoked, Source};

/// The port that initiators take where none is named (RFC 7143, 13.2.1).
pub const PORT: u16 = 3260;
/// The logical unit of the volume; 0 is tgtd's own.
const UNIT: u64 = 1;
/// Between two looks at connections that are told to close.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// How long an export that is to be enlarged waits for its connection to end; the next call goes on.
const PATIENCE: Duration = Duration::from_secs(2);

/// The fail points of each operation, as `storage::OPERATION::STEP`; each stands behind the step it names.
pub const STEPS: &[(&str, &[&str])] = &[
    ("export", &["target", "unit", "parameters", "account", "bind", "admit"]),
    ("enlarge", &["shut", "unit"]),
    ("revoke", &["shut", "target", "account"]),
];

/// The backend.
#[derive(Debug)]
pub struct Tgt {
    daemon: Daemon,
    /// One change at a time: what is found must hold until it is changed.
    gate: Mutex<()>,
}

impl Tgt {
    /// A backend on the tgtd of `settings`, which is not started before [`Backend::recover`].
    pub fn new(settings: Settings) -> Self {
        Self { daemon: Daemon::new(settings), gate: Mutex::default() }
    }

    /// Returns once tgtd has ended; its targets are gone with it, and [`Backend::recover`] is due.
    ///
    /// # Errors
    /// The process cannot be watched.
    pub async fn ended(&self) -> Result<(), TgtError> {
        self.daemon.ended().await
    }

    /// Ends tgtd and everything it serves, as when a host leaves the cloud.
    ///
    /// # Errors
    /// The process does not end.
    pub async fn end(&self) -> Result<(), TgtError> {
        let _gate = self.gate.lock().await;
        self.daemon.end().await
    }

    fn control(&self) -> &Control {
        self.daemon.control()
    }

    /// What a compute host needs to open an export, whether it is open yet or not.
    pub fn source(&self, id: ExportId) -> Source {
        Source::Iscsi {
            portal: self.daemon.portal(),
            target: target_name(id),
            lun: UNIT,
            account: iscsi_account(id),
            initiator: iscsi_initiator(id),
        }
    }
}

#[async_trait]
impl Backend for Tgt {
    async fn recover(&self, exports: &[Export]) -> Result<Vec<(ExportId, ExportError)>, ExportError> {
        let _gate = self.gate.lock().await;
        self.daemon.ensure().await?;
        let mut host = Inventory::of(self.control()).await?;
        let mut failed = Vec::new();
        for export in exports {
            failed.extend(host.open(export).await.err().map(|error| (export.id, error)));
        }
        self.control().set_state(State::Ready).await?;
        Ok(failed)
    }

    async fn ensure(&self, export: &Export) -> Result<Source, ExportError> {
        let _gate = self.gate.lock().await;
        Inventory::of(self.control()).await?.open(export).await?;
        Ok(self.source(export.id))
    }

    /// With one look at tgtd, which takes as long as it has targets.
    async fn ensure_all(&self, exports: &[Export]) -> Result<Vec<Result<Source, ExportError>>, ExportError> {
        let _gate = self.gate.lock().await;
        // A log that cannot be shortened keeps nobody from a volume; the next call tries again.
        self.daemon.trim_log().ok();
        let mut host = Inventory::of(self.control()).await?;
        let mut opened = Vec::new();
        for export in exports {
            opened.push(host.open(export).await.map(|()| self.source(export.id)));
        }
        Ok(opened)
    }

    async fn revoke(&self, id: ExportId, patience: Duration) -> Result<Revoked, ExportError> {
        let closed = self.close(id, Instant::now() + patience).await;
        self.gone_with_tgtd(closed).await
    }

    async fn list(&self) -> Result<Vec<Found>, ExportError> {
        Ok(self.control().targets().await?.iter().map(found).collect())
    }
}

/// Revoking.
impl Tgt {
    /// As [`Backend::revoke`], but it closes no connection and does not wait: who is there may go by itself.
    ///
    /// # Errors
    /// Those of [`Backend::revoke`].
    pub async fn see_off(&self, id: ExportId) -> Result<Revoked, ExportError> {
        let seen_off = self.remove_unused(id).await;
        self.gone_with_tgtd(seen_off).await
    }

    /// Whoever removed the socket of a tgtd that runs did not end its connections.
    async fn gone_with_tgtd(&self, revoked: Result<Revoked, ExportError>) -> Result<Revoked, ExportError> {
        match revoked {
            Err(ExportError::Tgt(error)) if error.is_absence() && !self.daemon.serves().await => {
                Ok(Revoked::Gone)
            }
            other => other,
        }
    }

    async fn remove_unused(&self, id: ExportId) -> Result<Revoked, ExportError> {
        self.shut(id).await?;
        let _gate = self.gate.lock().await;
        let number = target_number(id);
        if self.delete(number).await? {
            self.forget(id).await?;
            return Ok(Revoked::Gone);
        }
        let left = self.control().connections(number).await?;
        Ok(Revoked::StillConnected(left.iter().map(connection).collect()))
    }

    async fn close(&self, id: ExportId, deadline: Instant) -> Result<Revoked, ExportError> {
        self.shut(id).await?;
        let mut told = BTreeSet::new();
        loop {
            let left = self.part(id, &mut told).await?;
            match left {
                None => return Ok(Revoked::Gone),
                Some(connections) if Instant::now() >= deadline => {
                    return Ok(Revoked::StillConnected(connections));
                }
                // Others are served meanwhile.
                Some(_) => sleep(LOOK_AGAIN).await,
            }
        }
    }

    /// Lets nobody in any more.
    async fn shut(&self, id: ExportId) -> Result<(), ExportError> {
        let _gate = self.gate.lock().await;
        let number = target_number(id);
        let targets = self.control().targets().await?;
        let own = |target: &&Target| target.number == number;
        if !targets.iter().filter(own).any(|target| target.name == target_name(id)) {
            return match targets.iter().find(own) {
                Some(other) => Err(ExportError::Conflict { id, what: "name", found: other.name.clone() }),
                None => Ok(()),
            };
        }
        unless(self.control().shut_out(number, &iscsi_initiator(id)).await, &[Code::NO_ADMISSION])?;
        Ok(point("revoke", "shut")?)
    }

    /// Removes the target and its account, or tells those who are connected to go and returns them. `told` are the
    /// sessions that were told already.
    async fn part(
        &self,
        id: ExportId,
        told: &mut BTreeSet<u64>,
    ) -> Result<Option<Vec<Connection>>, ExportError> {
        let _gate = self.gate.lock().await;
        let (control, number) = (self.control(), target_number(id));
        if !self.delete(number).await? {
            let connections = control.connections(number).await?;
            for one in connections.iter().filter(|one| told.insert(one.number)) {
                unless(control.close(number, one).await, &[Code::NO_SESSION, Code::NO_CONNECTION])?;
            }
            return Ok(Some(connections.iter().map(connection).collect()));
        }
        self.forget(id).await?;
        Ok(None)
    }

    /// The account goes last: without it the target would ask for no secret.
    async fn forget(&self, id: ExportId) -> Result<(), ExportError> {
        point("revoke", "target")?;
        unless(self.control().delete_account(&iscsi_account(id)).await, &[Code::NO_ACCOUNT])?;
        Ok(point("revoke", "account")?)
    }

    /// Whether the target is gone.
    async fn delete(&self, number: i32) -> Result<bool, TgtError> {
        match self.control().delete_target(number).await {
            Ok(()) => Ok(true),
            Err(error) => match error.code() {
                Some(Code::NO_TARGET) => Ok(true),
                Some(Code::TARGET_ACTIVE | Code::UNIT_ACTIVE) => Ok(false),
                _ => Err(error),
            },
        }
    }
}

/// What tgtd has, kept up while exports are opened, so that a thousand of them need one look.
struct Inventory<'a> {
    control: &'a Control,
    targets: Vec<Target>,
    found: Vec<Found>,
    accounts: Vec<String>,
}

impl<'a> Inventory<'a> {
    async fn of(control: &'a Control) -> Result<Self, TgtError> {
        let (targets, accounts) = (control.targets().await?, control.accounts().await?);
        let found = targets.iter().map(found).collect();
        Ok(Self { control, targets, found, accounts })
    }

    async fn open(&mut self, export: &Export) -> Result<(), ExportError> {
        let path = check(export)?;
        refuse_second(export, &self.found)?;
        let name = target_name(export.id);
        let found = self.targets.iter().find(|target| target.name == name).cloned();
        let made = self.build(export, path, found.unwrap_or_default()).await;
        // Also a half-made one has the volume's file.
        self.found.retain(|found| found.name != name);
        self.found.push(opened(export, name, made.is_ok()));
        made
    }

    /// `target` is what was found of it, or empty.
    async fn build(&self, export: &Export, path: &str, target: Target) -> Result<(), ExportError> {
        let (control, id, number) = (self.control, export.id, target_number(export.id));
        let (account, initiator) = (iscsi_account(id), iscsi_initiator(id));
        if target.name.is_empty() {
            control.new_target(number, &target_name(id)).await.map_err(|error| taken(id, error))?;
            point("export", "target")?;
        } else if target.number != number {
            return Err(ExportError::Conflict { id, what: "number", found: target.number.to_string() });
        }
        let target = self.without_outdated(export, path, target).await?;
        self.build_unit(export, path, &target).await?;

        let is_bound = target.accounts.contains(&account);
        let is_open = is_bound && target.admitted == [initiator.as_str()];
        if is_open {
            return Ok(());
        }
        // Nobody may come in while the account is made anew.
        for other in &target.admitted {
            control.shut_out(number, other).await?;
        }
        if self.accounts.contains(&account) {
            control.delete_account(&account).await?;
        }
        control.new_account(&account, &export.credential.secret).await?;
        point("export", "account")?;
        control.bind_account(number, &account).await?;
        point("export", "bind")?;
        control.admit(number, &initiator).await?;
        Ok(point("export", "admit")?)
    }

    /// Removes a unit whose file has grown, or which does not write through to the disk, to be made anew: tgtd keeps the
    /// size and the flags with which it opened the file. It could open it anew, but that closes the file under reads
    /// and writes of its other threads, and lets a write land nowhere. So whoever is connected is sent away first, and
    /// its initiator comes again and repeats what was not answered; and tgtd removes no unit with a command under way.
    async fn without_outdated(
        &self,
        export: &Export,
        path: &str,
        mut target: Target,
    ) -> Result<Target, ExportError> {
        if !target.units.iter().any(|unit| unit.path.as_deref() == Some(path)) {
            return Ok(target);
        }
        let file = |source| ExportError::File { path: export.path.clone(), source };
        let bytes = std::fs::metadata(path).map_err(file)?.len();
        let (control, id, number) = (self.control, export.id, target_number(export.id));
        if !self.is_outdated(number, bytes) {
            return Ok(target);
        }
        for initiator in &target.admitted {
            unless(control.shut_out(number, initiator).await, &[Code::NO_ADMISSION])?;
        }
        point("enlarge", "shut")?;
        self.send_away(id).await?;
        match control.delete_unit(number, UNIT).await {
            Err(error) if error.code() == Some(Code::UNIT_ACTIVE) => {
                return Err(ExportError::Held { id, holder: "a command that is under way".into() });
            }
            other => other?,
        }
        point("enlarge", "unit")?;
        target.units.retain(|unit| unit.number != UNIT);
        target.admitted.clear();
        Ok(target)
    }

    /// Whether all that tgtd shows of a target's file is below this size, or does not write through. Who forges lines of it
    /// can add a unit and cannot take the true one away.
    fn is_outdated(&self, number: i32, bytes: u64) -> bool {
        let shown = self.targets.iter().filter(|target| target.number == number);
        let shown: Vec<_> =
            shown.flat_map(|target| &target.units).filter(|unit| unit.path.is_some()).collect();
        let is_outgrown = |unit: &&Unit| unit.megabytes < whole_megabytes(bytes);
        !shown.is_empty() && (shown.iter().all(is_outgrown) || shown.iter().all(|unit| !unit.durable))
    }

    /// Closes every connection of an export that lets nobody in, and waits until its sessions are gone.
    async fn send_away(&self, id: ExportId) -> Result<(), ExportError> {
        let (control, number) = (self.control, target_number(id));
        let (deadline, mut told) = (Instant::now() + PATIENCE, BTreeSet::new());
        loop {
            let sessions = control.connections(number).await?;
            let Some(first) = sessions.first() else { return Ok(()) };
            if Instant::now() >= deadline {
                return Err(ExportError::Held { id, holder: first.initiator.clone() });
            }
            for one in sessions.iter().filter(|one| told.insert(one.number)) {
                unless(control.close(number, one).await, &[Code::NO_SESSION, Code::NO_CONNECTION])?;
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    async fn build_unit(&self, export: &Export, path: &str, target: &Target) -> Result<(), ExportError> {
        let (control, number) = (self.control, target_number(export.id));
        let unit = target.units.iter().find(|unit| unit.number == UNIT);
        if let Some(other) = unit.and_then(|unit| unit.path.as_deref()).filter(|found| *found != path) {
            return Err(ExportError::Conflict { id: export.id, what: "file", found: other.to_owned() });
        }
        if unit.is_none() {
            control.new_unit(number, UNIT, path).await?;
            point("export", "unit")?;
        }
        let (read_only, serial) = (export.access == Access::ReadOnly, serial(export));
        if unit.is_some_and(|unit| unit.thin && unit.read_only == read_only && unit.serial == serial) {
            return Ok(());
        }
        if !target.admitted.is_empty() {
            return Err(ExportError::Conflict {
                id: export.id,
                what: "access",
                found: access(target).into(),
            });
        }
        let read_only = u8::from(read_only);
        let parameters = format!("scsi_sn={serial},thin_provisioning=1,readonly={read_only}");
        control.set_unit(number, UNIT, parameters).await?;
        Ok(point("export", "parameters")?)
    }
}

/// Two names have one number once in two thousand million; another export has another.
fn taken(id: ExportId, error: TgtError) -> ExportError {
    match error.code() {
        Some(Code::TARGET_EXISTS) => {
            ExportError::Conflict { id, what: "name for its number", found: target_number(id).to_string() }
        }
        _ => error.into(),
    }
}

/// Checks what tgtd cannot carry, and returns the path as it can.
fn check(export: &Export) -> Result<&str, ExportError> {
    let invalid = |field, rule| ExportError::Invalid { id: export.id, field, rule };
    let secret = export.credential.secret.expose_secret();
    // RFC 3720 asks for 12 bytes at least where there is no IPsec; tgtd keeps 223 (`ISCSI_NAME_LEN`).
    if !(12..=200).contains(&secret.len()) || !secret.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(invalid("secret", "must be 12 to 200 letters and digits"));
    }
    let path = export.path.to_str().filter(|path| path.starts_with('/') && path.len() < 1024);
    let path = path.filter(|path| !path.contains(|c: char| c == ',' || c.is_control()));
    path.ok_or_else(|| {
        invalid("path", "must be absolute, below 1024 bytes of UTF-8, without comma and line end")
    })
}

/// The least that tgtd shows as megabytes of a file of this size: it rounds.
fn whole_megabytes(bytes: u64) -> u64 {
    bytes / 1_000_000
}

fn opened(export: &Export, name: String, open: bool) -> Found {
    let path = Some(export.path.clone());
    let (id, access) = (Some(export.id), export.access);
    Found { name, id, path, access, open, connections: vec![], others: vec![] }
}

fn access(target: &Target) -> &'static str {
    match found(target).access {
        Access::ReadOnly => "read-only",
        Access::ReadWrite => "read-write",
    }
}

/// Takes one of `codes` for success: what was to be done is done.
fn unless(result: Result<(), TgtError>, codes: &[Code]) -> Result<(), TgtError> {
    match result {
        Err(error) if error.code().is_some_and(|code| codes.contains(&code)) => Ok(()),
        other => other,
    }
}

fn point(operation: &str, step: &str) -> Result<(), failpoint::Tripped> {
    failpoint::hit(&format!("storage::{operation}::{step}"))
}
