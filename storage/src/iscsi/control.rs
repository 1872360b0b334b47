//! The operations on a running tgtd, each one call on its management socket.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::protocol::{ANSWER_BYTES, Code, MOST_TEXT, Mode, Op, Request, decode};
use super::show::{self, Session, Target};

/// tgtd answers from its one loop, in which it also opens files: long on a disk that hangs.
const PATIENCE: Duration = Duration::from_secs(30);
/// A thousand targets take a little over a megabyte.
const LARGEST_ANSWER: usize = 256 << 20;

/// Why tgtd did not do something.
#[derive(Debug, thiserror::Error)]
pub enum TgtError {
    /// It does not listen, or broke off.
    #[error("tgtd at {} does not answer to '{operation}'", socket.display())]
    Silent {
        /// Its management socket.
        socket: PathBuf,
        /// What it was asked.
        operation: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It refused.
    #[error("tgtd refuses '{operation}': {code}")]
    Refused {
        /// What it was asked.
        operation: &'static str,
        /// What it said.
        code: Code,
    },
    /// It could not be started.
    #[error("tgtd does not start: {reason}")]
    Start {
        /// Why.
        reason: String,
    },
    /// Its log cannot be kept short.
    #[error("{}", path.display())]
    Log {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Its process could not be watched or ended.
    #[error("the process of tgtd")]
    Process {
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl TgtError {
    /// What tgtd said, if it said something.
    pub(super) fn code(&self) -> Option<Code> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            Self::Silent { .. } | Self::Start { .. } | Self::Log { .. } | Self::Process { .. } => None,
        }
    }

    /// Whether nobody listens at the socket.
    pub(crate) fn is_absence(&self) -> bool {
        let absent = |kind| matches!(kind, io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused);
        matches!(self, Self::Silent { source, .. } if absent(source.kind()))
    }
}

/// Whether tgtd lets anybody in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Offline,
    Ready,
}

/// A way to tgtd.
#[derive(Debug, Clone)]
pub(super) struct Control {
    socket: PathBuf,
}

impl Control {
    pub(super) fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Whom a new connection reaches, while it is open. `None` if nobody listens.
    pub(super) async fn peer<T>(&self, look: impl FnOnce(&UnixStream) -> T) -> Result<Option<T>, TgtError> {
        let mut line = match UnixStream::connect(&self.socket).await.map_err(self.silent("connect")) {
            Ok(line) => line,
            Err(error) if error.is_absence() => return Ok(None),
            Err(error) => return Err(error),
        };
        let seen = look(&line);
        // Of a connection that ends before it asked for anything tgtd never sees the end: it reads it again and again,
        // and takes a whole processor, as long as it runs. The answer to this is nobody's, and whoever has ended
        // meanwhile reads nothing any more.
        let request = Request::new(Mode::Portal, Op::Show).target(-1);
        let _ = line.write_all(&request.encode()).await;
        Ok(Some(seen))
    }

    pub(super) async fn set_state(&self, state: State) -> Result<(), TgtError> {
        let text = match state {
            State::Offline => "State=offline",
            State::Ready => "State=ready",
        };
        self.call("set state", Request::new(Mode::System, Op::Update).text(text)).await.map(drop)
    }

    pub(super) async fn targets(&self) -> Result<Vec<Target>, TgtError> {
        // tgtd shows all targets for a number below 0.
        let text = self.call("show targets", Request::new(Mode::Target, Op::Show).target(-1)).await?;
        // It shows the system instead if it is asked of none in particular and has none.
        Ok(show::targets(&text))
    }

    pub(super) async fn accounts(&self) -> Result<Vec<String>, TgtError> {
        Ok(show::accounts(&self.call("show accounts", Request::new(Mode::Account, Op::Show)).await?))
    }

    pub(super) async fn portals(&self) -> Result<Vec<String>, TgtError> {
        let request = Request::new(Mode::Portal, Op::Show).target(-1);
        Ok(show::portals(&self.call("show portals", request).await?))
    }

    pub(super) async fn connections(&self, target: i32) -> Result<Vec<Session>, TgtError> {
        let request = Request::new(Mode::Connection, Op::Show).target(target);
        Ok(show::connections(&self.call("show connections", request).await?))
    }

    pub(super) async fn new_target(&self, target: i32, name: &str) -> Result<(), TgtError> {
        let request = Request::new(Mode::Target, Op::New).target(target).text(format!("targetname={name}"));
        self.call("new target", request).await.map(drop)
    }

