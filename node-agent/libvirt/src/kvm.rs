//! Runs a tiny guest on KVM and takes its time.
//!
//! Where KVM is itself emulated, a guest may run a thousand times too slow or not return at all, and
//! a thread inside `KVM_RUN` cannot be stopped from within its process. So the guest runs in a child
//! process that is killed when its time is up.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// How long the guest may take before the child is killed.
const LIMIT: Duration = Duration::from_millis(500);

/// Two instructions each. They take well under a millisecond on hardware.
pub(crate) const ITERATIONS: u32 = 100_000;

/// Runs a guest loop of [`ITERATIONS`] turns; how long it ran, or why it did not.
pub(crate) fn time_guest_loop() -> Result<Duration, String> {
    let (answer, to_parent) = pipe().map_err(|error| format!("pipe: {error}"))?;
    // SAFETY: the child calls only async-signal-safe functions (system calls on memory that exists
    // before the fork) and leaves by _exit, as fork in a process with threads demands.
    let child = unsafe { libc::fork() };
    match child {
        -1 => Err(format!("fork: {}", io::Error::last_os_error())),
        0 => child_main(to_parent.as_raw_fd()),
        child => {
            drop(to_parent);
            let outcome = await_answer(answer);
            end(child);
            outcome
        }
    }
}

/// Writes the nanoseconds the guest took, or nothing if it could not run.
fn child_main(to_parent: RawFd) -> ! {
    let nanoseconds = run_guest().map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    let bytes = nanoseconds.to_ne_bytes();
    // SAFETY: the buffer is valid for its length; _exit takes the whole process.
    unsafe {
        if nanoseconds > 0 {
            libc::write(to_parent, bytes.as_ptr().cast(), bytes.len());
        }
        libc::_exit(0)
    }
}

