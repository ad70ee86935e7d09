//! The body of an upload: a blob that is read by a thread of its own while the
//! connection sends, never more than a few pieces in memory.

use std::{
    io::{self, Read},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
        mpsc as blocking,
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::sync::mpsc;

use super::{
    Error,
    client::{Patience, lock},
};
use crate::image::{self, Blob, Digest};

/// What an upload is doing, seen from outside.
pub(super) struct Meter {
    /// Where the request that is under way ends: after all bytes, or after those
    /// of a chunk.
    goal: AtomicU64,
    start: Instant,
    sent: AtomicU64,
    /// When the last piece was taken or let go, in milliseconds since `start`.
    moved: AtomicU64,
    /// Whether the connection found nothing more to take.
    starving: AtomicBool,
    /// Pieces that have been read and not been let go. When there is nothing more
    /// to take, the connection has them all, and it is not the source that is slow.
    held: AtomicUsize,
    /// Why the source ended too early.
    failure: Mutex<Option<Error>>,
    /// Bytes of the whole push.
    total: Arc<AtomicU64>,
}

impl Meter {
    pub(super) fn new(size: u64, total: &Arc<AtomicU64>) -> Arc<Self> {
        Arc::new(Self {
            goal: AtomicU64::new(size),
            start: Instant::now(),
            sent: AtomicU64::new(0),
            moved: AtomicU64::new(0),
            starving: AtomicBool::new(false),
            held: AtomicUsize::new(0),
            failure: Mutex::default(),
            total: total.clone(),
        })
    }
    /// Bytes that the connection has taken.
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
    /// A request begins that sends the bytes up to here.
    pub(super) fn aim(&self, goal: u64) {
        self.goal.store(goal, Ordering::Relaxed);
        self.moves();
    }
    fn goal(&self) -> u64 {
        self.goal.load(Ordering::Relaxed)
    }
    /// Why the source failed, if it did.
    pub(super) fn failure(&self) -> Option<Error> {
        lock(&self.failure).take()
    }
    /// What this upload sent was in vain.
    pub(super) fn discount(&self) {
        self.total.fetch_sub(self.sent(), Ordering::Relaxed);
    }
    /// What is waited for, and for how long.
    pub(super) fn waits(&self) -> (Wait, Duration) {
        let moved = Duration::from_millis(self.moved.load(Ordering::Relaxed));
        let still = self.start.elapsed().saturating_sub(moved);
        let is_idle = self.held.load(Ordering::Relaxed) == 0;
        let wait = if is_idle && self.sent() == self.goal() {
            Wait::Answer
        } else if is_idle && self.starving.load(Ordering::Relaxed) {
            Wait::Source
        } else {
            Wait::Peer
        };
        (wait, still)
    }
    /// What has been waited for too long, if anything.
    pub(super) fn stalled(&self, patience: &Patience) -> Option<Stall> {
        let (wait, still) = self.waits();
        let enough = match wait {
            Wait::Peer => patience.peer,
            Wait::Source => patience.source,
            Wait::Answer => patience.commit,
        };
        if still <= enough {
            return None;
        }
        let (enough, sent, size) = (enough.as_secs(), self.sent(), self.goal());
        Some(match wait {
            Wait::Peer => Stall::Peer(format!(
                "nothing could be sent for {enough} s, after {sent} of {size} bytes"
            )),
            Wait::Answer => Stall::Peer(format!("no answer within {enough} s after the last byte")),
            Wait::Source => Stall::Source(format!(
                "nothing more could be read for {enough} s, after {sent} bytes"
            )),
        })
    }
    /// The source is waited for until further notice.
    fn starve(&self) {
        self.starving.store(true, Ordering::Relaxed);
    }
    fn took(&self, bytes: usize) {
        self.total.fetch_add(bytes as u64, Ordering::Relaxed);
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
        self.starving.store(false, Ordering::Relaxed);
        self.moves();
    }
    fn moves(&self) {
        let now = self.start.elapsed().as_millis();
        self.moved
            .store(u64::try_from(now).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// What an upload waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// The connection, to take more.
    Peer,
    /// The source, to give more.
    Source,
    /// The registry, to say that it has the blob.
    Answer,
}

impl Wait {
    /// As the log says it.
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Peer => "Waiting for the registry to take more of a blob",
            Self::Source => "Waiting for the image's source to give more of a blob",
            Self::Answer => "Waiting for the registry to confirm a blob",
        }
    }
}

/// Who has been waited for too long, and what did not happen.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stall {
    Peer(String),
    Source(String),
}

