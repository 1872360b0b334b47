//! What the ways that lead through the test's process have in common.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::thread;

/// Carries each connection on a thread of its own, as long as the process lives.
pub(crate) fn serve<F>(listener: &TcpListener, carry: F)
where
    F: Fn(TcpStream) -> io::Result<()> + Clone + Send + 'static,
{
    for client in listener.incoming().flatten() {
        let carry = carry.clone();
        thread::spawn(move || carry(client));
    }
}
