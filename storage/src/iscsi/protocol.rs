//! tgtd's management protocol: one request, one answer, then the socket is closed. As in `usr/tgtadm.h` and
//! `usr/mgmt.c` of tgt 1.0.85: fixed structures in the machine's own byte order, behind them a text.
//!
//! The program `tgtadm` speaks the same, but takes the secrets of accounts as arguments, where every user of the
//! machine can read them.

use secrecy::zeroize::Zeroizing;

/// What a request is about (`enum tgtadm_mode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    System = 0,
    Target = 1,
    Device = 2,
    Portal = 3,
    Connection = 6,
    Account = 7,
}

/// What to do (`enum tgtadm_op`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    New = 0,
    Delete = 1,
    Show = 2,
    Bind = 3,
    Unbind = 4,
    Update = 5,
}

/// `struct tgtadm_req`: its size and where its fields are.
const REQUEST_BYTES: usize = 120;
const MODE: usize = 0;
const OP: usize = 4;
const DRIVER: usize = 8;
const LENGTH: usize = 72;
const TARGET: usize = 76;
const SESSION: usize = 80;
const UNIT: usize = 88;
const CONNECTION: usize = 96;
/// `struct tgtadm_rsp`: an error number and the length of the whole answer.
pub(super) const ANSWER_BYTES: usize = 8;
/// tgtd closes the socket on a longer text (`MAX_MGT_BUFSIZE`).
pub(super) const MOST_TEXT: usize = 8 << 10;

/// One request. Fields that an operation does not use are 0.
pub(super) struct Request {
    pub(super) mode: Mode,
    pub(super) op: Op,
    /// -1 for all.
    pub(super) target: i32,
    pub(super) session: u64,
    pub(super) unit: u64,
    pub(super) connection: u32,
    pub(super) text: Zeroizing<String>,
}

impl Request {
    pub(super) fn new(mode: Mode, op: Op) -> Self {
        Self { mode, op, target: 0, session: 0, unit: 0, connection: 0, text: Zeroizing::default() }
    }

    pub(super) fn target(mut self, target: i32) -> Self {
        self.target = target;
        self
    }

    pub(super) fn unit(mut self, unit: u64) -> Self {
        self.unit = unit;
        self
    }

    pub(super) fn text(mut self, text: impl Into<String>) -> Self {
        self.text = Zeroizing::new(text.into());
        self
    }

    /// The bytes of it, which may hold a secret.
    pub(super) fn encode(&self) -> Zeroizing<Vec<u8>> {
        // tgtd takes the text for a C string and does not end it.
        let text_bytes = if self.text.is_empty() { 0 } else { self.text.len() + 1 };
        let length = REQUEST_BYTES + text_bytes;
        let mut bytes = Zeroizing::new(vec![0; length]);
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        put(MODE, &(self.mode as u32).to_ne_bytes());
        put(OP, &(self.op as u32).to_ne_bytes());
        put(DRIVER, b"iscsi");
        put(LENGTH, &u32::try_from(length).unwrap_or(u32::MAX).to_ne_bytes());
        put(TARGET, &self.target.to_ne_bytes());
        put(SESSION, &self.session.to_ne_bytes());
        put(UNIT, &self.unit.to_ne_bytes());
        put(CONNECTION, &self.connection.to_ne_bytes());
        put(REQUEST_BYTES, self.text.as_bytes());
        bytes
    }
}

/// Reads the head of an answer: the error and how many bytes of text follow.
pub(super) fn decode(head: [u8; ANSWER_BYTES]) -> (Code, usize) {
    let field = |at: usize| u32::from_ne_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let length = usize::try_from(field(4)).unwrap_or(usize::MAX);
    (Code(field(0)), length.saturating_sub(ANSWER_BYTES))
}

/// What tgtd answers (`enum tgtadm_errno`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code(pub(super) u32);

impl Code {
    pub(super) const SUCCESS: Self = Self(0);
    pub(super) const NO_TARGET: Self = Self(4);
    pub(super) const NO_SESSION: Self = Self(6);
    pub(super) const NO_CONNECTION: Self = Self(7);
    pub(super) const TARGET_EXISTS: Self = Self(9);
    pub(super) const NO_ADMISSION: Self = Self(13);
    pub(super) const NO_ACCOUNT: Self = Self(15);
    pub(super) const TARGET_ACTIVE: Self = Self(19);
    pub(super) const UNIT_ACTIVE: Self = Self(20);
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = match self.0 {
            2 => "out of memory",
            3 => "the driver is not there",
            4 => "no such target",
            5 => "no such logical unit",
            6 => "no such session",
            7 => "no such connection",
            9 => "the target exists",
            10 => "the logical unit exists",
            12 => "the initiator is admitted already",
            13 => "the initiator is not admitted",
            14 => "the account exists",
            15 => "no such account",
            16 => "too many accounts",
            17 => "invalid request",
            19 => "the target has sessions",
            20 => "the logical unit has commands under way",
            22 => "unsupported operation",
            23 => "unknown parameter",
            other => return write!(f, "error {other}"),
        };
        f.write_str(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes that tgtadm 1.0.85 sends for `--lld iscsi --op show --mode portal`, but for fields that the operation
    /// does not use.
    #[test]
    fn a_request_without_text_is_tgtadms() {
        let mut expected = [0; 120];
        expected[0] = 3;
        expected[4] = 2;
        expected[8..13].copy_from_slice(b"iscsi");
        expected[72] = 120;
        expected[76..80].copy_from_slice(&[0xff; 4]);
        assert_eq!(*Request::new(Mode::Portal, Op::Show).target(-1).encode(), expected);
    }

    #[test]
    fn every_field_is_in_its_place_and_a_text_ends_with_nul() {
        let mut request =
            Request::new(Mode::Connection, Op::Update).target(0x0102_0304).unit(0x1112).text("a=b");
        request.session = 0x2122_2324_2526_2728;
        request.connection = 0x3132_3334;
        let bytes = request.encode();
        assert_eq!(bytes.len(), 124);
        assert_eq!((bytes[0], bytes[4]), (6, 5));
        assert_eq!(bytes[72..76], 124_u32.to_ne_bytes());
        assert_eq!(bytes[76..80], 0x0102_0304_i32.to_ne_bytes());
        assert_eq!(bytes[80..88], 0x2122_2324_2526_2728_u64.to_ne_bytes());
        assert_eq!(bytes[88..96], 0x1112_u64.to_ne_bytes());
        assert_eq!(bytes[96..100], 0x3132_3334_u32.to_ne_bytes());
        assert_eq!(bytes[100..120], [0; 20]);
        assert_eq!(&bytes[120..], b"a=b\0");
    }

    #[test]
    fn the_head_of_an_answer_tells_error_and_length() {
        let head = |code: u32, length: u32| {
            let mut head = [0; ANSWER_BYTES];
            head[..4].copy_from_slice(&code.to_ne_bytes());
            head[4..].copy_from_slice(&length.to_ne_bytes());
            decode(head)
        };
        assert_eq!(head(0, 35), (Code::SUCCESS, 27));
        assert_eq!(head(4, 8), (Code::NO_TARGET, 0));
        assert_eq!(head(1, 0), (Code(1), 0));
    }
}