/// A blob as a body of known length.
pub(super) struct BlobBody {
    pieces: mpsc::Receiver<Bytes>,
    left: u64,
    meter: Arc<Meter>,
}

impl BlobBody {
    /// Begins to read, for as long as the second value lives. Must be called in
    /// a runtime.
    pub(super) fn open(blob: &Blob, meter: &Arc<Meter>) -> (Self, Reading) {
        let (sender, pieces) = mpsc::channel(PIECES);
        let (home, free) = blocking::channel();
        for _ in 0..PIECES {
            // The receiver is right here.
            let _ = home.send(Some(Vec::new()));
        }
        let reading = Reading(home.clone());
        let (blob, failed) = (blob.clone(), meter.clone());
        let left = blob.size;
        tokio::task::spawn_blocking(move || {
            if let Err(error) = read(&blob, &failed, &sender, &home, &free) {
                *lock(&failed.failure) = Some(error);
            }
            // The sender goes only now, so that whoever sees the end sees why.
            drop(sender);
        });
        let body = Self {
            pieces,
            left,
            meter: meter.clone(),
        };
        (body, reading)
    }
}

/// A part of a blob as a body of known length. What is read goes on where the part
/// before it ended, so that nothing is read twice and nothing is kept.
pub(super) struct ChunkBody {
    blob: Arc<Mutex<BlobBody>>,
    left: u64,
}

impl ChunkBody {
    /// The next `length` bytes: a whole number of pieces, unless they are the last.
    pub(super) fn next(blob: &Arc<Mutex<BlobBody>>, length: u64) -> Self {
        Self {
            blob: blob.clone(),
            left: length,
        }
    }

    /// The smallest length of a chunk that is at least so long.
    pub(super) fn length_of(wanted: u64) -> u64 {
        wanted.div_ceil(PIECE as u64).saturating_mul(PIECE as u64)
    }
}

