//! Boots of the tiny guest under QEMU's emulation.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How the guest's first line of each boot begins.
const FIRST_LINE: &str = "tepui-tiny: user code after";
/// A boot takes seconds, and half a minute beside twenty others.
const PATIENCE: Duration = Duration::from_secs(75);

/// Notices a guest that hangs: about one of 250 emulated boots stops before the first line, more of them on a busy
/// machine. A QEMU of the same devices without anything of ours does so too: an APIC has the timer's interrupt in
/// service, and its vCPU, halted and ready to be interrupted, never sees it. Its reset is pressed once, and what its
/// console held is told; a second hang fails the test, and so does one after the first line.
pub(crate) struct Boot {
    number: usize,
    since: Instant,
    again: bool,
}

impl Boot {
    /// The one that makes the console say this: `tepui-tiny: boot 2` is of the second, and all else of the first.
    pub(crate) fn that_says(words: &str) -> Self {
        let number = words.strip_prefix("tepui-tiny: boot ").and_then(|number| number.parse().ok());
        Self::number(number.unwrap_or(1))
    }

    /// The next one of a guest whose console holds this.
    pub(crate) fn after(console: &str) -> Self {
        Self::number(boots(console) + 1)
    }

    fn number(number: usize) -> Self {
        Self { number, since: Instant::now(), again: false }
    }

    /// Whether reset is to be pressed now.
    pub(crate) fn hangs(&mut self, id: &str, console: &str) -> bool {
        if self.again || boots(console) >= self.number || self.since.elapsed() < PATIENCE {
            return false;
        }
        self.again = true;
        eprintln!("{id} hung before its first line and is reset once; its console: {console:?}");
        true
    }
}

/// So many boots came as far as their first line.
fn boots(console: &str) -> usize {
    console.matches(FIRST_LINE).count()
}

/// How QEMU 10.0 ends now and then while an emulated guest of two vCPUs boots anew; with KVM the code is not
/// there.
const ASSERTION: &str = "iotlb_to_section: Assertion `section_index < d->map.sections_nb' failed";

/// Notices an emulator that ended by that assertion of its own. Its guest is started once, and that is told; any
/// other end, and a second one, fails the test.
pub(crate) struct Emulators {
    before: usize,
    again: bool,
}

impl Emulators {
    /// Those of the cloud in `folder` that run now.
    pub(crate) fn of(folder: &Path) -> Self {
        Self { before: broken(folder), again: false }
    }

    /// Whether one broke, and is to be started.
    pub(crate) fn broke(&mut self, folder: &Path) -> bool {
        if self.again || broken(folder) == self.before {
            return false;
        }
        self.again = true;
        true
    }
}

/// How often QEMU's logs on the cloud's hosts tell of the assertion.
pub(crate) fn broken(folder: &Path) -> usize {
    let logs = entries(folder).map(|host| host.join("libvirt/log/qemu")).flat_map(|logs| entries(&logs));
    let texts = logs.filter_map(|log| std::fs::read(log).ok());
    texts.map(|text| String::from_utf8_lossy(&text).matches(ASSERTION).count()).sum()
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    std::fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()))
}
