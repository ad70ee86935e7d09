//! The body of an upload: a blob that is read while the connection sends, never more
//! than a few pieces of it in memory.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http_body::{Frame, SizeHint};
use tokio::task::JoinHandle;

use super::{
    Error,
    client::{Patience, lock},
};
use crate::image::{self, Blob, BlobReader, Digest};

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

/// The bytes of a blob, in the order of the file, for one body or for several of which each goes
/// on where the one before it ended, so that nothing is read twice and nothing is kept.
///
/// What the system has in memory is read by whoever sends it: handing it from a thread
/// to another costs as much as encrypting it. Everything else is read by a thread
/// that may wait, while what was read before is sent.
pub(super) struct BlobStream {
    supply: Supply,
    /// Whether the last piece did not have to be waited for.
    flows: bool,
    buffers: Arc<Buffers>,
    meter: Arc<Meter>,
}

/// Where the source of a stream is.
enum Supply {
    Here(Source),
    /// In a thread that reads.
    Away(JoinHandle<Result<(Source, Piece), Error>>),
    /// It failed, or nobody wants the blob any more.
    Gone,
}

impl BlobStream {
    /// A stream that is given for as long as the second value lives. Nothing is read yet.
    pub(super) fn open(blob: &Blob, meter: &Arc<Meter>) -> (Arc<Mutex<Self>>, Reading) {
        let buffers = Arc::new(Buffers::default());
        let source = Source {
            blob: blob.clone(),
            reader: None,
            left: blob.size,
            meter: meter.clone(),
            buffers: buffers.clone(),
        };
        let stream = Self {
            supply: Supply::Here(source),
            flows: false,
            buffers: buffers.clone(),
            meter: meter.clone(),
        };
        let stream = Arc::new(Mutex::new(stream));
        (stream.clone(), Reading(stream))
    }

    /// The next piece, when there is one.
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Piece>> {
        // Before anything is looked at that whoever wakes us may change.
        self.buffers.waker.register(context.waker());
        loop {
            match std::mem::replace(&mut self.supply, Supply::Gone) {
                Supply::Gone => {
                    return Poll::Ready(Err(io::Error::other("the blob is not read any further")));
                }
                Supply::Away(mut trip) => match Pin::new(&mut trip).poll(context) {
                    Poll::Pending => {
                        self.supply = Supply::Away(trip);
                        self.meter.starve();
                        return Poll::Pending;
                    }
                    Poll::Ready(Ok(Ok((source, piece)))) => {
                        self.supply = Supply::Here(source);
                        return Poll::Ready(Ok(piece));
                    }
                    Poll::Ready(Ok(Err(error))) => *lock(&self.meter.failure) = Some(error),
                    // The thread panicked, or there is no runtime any more.
                    Poll::Ready(Err(_)) => {}
                },
                Supply::Here(mut source) => {
                    // A piece that is sent before the next one is read is still in the cache.
                    let most = if self.flows { 1 } else { PIECES };
                    if self.meter.held.load(Ordering::SeqCst) >= most {
                        self.supply = Supply::Here(source);
                        return Poll::Pending;
                    }
                    let mut buffer = self.buffers.take(source.left);
                    let filled = source.fill_at_once(&mut buffer);
                    self.flows = filled == buffer.len();
                    if self.flows {
                        let piece = source.piece(buffer);
                        self.supply = Supply::Here(source);
                        return Poll::Ready(Ok(piece));
                    }
                    if source.reader.is_none() {
                        // Until now it was not the source that was waited for.
                        self.meter.moves();
                    }
                    let trip = move || source.fill(buffer, filled);
                    self.supply = Supply::Away(tokio::task::spawn_blocking(trip));
                }
            }
        }
    }
}

/// The source of a blob while it is read.
struct Source {
    blob: Blob,
    /// Opened by the first thread that reads.
    reader: Option<Box<dyn BlobReader>>,
    /// Bytes to come.
    left: u64,
    meter: Arc<Meter>,
    buffers: Arc<Buffers>,
}

impl Source {
    /// Fills a buffer with what does not have to be waited for; gives how much that is. When
    /// it is not all of it, the rest has to be.
    fn fill_at_once(&mut self, buffer: &mut [u8]) -> usize {
        match &mut self.reader {
            // The last piece comes with checks.
            Some(reader) if self.left > buffer.len() as u64 => {
                let filled = reader.read_at_once(buffer);
                self.left -= filled as u64;
                filled
            }
            _ => 0,
        }
    }

