//! A slow way between a host and the control plane. As the kernel of a test machine may have no netem, the host's
//! connections are led through the test's process, which holds each piece for a while.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, connect, setsockopt, socket, sockopt};

use crate::Host;
use crate::process::{feed, run};
use crate::way::serve;

/// On what this process sends, which is led to it no second time.
const MARK: u32 = 0x510e;

impl Host {
    /// From now on all that the host sends to the control plane, and all that it is sent, is under way for so long.
    /// It may have any number of connections, but those that it has break: they are led no other way. Ends with the
    /// test's process.
    ///
    /// # Panics
    /// When the host's network cannot be changed.
    #[track_caller]
    pub fn slow_down(&self, each_way: Duration) {
        let (namespace, control_plane) = (self.network(), self.control_plane());
        let (opened, port) = channel();
        let path = format!("/run/netns/{namespace}");
        // The threads for the connections are in the namespace, too: they are made by this one.
        thread::spawn(move || -> io::Result<()> {
            setns(File::open(path)?, CloneFlags::CLONE_NEWNET)?;
            let listener = TcpListener::bind("127.0.0.1:0")?;
            // Nobody asks any more when the test has failed.
            let _ = opened.send(listener.local_addr()?.port());
            serve(&listener, move |client| carry(&client, control_plane, each_way));
            Ok(())
        });
        let Ok(port) = port.recv() else { unreachable!("no listener in {namespace}") };
        run("ip", &["-n", &namespace, "link", "set", "lo", "up"]).ok();
        feed("ip", &["netns", "exec", &namespace, "nft", "-f", "-"], &table(control_plane, port)).ok();
    }
}

fn table(control_plane: SocketAddrV4, port: u16) -> String {
    let others =
        format!("ip daddr {} tcp dport {} meta mark != {MARK}", control_plane.ip(), control_plane.port());
    format!(
        "table ip slow {{\n\
           chain led {{\n\
             type nat hook output priority -100; policy accept;\n\
             {others} redirect to :{port}\n\
           }}\n\
           chain broken {{\n\
             type filter hook output priority 0; policy accept;\n\
             {others} reject with tcp reset\n\
           }}\n\
         }}\n"
    )
}

fn carry(client: &TcpStream, control_plane: SocketAddrV4, each_way: Duration) -> io::Result<()> {
    let server = reach(control_plane)?;
    for (from, to) in [(client, &server), (&server, client)] {
        let (from, to) = (from.try_clone()?, to.try_clone()?);
        let (sent, arriving) = channel();
        thread::spawn(move || take(from, each_way, &sent));
        thread::spawn(move || deliver(&arriving, to));
    }
    Ok(())
}

fn reach(control_plane: SocketAddrV4) -> io::Result<TcpStream> {
    let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&socket, sockopt::Mark, &MARK)?;
    connect(socket.as_raw_fd(), &SockaddrIn::from(control_plane))?;
    Ok(socket.into())
}

/// Takes each piece as soon as it is sent, so that it waits for none before it.
fn take(mut from: TcpStream, each_way: Duration, sent: &Sender<(Instant, Vec<u8>)>) {
    let mut buffer = [0; 65_536];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if sent.send((Instant::now() + each_way, buffer[..length].to_vec())).is_err() {
            return;
        }
    }
}

/// Ends the other side's connection with this one's.
fn deliver(arriving: &Receiver<(Instant, Vec<u8>)>, mut to: TcpStream) {
    for (due, bytes) in arriving {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if to.write_all(&bytes).is_err() {
            break;
        }
    }
    // It may have ended already.
    let _ = to.shutdown(Shutdown::Both);
}
