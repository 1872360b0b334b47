//! A wire between an initiator and its target that a test can cut and mend.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Forwards connections; while it is cut, what was sent stays in it and comes late.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    /// From the initiator, and from the target.
    cut: [Arc<AtomicBool>; 2],
    accepted: Arc<AtomicU64>,
}

impl Proxy {
    pub(crate) fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (cut, accepted) = (<[Arc<AtomicBool>; 2]>::default(), Arc::<AtomicU64>::default());
        let (cut_here, accepted_here) = (cut.clone(), accepted.clone());
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                accepted_here.fetch_add(1, Ordering::Release);
                let Ok(server) = TcpStream::connect(target) else { continue };
                let ways = [(client.try_clone(), server.try_clone()), (Ok(server), Ok(client))];
                for ((from, to), cut) in ways.into_iter().zip(cut_here.clone()) {
                    let (from, to) = (from.unwrap(), to.unwrap());
                    std::thread::spawn(move || forward(from, to, &cut));
                }
            }
        });
        Self { address, cut, accepted }
    }

    pub(crate) fn cut(&self, cut: bool) {
        self.cut.iter().for_each(|way| way.store(cut, Ordering::Release));
    }

    /// Lets requests through and no answers.
    pub(crate) fn stall_answers(&self) {
        self.cut[1].store(true, Ordering::Release);
    }

    /// How many connections were made to it.
    pub(crate) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Acquire)
    }
}

fn forward(mut from: TcpStream, mut to: TcpStream, cut: &AtomicBool) {
    let mut bytes = vec![0; 64 << 10];
    loop {
        let read = from.read(&mut bytes).unwrap_or(0);
        while cut.load(Ordering::Acquire) {
            std::thread::sleep(Duration::from_millis(1));
        }
        if read == 0 || to.write_all(&bytes[..read]).is_err() {
            let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
            return;
        }
    }
}