    /// Fills a buffer up, from where it is filled to. Blocking.
    fn fill(mut self, mut buffer: Vec<u8>, mut filled: usize) -> Result<(Self, Piece), Error> {
        let blob = &self.blob;
        let reader = match &mut self.reader {
            Some(reader) => reader,
            None => self.reader.insert(open(blob)?),
        };
        while filled < buffer.len() {
            match reader.read(&mut buffer[filled..]) {
                Ok(0) => {
                    return Err(changed(
                        blob,
                        format!(
                            "it ends after {} of {} bytes",
                            blob.size - self.left,
                            blob.size
                        ),
                    ));
                }
                Ok(count) => {
                    filled += count;
                    self.left -= count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(unreadable(&blob.digest, error)),
            }
        }
        // Before the last piece goes: after it the upload is complete.
        if self.left == 0 {
            expect_end(blob, &mut **reader)?;
            // An open file, or a response, that nobody needs while the registry thinks.
            self.reader = None;
        }
        let piece = self.piece(buffer);
        Ok((self, piece))
    }

    fn piece(&self, bytes: Vec<u8>) -> Piece {
        self.meter.held.fetch_add(1, Ordering::SeqCst);
        Piece {
            bytes,
            meter: self.meter.clone(),
            home: self.buffers.clone(),
        }
    }
}

/// A blob, or the next part of it, as a body of known length.
pub(super) struct BlobBody {
    stream: Arc<Mutex<BlobStream>>,
    left: u64,
}

impl BlobBody {
    /// The next `length` bytes: a whole number of pieces, unless they are the last.
    pub(super) fn next(stream: &Arc<Mutex<BlobStream>>, length: u64) -> Self {
        Self {
            stream: stream.clone(),
            left: length,
        }
    }

