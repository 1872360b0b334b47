//! Downloads of snapshots from servers that break off, lie or refuse.
#![expect(clippy::unwrap_used, reason = "helpers of tests may")]

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use tempfile::TempDir;
use tepui_client::{Client, ClientError, DownloadProgress};
use tepui_types::SnapshotId;
use tepui_types::frames::{Encoder, PIECE_BYTES};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const MIB: u64 = PIECE_BYTES as u64;

/// What a server sends of the content, from the offset that it was asked for on, and how it ends.
#[derive(Clone, Copy)]
struct Answer {
    /// The size that it tells.
    told: u64,
    /// So many bytes of the frames; more than there are: all.
    sends: usize,
    /// It says that this was all.
    ends: bool,
}

const WHOLE: Answer = Answer { told: 4 * MIB + 5, sends: usize::MAX, ends: true };

/// Four MiB, of which the second and the third are zeros, and five bytes.
fn content() -> Vec<u8> {
    let mut content = vec![0; 4 * PIECE_BYTES + 5];
    content[..PIECE_BYTES].fill(1);
    content[PIECE_BYTES - 1] = 2;
    for (number, byte) in content[3 * PIECE_BYTES..].iter_mut().enumerate() {
        *byte = ((number * number) >> 5) as u8;
    }
    content
}

fn frames(content: &[u8]) -> Vec<u8> {
    let (mut encoder, mut frames) = (Encoder::new().unwrap(), Vec::new());
    for piece in content.chunks(PIECE_BYTES) {
        encoder.piece(piece, &mut frames).unwrap();
    }
    frames
}

struct Served {
    client: Client,
    offsets: Arc<Mutex<Vec<u64>>>,
    folder: TempDir,
}

/// Answers each request with the next of these, then with the last one for ever.
async fn server(answers: Vec<Answer>) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = Client::new(&format!("http://{}", listener.local_addr().unwrap()), "token", None).unwrap();
    let offsets = Arc::<Mutex<Vec<u64>>>::default();
    let seen = Arc::clone(&offsets);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            let length = stream.read(&mut request).await.unwrap();
            let offset = offset(&String::from_utf8_lossy(&request[..length]));
            let answer = {
                let mut seen = seen.lock().unwrap();
                seen.push(offset);
                answers[(seen.len() - 1).min(answers.len() - 1)]
            };
            let rest = content().get(usize::try_from(offset).unwrap()..).map(frames).unwrap_or_default();
            let rest = &rest[..answer.sends.min(rest.len())];
            let head = format!("HTTP/1.1 200 x\r\ntepui-raw-size: {}\r\nconnection: close\r\n", answer.told);
            let chunk = format!("{head}transfer-encoding: chunked\r\n\r\n{:x}\r\n", rest.len());
            let _ = stream.write_all(chunk.as_bytes()).await;
            let _ = stream.write_all(rest).await;
            let _ = stream.write_all(if answer.ends { b"\r\n0\r\n\r\n" } else { b"\r\n" }).await;
        }
    });
    Served { client, offsets, folder: tempfile::tempdir().unwrap() }
}

fn offset(request: &str) -> u64 {
    let line = request.lines().next().unwrap();
    assert!(line.contains(&format!("/v1/snapshots/{}/content", SnapshotId::from_random(1))), "{line}");
    let (_, after) = line.split_once("offset=").unwrap();
    after.split(' ').next().unwrap().parse().unwrap()
}

impl Served {
    async fn download(&self, to: &Path) -> (Result<u64, ClientError>, Vec<DownloadProgress>) {
        let mut told = Vec::new();
        let done = self.client.download_snapshot(SnapshotId::from_random(1), to, |at| told.push(at)).await;
        (done, told)
    }

    /// Of a download that must fail; nothing of it is left.
    async fn failure(&self) -> ClientError {
        let (done, _) = self.download(&self.folder.path().join("disk.raw")).await;
        assert_eq!(std::fs::read_dir(self.folder.path()).unwrap().count(), 0);
        done.unwrap_err()
    }
}

#[tokio::test]
async fn a_snapshot_becomes_a_file_with_holes() {
    let served = server(vec![WHOLE]).await;
    let to = served.folder.path().join("disk.raw");
    let (done, told) = served.download(&to).await;
    assert_eq!(done.unwrap(), 4 * MIB + 5);
    assert!(std::fs::read(&to).unwrap() == content());
    let taken = std::fs::metadata(&to).unwrap().blocks() * 512;
    assert!(taken < 3 * MIB, "{taken} bytes are taken");
    let end = DownloadProgress { received: 4 * MIB + 5, total: 4 * MIB + 5 };
    assert_eq!(told.last(), Some(&end));
    assert_eq!(std::fs::read_dir(served.folder.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn what_broke_off_goes_on_behind_the_last_whole_piece() {
    let second = frames(&content()[..PIECE_BYTES]).len() + 3;
    let broken = Answer { sends: second, ends: false, ..WHOLE };
    // Its end does not come either: it comes from a host that broke off.
    let short = Answer { sends: second, ends: true, ..WHOLE };
    let served = server(vec![broken, short, WHOLE]).await;
    let to = served.folder.path().join("disk.raw");
    assert_eq!(served.download(&to).await.0.unwrap(), 4 * MIB + 5);
    assert!(std::fs::read(&to).unwrap() == content());
    let offsets = served.offsets.lock().unwrap().clone();
    assert_eq!(offsets[..2], [0, MIB]);
    assert!(offsets[2] > MIB && offsets[2] % MIB == 0, "{offsets:?}");
}

#[tokio::test]
async fn more_than_was_told_and_another_size_than_before_are_refused_at_once() {
    let served = server(vec![Answer { told: MIB, ..WHOLE }]).await;
    let failure = served.failure().await;
    assert!(failure.to_string().ends_with("it has more bytes than it told"), "{failure}");
    let broken = Answer { sends: 10, ends: false, ..WHOLE };
    let served = server(vec![broken, Answer { told: 5 * MIB, ..WHOLE }]).await;
    let failure = served.failure().await;
    assert!(failure.to_string().ends_with("its size is another one than before"), "{failure}");
}

#[tokio::test]
async fn a_file_that_is_there_stays_as_it_is() {
    let served = server(vec![WHOLE]).await;
    let to = served.folder.path().join("disk.raw");
    std::fs::write(&to, "mine").unwrap();
    let (done, _) = served.download(&to).await;
    let Err(ClientError::Unwritable { source, .. }) = done else { panic!("{done:?}") };
    assert_eq!(source.kind(), std::io::ErrorKind::AlreadyExists);
    assert_eq!(std::fs::read_to_string(&to).unwrap(), "mine");
    assert_eq!(*served.offsets.lock().unwrap(), [0; 0], "nothing was asked for");
}
