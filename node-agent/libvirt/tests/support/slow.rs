//! A way to libvirtd on which every message takes its time.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::PrivateHost;

/// Ends with the test's process.
pub(crate) struct SlowWay {
    socket: PathBuf,
    delay: Arc<AtomicU64>,
}

impl SlowWay {
    /// A way that takes no time yet.
    pub(crate) fn to(host: &PrivateHost) -> Self {
        let way = Self { socket: host.path().join("slow-sock"), delay: Arc::default() };
        let listener = UnixListener::bind(&way.socket).unwrap();
        let (libvirtd, delay) = (host.socket(), Arc::clone(&way.delay));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                carry(&client, &libvirtd, &delay).unwrap();
            }
        });
        way
    }

    /// From now on each message is under way for so long; a call and its answer are two.
    pub(crate) fn delay(&self, each_way: Duration) {
        self.delay.store(each_way.as_millis().try_into().unwrap(), Ordering::Relaxed);
    }

    pub(crate) fn uri(&self) -> String {
        super::uri(&self.socket)
    }
}

fn carry(client: &UnixStream, libvirtd: &Path, delay: &Arc<AtomicU64>) -> std::io::Result<()> {
    let server = UnixStream::connect(libvirtd)?;
    for (from, to) in [(client, &server), (&server, client)] {
        let (from, to, delay) = (from.try_clone()?, to.try_clone()?, Arc::clone(delay));
        let (sent, arriving) = channel();
        thread::spawn(move || take(from, &delay, &sent));
        thread::spawn(move || deliver(&arriving, to));
    }
    Ok(())
}

/// Takes what is sent as soon as it is, so that a message waits for none before it.
fn take(mut from: UnixStream, delay: &AtomicU64, sent: &Sender<(Instant, Vec<u8>)>) {
    let mut buffer = [0; 65_536];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        let due = Instant::now() + Duration::from_millis(delay.load(Ordering::Relaxed));
        if sent.send((due, buffer[..length].to_vec())).is_err() {
            return;
        }
    }
}

/// Ends the other side's connection with this one's.
fn deliver(arriving: &Receiver<(Instant, Vec<u8>)>, mut to: UnixStream) {
    for (due, bytes) in arriving {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if to.write_all(&bytes).is_err() {
            break;
        }
    }
    // It may have ended already.
    let _ = to.shutdown(Shutdown::Both);
}
