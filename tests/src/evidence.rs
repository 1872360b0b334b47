//! What is kept of a test that failed: the end of each log, and whether QEMU's emulation alone explains it.
//!
//! Emulated guests of two vCPUs stop now and then for good, at any moment and with nothing of ours to blame: a plain QEMU of
//! the same devices does so too. The APIC of a vCPU has an interrupt in service, and the vCPU is halted, so that nobody
//! will ever end it. Such a failure is written down, and `nextest` begins the test anew; any other failure is final.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::boot::broken;
use crate::{Cloud, Host, Hypervisor};

/// Between two looks at a guest: no interrupt is in service so long.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

impl Cloud {
    /// Lets a second attempt of a test go on only where the first one failed by QEMU's fault.
    ///
    /// # Panics
    /// Where it did not.
    #[track_caller]
    pub(crate) fn allow_attempt() {
        let is_first = std::env::var("NEXTEST_ATTEMPT").is_ok_and(|number| number == "1");
        let Some(mark) = mark().filter(|_| !is_first) else { return };
        assert!(
            std::fs::remove_file(mark).is_ok(),
            "the first attempt failed, and not by an emulation that broke"
        );
    }

    /// Tells of a test that failed, for whoever reads it.
    pub(crate) fn keep_evidence(&self) {
        let output = Command::new("sh")
            .arg("-c")
            .arg("find . -name '*.log' -size +0 | while read f; do echo \"== $f\"; tail -n 40 \"$f\"; done")
            .current_dir(self.cloud_folder())
            .output();
        if let Ok(output) = output {
            eprintln!("{}", String::from_utf8_lossy(&output.stdout));
        }
        let mut broke = self.lost_interrupts();
        if broken(&self.cloud_folder()) > 0 {
            broke.push("QEMU ended by an assertion of its own".to_owned());
        }
        broke.iter().for_each(|one| eprintln!("{one}"));
        if let Some(mark) = mark().filter(|_| !broke.is_empty()) {
            std::fs::write(mark, broke.join("\n")).ok();
        }
    }

    /// The running guests with a vCPU that waits for an interrupt which it has.
    fn lost_interrupts(&self) -> Vec<String> {
        if self.hypervisor() != Hypervisor::Libvirt {
            return Vec::new();
        }
        let is_there = |number: &u16| self.cloud_folder().join(format!("n{number}/node.toml")).exists();
        let hosts: Vec<Host> = (1..=self.nodes()).filter(is_there).map(|number| self.host(number)).collect();
        let look = || hosts.iter().flat_map(Host::halted_in_service).collect::<Vec<_>>();
        let before = look();
        if before.is_empty() {
            return before;
        }
        std::thread::sleep(LOOK_AGAIN);
        look().into_iter().filter(|one| before.contains(one)).collect()
    }
}

impl Host {
    /// The vCPUs of its guests that are halted, would take an interrupt, and have one in service.
    fn halted_in_service(&self) -> Vec<String> {
        let names = self.ask_virsh(&["list", "--name"]);
        let of = |guest: &str| {
            let ask = |question: &str| self.ask_virsh(&["qemu-monitor-command", guest, "--hmp", question]);
            let registers = ask("info registers -a");
            let cpus = registers.split("CPU#").skip(1).enumerate().filter(|(_, cpu)| is_waiting(cpu));
            let serviced = cpus.filter_map(|(number, _)| {
                let apic = ask(&format!("info lapic {number}"));
                in_service(&apic).map(|vectors| {
                    format!("vCPU {number} of {guest} is halted while its APIC has interrupts in service: {vectors}")
                })
            });
            serviced.collect::<Vec<_>>()
        };
        names.split_whitespace().flat_map(of).collect()
    }

    /// What `virsh` says, or nothing where libvirtd is away.
    fn ask_virsh(&self, arguments: &[&str]) -> String {
        let told = self.run("timeout", &[&["10", "virsh", "-c", "qemu:///system"], arguments].concat());
        if told.code == Some(0) { told.stdout } else { String::new() }
    }
}

/// Whether the registers are of a vCPU that is halted with interrupts enabled.
fn is_waiting(registers: &str) -> bool {
    let flags = registers.split("RFL=").nth(1).and_then(|rest| rest.split_whitespace().next());
    let flags = flags.and_then(|flags| u32::from_str_radix(flags, 16).ok());
    registers.contains("HLT=1") && flags.is_some_and(|flags| flags & 0x200 != 0)
}

/// The interrupts that an APIC has given its vCPU and that were not ended.
fn in_service(apic: &str) -> Option<String> {
    let vectors = apic.lines().find_map(|line| line.strip_prefix("ISR"))?.trim();
    (vectors != "(none)").then(|| vectors.to_owned())
}

/// Where one attempt of this test leaves a word for the next; `None` where `nextest` does not run it.
fn mark() -> Option<PathBuf> {
    let own = ["NEXTEST_RUN_ID", "NEXTEST_BINARY_ID", "NEXTEST_TEST_NAME"].map(std::env::var);
    let name = own.into_iter().collect::<Result<Vec<_>, _>>().ok()?.join("-");
    let name = name.replace(|character: char| !character.is_ascii_alphanumeric() && character != '-', "_");
    Some(std::env::temp_dir().join(format!("tepui-emulation-{name}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What QEMU 10.0 says of a guest that hangs: the lines that are looked at, and a few beside them.
    const REGISTERS: &str = "
CPU#0
RAX=ffffffffa26178a0 RBX=0000000000000000 RCX=0000000000000000 RDX=4000000000000000
RIP=ffffffffa2617a0b RFL=00000216 [----AP-] CPL=0 II=0 A20=1 SMM=0 HLT=1
CR0=80050033 CR2=000000000059d754 CR3=00000000018f2000 CR4=000006b0
";
    const APIC: &str = "dumping local APIC state for CPU 0

LVTT\t 0x000200ec active-hi edge                 periodic     Fixed  (vec 236)
Timer\t DCR=0x3 (divide by 16) initial_count = 249984 current_count = 150366
ISR\t 236
IRR\t 40 41 42 236
";

    #[test]
    fn a_vcpu_that_waits_for_what_it_has_is_told_from_one_that_works_and_one_that_is_idle() {
        assert!(is_waiting(REGISTERS));
        assert!(!is_waiting(&REGISTERS.replace("HLT=1", "HLT=0")), "it works");
        assert!(!is_waiting(&REGISTERS.replace("RFL=00000216", "RFL=00000016")), "it takes no interrupt");
        assert_eq!(in_service(APIC).as_deref(), Some("236"));
        assert_eq!(in_service(&APIC.replace("ISR\t 236", "ISR\t (none)")), None, "it is idle");
        assert_eq!(in_service(""), None, "nobody knows");
    }
}
