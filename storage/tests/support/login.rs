//! An initiator that stops in the middle of its login (RFC 7143, 11.12 and 12.1.3).

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;

use md5::{Digest as _, Md5};

use super::lab::Initiator;

/// What a PDU begins with.
const HEAD: usize = 48;
const LOGIN: u8 = 0x43;
const TRANSIT: u8 = 0x80;
/// Stages of a login, as the current and the next one are told.
const SECURITY: u8 = 0;
const OPERATIONAL: u8 = 1;
const FULL: u8 = 3;

pub(crate) struct HalfLogin {
    stream: TcpStream,
}

impl HalfLogin {
    /// Passes every check of the target and is not yet a session.
    pub(crate) fn with(initiator: &Initiator) -> Self {
        let mut login = Self { stream: TcpStream::connect(initiator.portal).unwrap() };
        let Initiator { target, initiator: name, account, secret, .. } = initiator;
        let first =
            format!("InitiatorName={name}\0TargetName={target}\0SessionType=Normal\0AuthMethod=CHAP\0");
        login.say(SECURITY << 2, &first).unwrap();
        let asked = login.say(SECURITY << 2, "CHAP_A=5\0").unwrap().1;
        let value = |key: &str| asked.split('\0').find_map(|pair| pair.strip_prefix(key)).unwrap();
        let challenge = bytes(value("CHAP_C=0x"));
        let mut digest = Md5::new();
        digest.update([value("CHAP_I=").parse().unwrap()]);
        digest.update(std::fs::read(secret).unwrap());
        digest.update(challenge);
        let answer: String = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        let account = account.as_deref().unwrap();
        let answer = format!("CHAP_N={account}\0CHAP_R=0x{answer}\0");
        let (status, _) = login.say(TRANSIT | (SECURITY << 2) | OPERATIONAL, &answer).unwrap();
        assert_eq!(status, 0, "the secret is right");
        login
    }

    /// Asks to become a session; whether it is one now.
    pub(crate) fn finish(mut self) -> bool {
        self.say(TRANSIT | (OPERATIONAL << 2) | FULL, "").is_ok_and(|(status, _)| status == 0)
    }

    /// Returns status class and detail, and the text.
    fn say(&mut self, stages: u8, text: &str) -> io::Result<(u16, String)> {
        let mut request = vec![0; HEAD];
        (request[0], request[1]) = (LOGIN, stages);
        request[5..8].copy_from_slice(&u32::try_from(text.len()).unwrap().to_be_bytes()[1..]);
        request[8..14].copy_from_slice(&[0x80, 1, 2, 3, 4, 5]);
        request.extend_from_slice(text.as_bytes());
        request.resize(request.len().next_multiple_of(4), 0);
        self.stream.write_all(&request)?;
        let mut head = [0; HEAD];
        self.stream.read_exact(&mut head)?;
        let length = u32::from_be_bytes([0, head[5], head[6], head[7]]) as usize;
        let mut answer = vec![0; length.next_multiple_of(4)];
        self.stream.read_exact(&mut answer)?;
        Ok((
            u16::from_be_bytes([head[36], head[37]]),
            String::from_utf8_lossy(&answer[..length]).into_owned(),
        ))
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}
