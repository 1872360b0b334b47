//! What the ways that lead through the test's process have in common.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::{Shutdown, shutdown};

/// Carries each connection on a thread of its own, as long as the process lives.
pub(crate) fn serve<S, F>(clients: impl Iterator<Item = io::Result<S>>, carry: F)
where
    S: Send + 'static,
    F: Fn(S) -> io::Result<()> + Clone + Send + 'static,
{
    for client in clients.flatten() {
        let carry = carry.clone();
        thread::spawn(move || carry(client));
    }
}

/// Holds each piece for so long, each way, and returns at once.
pub(crate) fn carry_slowly(
    client: impl Into<OwnedFd>,
    server: impl Into<OwnedFd>,
    each_way: Duration,
) -> io::Result<()> {
    let (client, server) = (File::from(client.into()), File::from(server.into()));
    for (from, to) in [(&client, &server), (&server, &client)] {
        let (from, to) = (from.try_clone()?, to.try_clone()?);
        let (sent, arriving) = channel();
        thread::spawn(move || take(from, each_way, &sent));
        thread::spawn(move || deliver(&arriving, to));
    }
    Ok(())
}

/// Takes each piece as soon as it is sent, so that it waits for none before it.
fn take(mut from: File, each_way: Duration, sent: &Sender<(Instant, Vec<u8>)>) {
    let mut buffer = [0; 65_536];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if sent.send((Instant::now() + each_way, buffer[..length].to_vec())).is_err() {
            return;
        }
    }
}

/// Ends the other side's connection with this one's.
fn deliver(arriving: &Receiver<(Instant, Vec<u8>)>, mut to: File) {
    for (due, bytes) in arriving {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if to.write_all(&bytes).is_err() {
            break;
        }
    }
    // It may have ended already.
    let _ = shutdown(to.as_raw_fd(), Shutdown::Both);
}
