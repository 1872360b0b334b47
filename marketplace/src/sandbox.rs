//! Runs `qemu-img convert` where a hostile image can reach nothing: own uid, Landlock, empty network
//! and process namespaces, resource limits.
//!
//! ```text
//!   supervisor (root, waits) ──▶ process 1 of a new namespace: confines itself, becomes qemu-img
//! ```
//! When process 1 ends, the kernel ends whatever it left behind before the supervisor hears of it: a
//! process that outlived the conversion could write into the image after its digest was taken.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, RulesetStatus,
};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};

/// `nobody` of every Debian: owns no file and runs no daemon that an escaped process could attack.
pub const SANDBOX_UID: u32 = 65534;
/// qemu-img needs 150 MiB for 2 MiB clusters; Nova's limit for the same purpose is 1 GiB.
const MAX_ADDRESS_SPACE: u64 = 2 << 30;
/// Enough to inflate the largest image the store takes; a loop in a parser ends here.
const MAX_CPU_SECONDS: u64 = 1800;
const MAX_OPEN_FILES: u64 = 64;
/// The newest Landlock version whose rights are handled where the kernel has them.
const LANDLOCK_ABI: ABI = ABI::V5;
/// Libraries, block-driver modules and what the loader reads.
const READABLE: &[&str] = &["/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/dev/urandom", "/dev/null"];

/// Why the sandbox could not be entered. Then qemu-img does not run.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// A file could not be opened.
    #[error("cannot open {path}")]
    Open {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A limit, namespace or identity was refused.
    #[error("cannot {step}")]
    Confine {
        /// What was to be done.
        step: &'static str,
        /// Why.
        source: nix::Error,
    },
    /// The kernel has no Landlock.
    #[error("the kernel does not enforce Landlock; enable it (lsm=landlock,…) to import images")]
    NoLandlock,
    /// Landlock refused a rule.
    #[error("cannot set up Landlock")]
    Landlock(#[from] RulesetError),
    /// qemu-img could not be executed.
    #[error("cannot execute qemu-img (Debian package qemu-utils)")]
    Exec(#[source] io::Error),
    /// The process of the new namespace could not be started.
    #[error("cannot start the confined process")]
    Start(#[source] io::Error),
}

/// Runs `confined`, which must call [`exec_convert`], as process 1 of a namespace of its own, and waits
/// until it and everything it started is dead.
///
/// # Errors
/// When the namespace or the process could not be made.
pub fn supervise(confined: &mut Command) -> Result<ExitStatus, SandboxError> {
    step("make a process namespace", unshare(CloneFlags::CLONE_NEWPID))?;
    confined.status().map_err(SandboxError::Start)
}

/// Confines this process and becomes qemu-img, converting the qcow2 file `source` into the existing
/// raw file `target` of `virtual_bytes`. Returns only on failure.
///
/// Both files must belong to [`SANDBOX_UID`]; they are handed over as descriptors, so their folders
/// may stay closed to it.
pub fn exec_convert(source: &Path, target: &Path, virtual_bytes: u64) -> SandboxError {
    match confine(source, target, virtual_bytes) {
        Ok((source, target)) => SandboxError::Exec(qemu_img(&source, &target).exec()),
        Err(error) => error,
    }
}

fn confine(source: &Path, target: &Path, virtual_bytes: u64) -> Result<(File, File), SandboxError> {
    let source = open(source, OpenOptions::new().read(true))?;
    let target = open(target, OpenOptions::new().read(true).write(true))?;
    step("enter an empty network namespace", unshare(CloneFlags::CLONE_NEWNET))?;
    for (resource, limit) in [
        (Resource::RLIMIT_AS, MAX_ADDRESS_SPACE),
        (Resource::RLIMIT_CPU, MAX_CPU_SECONDS),
        (Resource::RLIMIT_FSIZE, virtual_bytes),
        (Resource::RLIMIT_NOFILE, MAX_OPEN_FILES),
        (Resource::RLIMIT_CORE, 0),
    ] {
        step("set resource limits", setrlimit(resource, limit, limit))?;
    }
    restrict_files(&source, &target)?;
    step("drop groups", setgroups(&[]))?;
    let gid = Gid::from_raw(SANDBOX_UID);
    step("drop the group", setresgid(gid, gid, gid))?;
    let uid = Uid::from_raw(SANDBOX_UID);
    step("drop the user", setresuid(uid, uid, uid))?;
    // After the last change of identity, which would clear it: nobody else ends us with the supervisor.
    step("follow the supervisor", set_pdeathsig(Signal::SIGKILL))?;
    for file in [&source, &target] {
        step("pass the files on", fcntl(file.as_fd(), FcntlArg::F_SETFD(FdFlag::empty())).map(drop))?;
    }
    Ok((source, target))
}

fn restrict_files(source: &File, target: &File) -> Result<(), SandboxError> {
    let read = AccessFs::from_read(LANDLOCK_ABI);
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(LANDLOCK_ABI))?
        .handle_access(AccessNet::from_all(LANDLOCK_ABI))?
        .create()?
        .add_rule(PathBeneath::new(source, AccessFs::ReadFile))?
        .add_rule(PathBeneath::new(target, AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::Truncate))?;
    for path in READABLE.iter().filter(|path| Path::new(path).exists()) {
        let open = || PathFd::new(path).map_err(|error| io::Error::other(error.to_string()));
        let fd = open().map_err(|source| SandboxError::Open { path: path.into(), source })?;
        let access = if Path::new(path).is_dir() { read } else { AccessFs::ReadFile.into() };
        rules = rules.add_rule(PathBeneath::new(fd, access))?;
    }
    match rules.restrict_self()?.ruleset {
        RulesetStatus::NotEnforced => Err(SandboxError::NoLandlock),
        RulesetStatus::PartiallyEnforced | RulesetStatus::FullyEnforced => Ok(()),
    }
}

/// Formats are always explicit: nothing here ever probes one.
fn qemu_img(source: &File, target: &File) -> Command {
    let mut command = Command::new("/usr/bin/qemu-img");
    command.env_clear().args(["convert", "-f", "qcow2", "-O", "raw", "-n", "--target-is-zero", "--"]);
    for file in [source, target] {
        command.arg(format!("/proc/self/fd/{}", file.as_raw_fd()));
    }
    command
}

fn open(path: &Path, options: &OpenOptions) -> Result<File, SandboxError> {
    options.open(path).map_err(|source| SandboxError::Open { path: path.into(), source })
}

fn step(step: &'static str, result: nix::Result<()>) -> Result<(), SandboxError> {
    result.map_err(|source| SandboxError::Confine { step, source })
}
