//! A way to a cloud on which every reply is lost.

use std::io::{self, Read};
use std::net::{TcpListener, TcpStream};
use std::thread;

use crate::way::serve;

/// Hands requests on to a cloud. Once it answers, and so has done what was asked, the client's connection
/// is closed in place of the answer. Ends with the test's process.
#[derive(Debug)]
pub struct LossyWay {
    url: String,
}

impl LossyWay {
    /// Opens a way to `address`.
    ///
    /// # Panics
    /// When loopback has no port.
    #[track_caller]
    pub fn to(address: String) -> Self {
        let listener = match TcpListener::bind("127.0.0.1:0") {
            Ok(listener) => listener,
            Err(error) => unreachable!("loopback: {error}"),
        };
        let port = listener.local_addr().map_or(0, |address| address.port());
        thread::spawn(move || serve(listener.incoming(), move |client| carry(&client, &address)));
        Self { url: format!("http://127.0.0.1:{port}") }
    }

    /// For clients.
    pub fn url(&self) -> &str {
        &self.url
    }
}

/// Ends with the first byte of the answer, or when either side breaks off.
fn carry(client: &TcpStream, address: &str) -> io::Result<()> {
    let mut cloud = TcpStream::connect(address)?;
    let (mut requests, mut onward) = (client.try_clone()?, cloud.try_clone()?);
    thread::spawn(move || io::copy(&mut requests, &mut onward));
    let _answered = cloud.read(&mut [0; 1])?;
    client.shutdown(std::net::Shutdown::Both)?;
    cloud.shutdown(std::net::Shutdown::Both)
}