    /// tgtd refuses it while the target has a session.
    pub(super) async fn delete_target(&self, target: i32) -> Result<(), TgtError> {
        self.call("delete target", Request::new(Mode::Target, Op::Delete).target(target)).await.map(drop)
    }

    /// Its writes are answered once they are on the disk (`O_SYNC`).
    pub(super) async fn new_unit(&self, target: i32, unit: u64, path: &str) -> Result<(), TgtError> {
        let request = Request::new(Mode::Device, Op::New).target(target).unit(unit);
        let text = format!("path={path},bsoflags=sync");
        self.call("new logical unit", request.text(text)).await.map(drop)
    }

    /// tgtd refuses it while a command of the unit is under way.
    pub(super) async fn delete_unit(&self, target: i32, unit: u64) -> Result<(), TgtError> {
        let request = Request::new(Mode::Device, Op::Delete).target(target).unit(unit);
        self.call("delete logical unit", request).await.map(drop)
    }

    pub(super) async fn set_unit(&self, target: i32, unit: u64, parameters: String) -> Result<(), TgtError> {
        let request = Request::new(Mode::Device, Op::Update).target(target).unit(unit).text(parameters);
        self.call("update logical unit", request).await.map(drop)
    }

    pub(super) async fn new_account(&self, name: &str, secret: &SecretString) -> Result<(), TgtError> {
        let text = format!("user={name},password={}", secret.expose_secret());
        self.call("new account", Request::new(Mode::Account, Op::New).text(text)).await.map(drop)
    }

    pub(super) async fn delete_account(&self, name: &str) -> Result<(), TgtError> {
        let request = Request::new(Mode::Account, Op::Delete).text(format!("user={name}"));
        self.call("delete account", request).await.map(drop)
    }

    pub(super) async fn bind_account(&self, target: i32, name: &str) -> Result<(), TgtError> {
        let request = Request::new(Mode::Account, Op::Bind).target(target).text(format!("user={name}"));
        self.call("bind account", request).await.map(drop)
    }

    pub(super) async fn admit(&self, target: i32, initiator: &str) -> Result<(), TgtError> {
        let request = Request::new(Mode::Target, Op::Bind).target(target);
        self.call("admit initiator", request.text(format!("initiator-name={initiator}"))).await.map(drop)
    }

    pub(super) async fn shut_out(&self, target: i32, initiator: &str) -> Result<(), TgtError> {
        let request = Request::new(Mode::Target, Op::Unbind).target(target);
        self.call("shut out initiator", request.text(format!("initiator-name={initiator}"))).await.map(drop)
    }

    /// Tells tgtd to close a connection, which it does after it answered.
    pub(super) async fn close(&self, target: i32, session: &Session) -> Result<(), TgtError> {
        let mut request = Request::new(Mode::Connection, Op::Delete).target(target);
        (request.session, request.connection) = (session.number, session.connection);
        self.call("close connection", request).await.map(drop)
    }

    async fn call(&self, operation: &'static str, request: Request) -> Result<String, TgtError> {
        let late = |_| io::ErrorKind::TimedOut.into();
        let answered = timeout(PATIENCE, self.exchange(&request)).await.map_err(late).flatten();
        match answered.map_err(self.silent(operation))? {
            (Code::SUCCESS, text) => Ok(text),
            (code, _) => Err(TgtError::Refused { operation, code }),
        }
    }

    async fn exchange(&self, request: &Request) -> io::Result<(Code, String)> {
        if request.text.len() >= MOST_TEXT {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the request is too long"));
        }
        let mut stream = UnixStream::connect(&self.socket).await?;
        stream.write_all(&request.encode()).await?;
        let mut head = [0; ANSWER_BYTES];
        stream.read_exact(&mut head).await?;
        let (code, length) = decode(head);
        if length > LARGEST_ANSWER {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the answer is too long"));
        }
        let mut text = vec![0; length];
        stream.read_exact(&mut text).await?;
        let text = String::from_utf8_lossy(&text);
        Ok((code, text.trim_end_matches('\0').to_owned()))
    }

    fn silent(&self, operation: &'static str) -> impl FnOnce(io::Error) -> TgtError {
        let socket = self.socket.clone();
        move |source| TgtError::Silent { socket, operation, source }
    }
}
