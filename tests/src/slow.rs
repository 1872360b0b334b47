//! Slow ways of a host: to the control plane, and to its libvirtd. As the kernel of a test machine may have no netem,
//! connections are led through the test's process, which holds each piece for a while.

use std::fs::{self, File};
use std::io;
use std::net::{SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, connect, setsockopt, socket, sockopt};

use crate::Host;
use crate::process::{feed, run};
use crate::way::{carry_slowly, serve};

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
            serve(listener.incoming(), move |client| carry_slowly(client, reach(control_plane)?, each_way));
            Ok(())
        });
        let Ok(port) = port.recv() else { unreachable!("no listener in {namespace}") };
        run("ip", &["-n", &namespace, "link", "set", "lo", "up"]).ok();
        feed("ip", &["netns", "exec", &namespace, "nft", "-f", "-"], &table(control_plane, port)).ok();
    }

    /// From now on each message of a new connection to the host's libvirtd is under way for so long; a call and its
    /// answer are two. Ends with the test's process.
    ///
    /// # Panics
    /// When the socket cannot be replaced.
    #[track_caller]
    pub fn slow_down_libvirtd(&self, each_way: Duration) {
        let socket = self.run_dir().join("libvirt/libvirt-sock");
        let fast = socket.with_extension("fast");
        let listener = fs::rename(&socket, &fast).and_then(|()| UnixListener::bind(&socket));
        let Ok(listener) = listener else { unreachable!("{}: {listener:?}", socket.display()) };
        thread::spawn(move || {
            serve(listener.incoming(), move |client| {
                carry_slowly(client, UnixStream::connect(&fast)?, each_way)
            });
        });
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

fn reach(control_plane: SocketAddrV4) -> io::Result<TcpStream> {
    let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&socket, sockopt::Mark, &MARK)?;
    connect(socket.as_raw_fd(), &SockaddrIn::from(control_plane))?;
    Ok(socket.into())
}