fn await_answer(answer: OwnedFd) -> Result<Duration, String> {
    let mut wait = libc::pollfd { fd: answer.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let limit = i32::try_from(LIMIT.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: one valid pollfd.
    if unsafe { libc::poll(&raw mut wait, 1, limit) } != 1 {
        return Err(format!("a guest of {ITERATIONS} loop turns did not end within {LIMIT:?}"));
    }
    let mut bytes = [0; 8];
    let read = File::from(answer).read_exact(&mut bytes);
    read.map(|()| Duration::from_nanos(u64::from_ne_bytes(bytes)))
        .map_err(|_| "/dev/kvm is missing or ran no guest".into())
}

fn end(child: libc::pid_t) {
    // SAFETY: the child is ours and not waited for yet, so the id cannot be another process's.
    unsafe { libc::kill(child, libc::SIGKILL) };
    // A child that hangs in the kernel dies when the kernel lets it go; nobody waits for that.
    for _ in 0..LIMIT.as_millis() {
        // SAFETY: as above; no status is asked for.
        if unsafe { libc::waitpid(child, std::ptr::null_mut(), libc::WNOHANG) } != 0 {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0; 2];
    // SAFETY: the array has room for two descriptors, which nobody else owns afterwards.
    unsafe {
        if libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok((OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])))
    }
}

// linux/kvm.h
const KVM_CREATE_VM: libc::Ioctl = 0xae01;
const KVM_GET_VCPU_MMAP_SIZE: libc::Ioctl = 0xae04;
const KVM_CREATE_VCPU: libc::Ioctl = 0xae41;
const KVM_SET_USER_MEMORY_REGION: libc::Ioctl = 0x4020_ae46;
const KVM_RUN: libc::Ioctl = 0xae80;
const KVM_SET_REGS: libc::Ioctl = 0x4090_ae82;
const KVM_GET_SREGS: libc::Ioctl = 0x8138_ae83u32 as libc::Ioctl;
const KVM_SET_SREGS: libc::Ioctl = 0x4138_ae84;
const KVM_EXIT_HLT: u32 = 5;
/// Where `exit_reason` lies in `struct kvm_run`.
const EXIT_REASON_AT: usize = 8;

const PAGE: usize = 4096;
const LOAD_AT: u64 = 0x1000;
/// 16-bit code: `mov ecx, ITERATIONS; again: dec ecx; jnz again; hlt`.
const CODE: [u8; 11] = {
    let n = ITERATIONS.to_le_bytes();
    [0x66, 0xb9, n[0], n[1], n[2], n[3], 0x66, 0x49, 0x75, 0xfc, 0xf4]
};

/// `struct kvm_userspace_memory_region`.
#[repr(C)]
struct MemoryRegion {
    slot: u32,
    flags: u32,
    guest_physical: u64,
    size: u64,
    user_address: u64,
}

/// `struct kvm_regs`: sixteen general registers, rip, rflags.
#[repr(C)]
struct Registers {
    general: [u64; 16],
    rip: u64,
    rflags: u64,
}

/// `struct kvm_sregs`; only its beginning, the code segment, is changed.
#[repr(C)]
struct SystemRegisters {
    code_base: u64,
    code_limit: u32,
    code_selector: u16,
    rest: [u8; 298],
}

/// Runs in the child; its descriptors and mappings end with it.
fn run_guest() -> Option<Duration> {
    // SAFETY: the path ends with NUL.
    let kvm = valid(unsafe { libc::open(c"/dev/kvm".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC) })?;
    let vm = number(kvm, KVM_CREATE_VM)?;
    let memory = map(-1, PAGE)?;
    // SAFETY: the mapping is one page and the code is shorter.
    unsafe { memory.copy_from_nonoverlapping(CODE.as_ptr(), CODE.len()) };
    let mut region = MemoryRegion {
        slot: 0,
        flags: 0,
        guest_physical: LOAD_AT,
        size: PAGE as u64,
        user_address: memory as u64,
    };
    structure(vm, KVM_SET_USER_MEMORY_REGION, &mut region)?;
    let vcpu = number(vm, KVM_CREATE_VCPU)?;
    let run = map(vcpu, usize::try_from(number(kvm, KVM_GET_VCPU_MMAP_SIZE)?).ok()?)?;
    set_registers(vcpu)?;
    let before = monotonic()?;
    number(vcpu, KVM_RUN)?;
    let took = monotonic()?.checked_sub(before)?;
    // SAFETY: the mapping holds a struct kvm_run, in which this is an aligned u32.
    let exit_reason = unsafe { run.add(EXIT_REASON_AT).cast::<u32>().read_volatile() };
    (exit_reason == KVM_EXIT_HLT).then_some(took)
}

fn set_registers(vcpu: RawFd) -> Option<()> {
    let mut system = SystemRegisters { code_base: 0, code_limit: 0, code_selector: 0, rest: [0; 298] };
    structure(vcpu, KVM_GET_SREGS, &mut system)?;
    system.code_base = 0;
    system.code_selector = 0;
    structure(vcpu, KVM_SET_SREGS, &mut system)?;
    // Bit 1 of rflags is always set.
    let mut registers = Registers { general: [0; 16], rip: LOAD_AT, rflags: 2 };
    structure(vcpu, KVM_SET_REGS, &mut registers)
}

fn valid(result: libc::c_int) -> Option<libc::c_int> {
    (result >= 0).then_some(result)
}

fn number(fd: RawFd, request: libc::Ioctl) -> Option<libc::c_int> {
    // SAFETY: the requests given here take a number, and zero is right for each.
    valid(unsafe { libc::ioctl(fd, request, 0) })
}

fn structure<T>(fd: RawFd, request: libc::Ioctl, argument: &mut T) -> Option<()> {
    // SAFETY: each request is given the structure whose size its number carries.
    valid(unsafe { libc::ioctl(fd, request, std::ptr::from_mut(argument)) }).map(drop)
}

fn map(fd: RawFd, bytes: usize) -> Option<*mut u8> {
    let flags = libc::MAP_SHARED | if fd < 0 { libc::MAP_ANONYMOUS } else { 0 };
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping that touches no memory in use.
    let address = unsafe { libc::mmap(std::ptr::null_mut(), bytes, access, flags, fd, 0) };
    (address != libc::MAP_FAILED).then_some(address.cast())
}

fn monotonic() -> Option<Duration> {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a valid timespec.
    valid(unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) })?;
    Some(Duration::new(u64::try_from(now.tv_sec).ok()?, u32::try_from(now.tv_nsec).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_have_the_size_that_their_requests_carry() {
        let carried = |request: libc::Ioctl| (request >> 16) as usize & 0x3fff;
        assert_eq!(carried(KVM_SET_USER_MEMORY_REGION), size_of::<MemoryRegion>());
        assert_eq!(carried(KVM_SET_REGS), size_of::<Registers>());
        assert_eq!(carried(KVM_GET_SREGS), size_of::<SystemRegisters>());
        assert_eq!(carried(KVM_SET_SREGS), size_of::<SystemRegisters>());
    }

    #[test]
    fn the_loop_ends_or_is_ended_within_its_limit() {
        let start = std::time::Instant::now();
        let _ = time_guest_loop();
        assert!(start.elapsed() < LIMIT * 4, "{:?}", start.elapsed());
    }
}