    /// The smallest length of a part that is at least so long.
    pub(super) fn length_of(wanted: u64) -> u64 {
        wanted.div_ceil(PIECE as u64).saturating_mul(PIECE as u64)
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
        let piece = ready!(lock(&self.stream).poll_piece(context));
        Poll::Ready(Some(piece.map(|piece| {
            self.left = self.left.saturating_sub(piece.bytes.len() as u64);
            piece.meter.took(piece.bytes.len());
            Frame::data(Bytes::from_owner(piece))
        })))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// Keeps a stream going. A connection whose request was dropped does not let go of the body
/// at once: before it closes it sends what it has taken, which a stuck peer can draw out,
/// and after an early answer all the rest.
pub(super) struct Reading(Arc<Mutex<BlobStream>>);

impl Drop for Reading {
    fn drop(&mut self) {
        let supply = std::mem::replace(&mut lock(&self.0).supply, Supply::Gone);
        lock(&self.0).buffers.waker.wake();
        drop(supply);
    }
}

/// Bytes of a piece. Larger ones cost more processor time, since they fall out
/// of the cache between reading, encrypting and sending.
const PIECE: usize = 64 << 10;
/// Pieces of one upload in memory at a time.
const PIECES: usize = 4;

/// The buffers of a stream: no more than there were pieces at a time.
#[derive(Default)]
struct Buffers {
    /// Those that are free.
    free: Mutex<Vec<Vec<u8>>>,
    /// Who waits for a piece to be let go, or for the end.
    waker: AtomicWaker,
}

impl Buffers {
    /// A buffer for the next piece, when so many bytes are left.
    fn take(&self, left: u64) -> Vec<u8> {
        let mut buffer = lock(&self.free).pop().unwrap_or_default();
        buffer.resize(PIECE.min(usize::try_from(left).unwrap_or(PIECE)), 0);
        buffer
    }
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

fn open(blob: &Blob) -> Result<Box<dyn BlobReader>, Error> {
    blob.source
        .open()
        .map_err(|source| Error::from((blob.digest.clone(), source)))
}

fn expect_end(blob: &Blob, source: &mut dyn BlobReader) -> Result<(), Error> {
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

/// Bytes of a blob. Their buffer goes back when they are sent.
struct Piece {
    bytes: Vec<u8>,
    meter: Arc<Meter>,
    home: Arc<Buffers>,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.bytes);
        lock(&self.home.free).push(buffer);
        self.meter.moves();
        self.meter.held.fetch_sub(1, Ordering::SeqCst);
        self.home.waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use expect_test::expect;
    use http_body_util::BodyExt;

    use super::*;
    use crate::image::{BlobSource, Waits};

    /// Gives bytes, and fails at the end if told to.
    #[derive(Clone, Debug)]
    struct Bits(Vec<u8>, Option<&'static str>);

    impl BlobSource for Bits {
        fn open(&self) -> Result<Box<dyn BlobReader>, image::Error> {
            let end: Box<dyn Read + Send> = match self.1 {
                None => Box::new(io::empty()),
                Some(text) => Box::new(Broken(text)),
            };
            Ok(Box::new(Waits(io::Cursor::new(self.0.clone()).chain(end))))
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
        let (stream, _reading) = BlobStream::open(blob, &meter);
        let mut body = BlobBody::next(&stream, blob.size);
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

    /// Has something in memory as often as its list says, and counts who waits for the rest.
    #[derive(Debug)]
    struct Cached {
        bytes: Vec<u8>,
        at_once: Vec<usize>,
        waits: Arc<AtomicUsize>,
    }

    struct CachedReader(
        io::Cursor<Vec<u8>>,
        std::vec::IntoIter<usize>,
        Arc<AtomicUsize>,
    );

    impl BlobSource for Cached {
        fn open(&self) -> Result<Box<dyn BlobReader>, image::Error> {
            let at_once = self.at_once.clone().into_iter();
            let bytes = io::Cursor::new(self.bytes.clone());
            Ok(Box::new(CachedReader(bytes, at_once, self.waits.clone())))
        }
    }

    impl Read for CachedReader {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.2.fetch_add(1, Ordering::SeqCst);
            self.0.read(buffer)
        }
    }

    impl BlobReader for CachedReader {
        fn read_at_once(&mut self, buffer: &mut [u8]) -> usize {
            let most = self.1.next().unwrap_or(0).min(buffer.len());
            self.0.read(&mut buffer[..most]).unwrap_or(0)
        }
    }

    /// What is in memory is taken from there, as much as there is of it, and threads wait for the rest
    /// only; what arrives is the same, in pieces that chunks can be made of.
    #[tokio::test]
    async fn what_is_in_memory_is_not_waited_for() {
        let bytes: Vec<u8> = (0..PIECE * 5 + 17).map(|i| (i % 251) as u8).collect();
        let mut waited = Vec::new();
        for at_once in [
            vec![],
            vec![PIECE; 10],
            vec![PIECE, 0, PIECE, 5, PIECE],
            vec![1; 10],
        ] {
            let waits = Arc::new(AtomicUsize::new(0));
            let blob = Blob {
                digest: Digest::of(&bytes),
                size: bytes.len() as u64,
                source: Arc::new(Cached {
                    bytes: bytes.clone(),
                    at_once,
                    waits: waits.clone(),
                }),
            };
            let meter = Meter::new(blob.size, &Arc::default());
            let (stream, _reading) = BlobStream::open(&blob, &meter);
            let mut sent = Vec::new();
            for length in [2 * PIECE as u64, blob.size - 2 * PIECE as u64] {
                let mut body = BlobBody::next(&stream, length);
                let before = sent.len();
                while let Some(frame) = body.frame().await {
                    sent.extend(frame.unwrap().into_data().unwrap());
                }
                assert_eq!((sent.len() - before) as u64, length);
            }
            assert!(sent == bytes);
            assert_eq!(meter.held.load(Ordering::SeqCst), 0);
            waited.push(waits.load(Ordering::SeqCst));
        }
        // The first piece, the last one, and the end are always waited for.
        assert_eq!(waited, [7, 3, 5, 7]);
    }

    /// A piece in memory is read when the one before it was let go, and not before.
    #[tokio::test]
    async fn one_piece_at_a_time() {
        let bytes = vec![7; PIECE * 4];
        let blob = Blob {
            digest: Digest::of(&bytes),
            size: bytes.len() as u64,
            source: Arc::new(Cached {
                bytes,
                at_once: vec![PIECE; 4],
                waits: Arc::default(),
            }),
        };
        let meter = Meter::new(blob.size, &Arc::default());
        let (stream, reading) = BlobStream::open(&blob, &meter);
        let mut body = BlobBody::next(&stream, blob.size);
        let first = body.frame().await;
        let second = body.frame().await;
        assert!(matches!(&second, Some(Ok(_))), "{second:?}");
        let mut third = std::pin::pin!(body.frame());
        assert!(futures_util::poll!(third.as_mut()).is_pending());
        assert_eq!(meter.waits().0, Wait::Peer);
        drop((first, second));
        let third = third.await;
        assert!(matches!(&third, Some(Ok(_))), "{third:?}");
        // Nobody wants it any more: what waits is woken.
        let mut fourth = std::pin::pin!(body.frame());
        assert!(futures_util::poll!(fourth.as_mut()).is_pending());
        let (fourth, ()) = tokio::join!(fourth, async { drop(reading) });
        assert!(matches!(fourth, Some(Err(_))), "{fourth:?}");
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