impl http_body::Body for ChunkBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let frame = Pin::new(&mut *lock(&self.blob)).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && let Some(piece) = frame.data_ref()
        {
            self.left = self.left.saturating_sub(piece.len() as u64);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// Keeps a reader at work. The connection of a dropped request does not: it
/// first sends what it has taken, which a stuck peer can draw out.
pub(super) struct Reading(blocking::Sender<Option<Vec<u8>>>);

impl Drop for Reading {
    fn drop(&mut self) {
        // The reader may have come to its end.
        let _ = self.0.send(None);
    }
}

impl http_body::Body for BlobBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        match self.pieces.poll_recv(context) {
            Poll::Ready(Some(piece)) => {
                self.left = self.left.saturating_sub(piece.len() as u64);
                self.meter.took(piece.len());
                Poll::Ready(Some(Ok(Frame::data(piece))))
            }
            Poll::Ready(None) => {
                Poll::Ready(Some(Err(io::Error::other("the source of the blob failed"))))
            }
            Poll::Pending => {
                self.meter.starve();
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// Bytes of a piece. Larger ones cost more processor time, since they fall out
/// of the cache between reading, encrypting and sending.
const PIECE: usize = 64 << 10;
/// Pieces of one upload in memory at a time.
const PIECES: usize = 4;

/// Reads a blob to the end, into buffers that come back when they are sent.
/// Ends early, without an error, when nobody wants the pieces any more.
fn read(
    blob: &Blob,
    meter: &Arc<Meter>,
    sender: &mpsc::Sender<Bytes>,
    home: &blocking::Sender<Option<Vec<u8>>>,
    free: &blocking::Receiver<Option<Vec<u8>>>,
) -> Result<(), Error> {
    if blob.size == 0 {
        return Ok(());
    }
    let mut source = open(blob)?;
    let mut left = blob.size;
    while left > 0 {
        let Ok(Some(mut buffer)) = free.recv() else {
            return Ok(());
        };
        let want = PIECE.min(usize::try_from(left).unwrap_or(PIECE));
        buffer.resize(want, 0);
        let mut have = 0;
        while have < want {
            match source.read(&mut buffer[have..]) {
                Ok(0) => {
                    return Err(changed(
                        blob,
                        format!(
                            "it ends after {} of {} bytes",
                            blob.size - left + have as u64,
                            blob.size
                        ),
                    ));
                }
                Ok(count) => have += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(unreadable(&blob.digest, error)),
            }
        }
        left -= have as u64;
        // Before the last piece goes: after it the upload is complete.
        if left == 0 {
            expect_end(blob, &mut source)?;
        }
        meter.held.fetch_add(1, Ordering::Relaxed);
        let piece = Piece {
            buffer,
            home: home.clone(),
            meter: meter.clone(),
        };
        if sender.blocking_send(Bytes::from_owner(piece)).is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// Reads a blob once more to see whether it still has its digest. The meter
/// tells how far it is.
pub(super) fn verify(blob: &Blob, meter: &Meter, stopped: impl Fn() -> bool) -> Result<(), Error> {
    use sha2::Digest as _;

    meter.starve();
    let mut source = open(blob)?;
    let mut hash = sha2::Sha256::new();
    let mut buffer = vec![0; PIECE];
    let mut size = 0;
    loop {
        if stopped() {
            return Err(Error::Stopped);
        }
        match source.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => {
                hash.update(&buffer[..count]);
                size += count as u64;
                meter.took(count);
                meter.starve();
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(unreadable(&blob.digest, error)),
        }
    }
    let mut actual = String::from("sha256:");
    for byte in hash.finalize() {
        actual.push_str(&format!("{byte:02x}"));
    }
    if actual == blob.digest.as_str() {
        return Ok(());
    }
    Err(changed(
        blob,
        format!("its {size} bytes have the digest {actual}"),
    ))
}

fn open(blob: &Blob) -> Result<Box<dyn Read + Send>, Error> {
    blob.source
        .open()
        .map_err(|source| Error::from((blob.digest.clone(), source)))
}

fn expect_end(blob: &Blob, source: &mut dyn Read) -> Result<(), Error> {
    loop {
        match source.read(&mut [0]) {
            Ok(0) => return Ok(()),
            Ok(_) => {
                return Err(changed(
                    blob,
                    format!("it goes on after its {} bytes", blob.size),
                ));
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(unreadable(&blob.digest, error)),
        }
    }
}

fn changed(blob: &Blob, message: String) -> Error {
    Error::BlobChanged {
        digest: blob.digest.clone(),
        message,
    }
}

/// Readers wrap the errors of their source.
fn unreadable(digest: &Digest, error: io::Error) -> Error {
    match error.downcast::<image::Error>() {
        Ok(source) => Error::from((digest.clone(), source)),
        Err(error) => Error::Blob {
            digest: digest.clone(),
            source: error.into(),
        },
    }
}

/// A filled buffer that goes back to its pool when it is sent.
struct Piece {
    buffer: Vec<u8>,
    home: blocking::Sender<Option<Vec<u8>>>,
    meter: Arc<Meter>,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.meter.moves();
        self.meter.held.fetch_sub(1, Ordering::Relaxed);
        // The reader may have ended.
        let _ = self.home.send(Some(std::mem::take(&mut self.buffer)));
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use http_body_util::BodyExt;

    use super::*;
    use crate::image::BlobSource;

    /// Gives bytes, and fails at the end if told to.
    #[derive(Clone, Debug)]
    struct Bits(Vec<u8>, Option<&'static str>);

    impl BlobSource for Bits {
        fn open(&self) -> Result<Box<dyn Read + Send>, image::Error> {
            let end: Box<dyn Read + Send> = match self.1 {
                None => Box::new(io::empty()),
                Some(text) => Box::new(Broken(text)),
            };
            Ok(Box::new(io::Cursor::new(self.0.clone()).chain(end)))
        }
    }

    struct Broken(&'static str);

    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(match self.0 {
                "stopped" => io::Error::other(image::Error::Stopped),
                text => io::Error::other(text),
            })
        }
    }

    fn blob(bytes: &[u8], size: u64, failure: Option<&'static str>) -> Blob {
        Blob {
            digest: Digest::of(b"hello"),
            size,
            source: Arc::new(Bits(bytes.to_vec(), failure)),
        }
    }

    async fn send(blob: &Blob) -> (Option<Vec<u8>>, Option<String>, u64) {
        let total = Arc::new(AtomicU64::new(0));
        let meter = Meter::new(blob.size, &total);
        let (mut body, _reading) = BlobBody::open(blob, &meter);
        let mut sent = Some(Vec::new());
        // Pieces are let go one by one, as a connection does: they are few.
        while let Some(frame) = body.frame().await {
            match (frame, &mut sent) {
                (Ok(frame), Some(sent)) => sent.extend(frame.into_data().unwrap()),
                _ => {
                    sent = None;
                    break;
                }
            }
        }
        assert_eq!(total.load(Ordering::Relaxed), meter.sent());
        (
            sent,
            meter.failure().map(|error| error.to_string()),
            meter.sent(),
        )
    }

    /// A blob of several pieces arrives as it is, and is counted.
    #[tokio::test]
    async fn bytes_arrive() {
        let bytes: Vec<u8> = (0..PIECE * 9 + 17).map(|i| (i % 251) as u8).collect();
        let size = bytes.len() as u64;
        let (sent, failure, count) = send(&blob(&bytes, size, None)).await;
        assert_eq!((sent, failure, count), (Some(bytes), None, size));
        assert_eq!(send(&blob(b"", 0, None)).await, (Some(vec![]), None, 0));
    }

    /// A source that is shorter, longer or broken ends the upload before its
    /// last byte, and says why.
    #[tokio::test]
    async fn wrong_sources_are_not_sent_whole() {
        let mut problems = Vec::new();
        for blob in [
            blob(b"hell", 5, None),
            blob(b"hello!", 5, None),
            blob(b"hel", 5, Some("disk on fire")),
            blob(b"hel", 5, Some("stopped")),
        ] {
            let (sent, failure, count) = send(&blob).await;
            assert_eq!((sent, count), (None, 0));
            problems.push(failure.unwrap_or_default());
        }
        expect![[r#"
            blob sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824 is not what it was when the image was read: it ends after 4 of 5 bytes
            blob sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824 is not what it was when the image was read: it goes on after its 5 bytes
            cannot read blob sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824 from the image's source
            interrupted"#]]
        .assert_eq(&problems.join("\n"));
    }

    /// A blob whose bytes changed is recognised by reading it again.
    #[test]
    fn changed_bytes_are_recognised() {
        let meter = Meter::new(9, &Arc::default());
        verify(&blob(b"hello", 5, None), &meter, || false).unwrap();
        assert_eq!(meter.sent(), 5);
        let error = verify(&blob(b"jello", 5, None), &meter, || false).unwrap_err();
        expect!["blob sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824 is not what it was when the image was read: its 5 bytes have the digest sha256:187c9bceeb919e1b3e6d20fa50ecabf7d9d50b5343e8f9a3d912abb13929102e"]
            .assert_eq(&error.to_string());
        assert!(matches!(
            verify(&blob(b"hello", 5, None), &meter, || true),
            Err(Error::Stopped)
        ));
    }

    /// Peer, source and answer are each waited for as long as is proper.
    #[test]
    fn stalls_are_told_apart() {
        let long = Duration::from_secs(60);
        let patient = || Patience {
            peer: long,
            source: long,
            commit: long,
            unreachable: long,
        };
        let (mut peer, mut source, mut commit) = (patient(), patient(), patient());
        peer.peer = Duration::ZERO;
        source.source = Duration::ZERO;
        commit.commit = Duration::ZERO;
        let meter = Meter::new(10, &Arc::default());
        let stalls = || {
            std::thread::sleep(Duration::from_millis(5));
            [&peer, &source, &commit].map(|patience| meter.stalled(patience))
        };
        expect![[
            r#"[Some(Peer("nothing could be sent for 0 s, after 0 of 10 bytes")), None, None]"#
        ]]
        .assert_eq(&format!("{:?}", stalls()));
        meter.took(4);
        meter.starve();
        expect![[
            r#"[None, Some(Source("nothing more could be read for 0 s, after 4 bytes")), None]"#
        ]]
        .assert_eq(&format!("{:?}", stalls()));
        // There is nothing more to take, since the connection keeps what it has.
        meter.held.store(1, Ordering::Relaxed);
        expect![[
            r#"[Some(Peer("nothing could be sent for 0 s, after 4 of 10 bytes")), None, None]"#
        ]]
        .assert_eq(&format!("{:?}", stalls()));
        meter.took(6);
        meter.held.store(0, Ordering::Relaxed);
        expect![[r#"[None, None, Some(Peer("no answer within 0 s after the last byte"))]"#]]
            .assert_eq(&format!("{:?}", stalls()));
    }
}
