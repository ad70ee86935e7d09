//! Deterministic compression of layers.
//!
//! A layer that comes uncompressed is cut into stretches of 1 MiB, each becomes
//! a gzip member of its own, and the members follow each other. RFC 1952 allows
//! that, and every gzip reader reads it as one stream. The stretches are
//! compressed independently, so the result does not depend on how many threads
//! work, and a reader needs a few of them in memory and no more.
//!
//! Digests depend on every byte that comes out here, for ever, so the compressor is ours:
//! [`ocir_deflate`] says how it works, what it was measured beside, and why its output depends on
//! nothing but its input. The header of a member is fixed: no name, no time, system 255.
//!
//! Compressing happens once on a machine that has a cache, and without one three times: while
//! planning, when the host plans anew during apply, and while sending. It takes most of the time
//! of pushing layers that come uncompressed, and both processors of a small machine. So it is
//! fast rather than thorough. The next better level of libdeflate, for example, would make 1.1 GB
//! of layers 16 MB smaller, which are sent in less time than it takes longer, even at 10 MB/s.
//!
//! zstd is used at level 3, in frames of the same 1 MiB: its fastest levels gain little time
//! beside the hashing. By its source, the output depends on the version of the library (which is
//! pinned) and on nothing of the processor; that was not tried on others.
//!
//! `golden_digest` and `golden_zstd_digest` notice an output that is another one: then
//! [`ALGORITHM`] or [`ZSTD_ALGORITHM`] needs a new name, and users a note.

use std::{
    collections::VecDeque,
    fmt,
    fs::File,
    io::{self, Read},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
};

use flate2::Crc;
use ocir_deflate::{Compressor, STRETCH, Stretch};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::{Digest, Error, digest::Hasher, file::Extent, layer::Format};

/// Name and version of the algorithm and level; whatever changes a digest
/// changes this name.
pub const ALGORITHM: &str = "gzip-1m-ocir-1";

/// The same for zstd.
pub const ZSTD_ALGORITHM: &str = "zstd-1m-libzstd-3";

/// What layers that come uncompressed are compressed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Algorithm {
    Gzip,
    Zstd,
}

impl Algorithm {
    /// Name and version.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Gzip => ALGORITHM,
            Self::Zstd => ZSTD_ALGORITHM,
        }
    }

    /// What the result is.
    pub(super) fn format(self) -> Format {
        match self {
            Self::Gzip => Format::Gzip,
            Self::Zstd => Format::Zstd,
        }
    }

    /// Whether an algorithm of this name, of any version, gives the same format.
    pub(super) fn is_kin_of(self, name: &str) -> bool {
        let family = |name: &str| name.split('-').next().unwrap_or_default().to_owned();
        family(self.name()) == family(name)
    }
}

/// What compressing a layer gives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Compressed {
    /// Digest of the uncompressed bytes: the layer's `diff_id`.
    pub(super) diff_id: Digest,
    /// Digest of the compressed bytes.
    pub(super) digest: Digest,
    /// Their number.
    pub(super) size: u64,
}

/// Compresses a layer to learn its digest; `sink` gets the compressed bytes.
pub(super) fn measure(
    pool: &Arc<Pool>,
    algorithm: Algorithm,
    extent: &Extent,
    stop: &CancellationToken,
    sink: &mut dyn FnMut(&[u8]),
) -> Result<Compressed, Error> {
    let mut members = Members::open(pool, algorithm, Stretches::open(extent)?, true);
    let compressed = drain(&mut members, stop, sink)?;
    members.input.check_unchanged()?;
    Ok(compressed)
}

/// The same for bytes that can be read only once, and in order.
pub(super) fn measure_stream(
    pool: &Arc<Pool>,
    algorithm: Algorithm,
    stream: &mut dyn Read,
    place: &str,
    stop: &CancellationToken,
    sink: &mut dyn FnMut(&[u8]),
) -> Result<Compressed, Error> {
    let input = Chunks::new(stream, place.to_owned());
    drain(&mut Members::open(pool, algorithm, input, true), stop, sink)
}

fn drain(
    members: &mut Members<impl Input>,
    stop: &CancellationToken,
    sink: &mut dyn FnMut(&[u8]),
) -> Result<Compressed, Error> {
    let (mut diff_id, mut digest, mut size) = (Hasher::new(), Hasher::new(), 0);
    while let Some(member) = members.next()? {
        if stop.is_cancelled() {
            return Err(Error::Stopped);
        }
        if let Some(input) = member.input {
            diff_id.update(input.bytes());
            members.pool.spares.give(input);
        }
        digest.update(&member.output);
        size += member.output.len() as u64;
        sink(&member.output);
    }
    Ok(Compressed {
        diff_id: diff_id.finish(),
        digest: digest.finish(),
        size,
    })
}

/// The compressed bytes of a layer, made while they are read.
pub(super) struct CompressingReader<I: Input> {
    members: Members<I>,
    current: Vec<u8>,
    position: usize,
}

impl CompressingReader<Stretches> {
    pub(super) fn open(
        pool: &Arc<Pool>,
        algorithm: Algorithm,
        extent: &Extent,
    ) -> Result<Self, Error> {
        Ok(Self::new(pool, algorithm, Stretches::open(extent)?))
    }
}

impl<R: Read> CompressingReader<Chunks<R>> {
    pub(super) fn stream(pool: &Arc<Pool>, algorithm: Algorithm, stream: R, place: String) -> Self {
        Self::new(pool, algorithm, Chunks::new(stream, place))
    }
}

impl<I: Input> CompressingReader<I> {
    fn new(pool: &Arc<Pool>, algorithm: Algorithm, input: I) -> Self {
        Self {
            members: Members::open(pool, algorithm, input, false),
            current: Vec::new(),
            position: 0,
        }
    }
}

impl<I: Input> Read for CompressingReader<I> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.position == self.current.len() {
            match self.members.next()? {
                Some(member) => (self.current, self.position) = (member.output, 0),
                None => return Ok(0),
            }
        }
        let count = buffer.len().min(self.current.len() - self.position);
        buffer[..count].copy_from_slice(&self.current[self.position..self.position + count]);
        self.position += count;
        Ok(count)
    }
}

/// One compressed stretch.
pub(super) struct Member {
    /// The bytes it was made from, when they were asked for.
    input: Option<Stretch>,
    output: Vec<u8>,
}

/// Where the uncompressed bytes come from, stretch by stretch.
pub(super) trait Input {
    /// What makes the next member; `None` after the last.
    fn next(&mut self, spares: &Spares, keep_input: bool) -> Result<Option<Making>, Error>;
    /// How messages name it.
    fn place(&self) -> String;
}

/// Makes a member on a thread of the pool; `None` when nobody wants it any more.
type Making = Box<dyn FnOnce(&mut Worker, Algorithm) -> Option<Result<Member, Error>> + Send>;

/// Stretches of a file, which the threads of the pool read themselves.
pub(super) struct Stretches {
    layer: Arc<Layer>,
    /// Members that come, counted: an empty layer has one, or it would be no gzip.
    total: u64,
    started: u64,
}

/// What the workers need to know of a layer.
struct Layer {
    extent: Extent,
    file: File,
    /// The reader is gone; what is queued need not be done.
    abandoned: AtomicBool,
}

impl Stretches {
    fn open(extent: &Extent) -> Result<Self, Error> {
        let layer = Layer {
            file: extent.file.reopen()?,
            extent: extent.clone(),
            abandoned: AtomicBool::new(false),
        };
        Ok(Self {
            layer: Arc::new(layer),
            total: extent.length.div_ceil(STRETCH as u64).max(1),
            started: 0,
        })
    }

    fn check_unchanged(&self) -> Result<(), Error> {
        self.layer.extent.file.check(&self.layer.file)
    }
}

impl Input for Stretches {
    fn next(&mut self, _spares: &Spares, keep_input: bool) -> Result<Option<Making>, Error> {
        if self.started == self.total {
            return Ok(None);
        }
        let (layer, index) = (Arc::clone(&self.layer), self.started);
        self.started += 1;
        Ok(Some(Box::new(move |worker, algorithm| {
            let is_wanted = !layer.abandoned.load(Ordering::Relaxed);
            is_wanted.then(|| worker.compress(&layer, index, algorithm, keep_input))
        })))
    }

    fn place(&self) -> String {
        self.layer.extent.place()
    }
}

impl Drop for Stretches {
    fn drop(&mut self) {
        self.layer.abandoned.store(true, Ordering::Relaxed);
    }
}

/// Stretches of a stream.
pub(super) struct Chunks<R> {
    stream: R,
    place: String,
    started: bool,
    ended: bool,
}

impl<R: Read> Chunks<R> {
    fn new(stream: R, place: String) -> Self {
        Self {
            stream,
            place,
            started: false,
            ended: false,
        }
    }
}

impl<R: Read> Input for Chunks<R> {
    fn next(&mut self, spares: &Spares, keep_input: bool) -> Result<Option<Making>, Error> {
        if self.ended {
            return Ok(None);
        }
        let mut chunk = spares.take();
        chunk.fill(|room| {
            let mut filled = 0;
            while filled < room.len() {
                match self.stream.read(&mut room[filled..]) {
                    Ok(0) => {
                        self.ended = true;
                        break;
                    }
                    Ok(count) => filled += count,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(Error::unwrap_io(error, &self.place)),
                }
            }
            Ok(filled)
        })?;
        // A stream of whole stretches ends with none, as a file does.
        if chunk.bytes().is_empty() && self.started {
            return Ok(None);
        }
        self.started = true;
        Ok(Some(Box::new(move |worker, algorithm| {
            Some(worker.pack(chunk, algorithm, keep_input))
        })))
    }

    fn place(&self) -> String {
        self.place.clone()
    }
}

/// The members of a layer, in order, some of them in the making.
struct Members<I> {
    pool: Arc<Pool>,
    algorithm: Algorithm,
    input: I,
    ended: bool,
    pending: VecDeque<Pending>,
    keep_input: bool,
}

struct Pending {
    result: mpsc::Receiver<Result<Member, Error>>,
    /// Given back when the member has been taken.
    _slot: Option<Slot>,
}

impl<I: Input> Members<I> {
    fn open(pool: &Arc<Pool>, algorithm: Algorithm, input: I, keep_input: bool) -> Self {
        Self {
            pool: Arc::clone(pool),
            algorithm,
            input,
            ended: false,
            pending: VecDeque::new(),
            keep_input,
        }
    }

    fn next(&mut self) -> Result<Option<Member>, Error> {
        while !self.ended && self.pending.len() <= self.pool.threads {
            // One member is always in the making, so readers never wait for each
            // other; how many more depends on what other readers hold.
            let slot = if self.pending.is_empty() {
                None
            } else {
                match self.pool.slot() {
                    Some(slot) => Some(slot),
                    None => break,
                }
            };
            let Some(making) = self.input.next(&self.pool.spares, self.keep_input)? else {
                self.ended = true;
                break;
            };
            let (sender, result) = mpsc::sync_channel(1);
            let algorithm = self.algorithm;
            self.pool.submit(Box::new(move |worker| {
                if let Some(made) = making(worker, algorithm) {
                    // Nobody listens when the reader was dropped meanwhile.
                    let _ = sender.send(made);
                }
            }))?;
            self.pending.push_back(Pending {
                result,
                _slot: slot,
            });
        }
        match self.pending.pop_front() {
            None => Ok(None),
            Some(pending) => match pending.result.recv() {
                Ok(member) => member.map(Some),
                Err(mpsc::RecvError) => Err(Error::Read {
                    place: self.input.place(),
                    cause: io::Error::other("a compressing thread ended early"),
                }),
            },
        }
    }
}

/// Threads that compress, shared by all readers of a process. They start with
/// the first work and end with the pool.
///
/// Memory: every thread has a stretch and a compressor (2.7 MiB together); every reader holds
/// one member, all readers together [`SLOTS`] more; and as many stretches may be spare.
pub(super) struct Pool {
    threads: usize,
    spares: Spares,
    shared: Arc<Shared>,
    /// Members that may still be made ahead.
    slots: Arc<AtomicUsize>,
}

struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    spares: Spares,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    running: usize,
    idle: usize,
    closed: bool,
}

type Job = Box<dyn FnOnce(&mut Worker) + Send>;

impl Pool {
    pub(super) fn new(threads: usize) -> Self {
        let spares = Spares::default();
        Self {
            threads: threads.max(1),
            shared: Arc::new(Shared {
                queue: Mutex::default(),
                wake: Condvar::new(),
                spares: spares.clone(),
            }),
            spares,
            slots: Arc::new(AtomicUsize::new(SLOTS)),
        }
    }

    fn slot(&self) -> Option<Slot> {
        self.slots
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |free| {
                free.checked_sub(1)
            })
            .ok()
            .map(|_| Slot(Arc::downgrade(&self.slots)))
    }

    fn submit(&self, job: Job) -> Result<(), Error> {
        let mut queue = self.shared.lock();
        queue.jobs.push_back(job);
        if queue.idle < queue.jobs.len() && queue.running < self.threads {
            let shared = Arc::clone(&self.shared);
            let thread = std::thread::Builder::new()
                .name("compress".to_owned())
                .spawn(move || shared.work());
            match thread {
                Ok(_) => queue.running += 1,
                // A busy thread will come to it; without any, nobody would.
                Err(_) if queue.running > 0 => {}
                Err(cause) => {
                    queue.jobs.clear();
                    return Err(Error::Read {
                        place: "a layer (no thread could be started)".to_owned(),
                        cause,
                    });
                }
            }
        }
        drop(queue);
        self.shared.wake.notify_one();
        Ok(())
    }
}

impl Default for Pool {
    /// As many threads as there are processors, but at most four: they take in about
    /// 1 GB/s, and bound the memory.
    fn default() -> Self {
        Self::new(std::thread::available_parallelism().map_or(1, |count| count.get().min(4)))
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let mut queue = self.shared.lock();
        queue.closed = true;
        queue.jobs.clear();
        drop(queue);
        self.shared.wake.notify_all();
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("threads", &self.threads)
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing that holds the lock can leave the queue half changed.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        let mut worker = Worker::new(&self.spares);
        let mut queue = self.lock();
        loop {
            if queue.closed {
                return;
            }
            if let Some(job) = queue.jobs.pop_front() {
                drop(queue);
                // A thread that dies would never be replaced. Whoever waits for
                // the job notices that its sender is gone.
                let done = catch_unwind(AssertUnwindSafe(|| job(&mut worker)));
                if done.is_err() {
                    worker = Worker::new(&self.spares);
                }
                queue = self.lock();
            } else {
                queue.idle += 1;
                queue = self
                    .wake
                    .wait(queue)
                    .unwrap_or_else(PoisonError::into_inner);
                queue.idle -= 1;
            }
        }
    }
}

/// The right to hold one more member.
struct Slot(Weak<AtomicUsize>);

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(slots) = self.0.upgrade() {
            slots.fetch_add(1, Ordering::AcqRel);
        }
    }
}

/// Stretches that are filled again: new ones would have to be cleared, by the system and by us.
#[derive(Clone, Default)]
pub(super) struct Spares(Arc<Mutex<Vec<Stretch>>>);

impl Spares {
    fn take(&self) -> Stretch {
        self.lock().pop().unwrap_or_default()
    }

    fn give(&self, stretch: Stretch) {
        let mut spares = self.lock();
        if spares.len() < SLOTS {
            spares.push(stretch);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Stretch>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A thread's own tools.
pub(super) struct Worker {
    spares: Spares,
    gzip: Compressor,
    /// Made when it is first needed: it takes a few MiB.
    zstd: Option<Zstd>,
}

/// zstd, and where it writes.
struct Zstd {
    compressor: zstd::bulk::Compressor<'static>,
    output: Vec<u8>,
}

impl Worker {
    fn new(spares: &Spares) -> Self {
        Self {
            spares: spares.clone(),
            gzip: Compressor::new(),
            zstd: None,
        }
    }

    /// Compresses a stretch of a file.
    fn compress(
        &mut self,
        layer: &Layer,
        index: u64,
        algorithm: Algorithm,
        keep_input: bool,
    ) -> Result<Member, Error> {
        let mut input = self.spares.take();
        let start = index * STRETCH as u64;
        input.fill(|room| layer.extent.read_at(&layer.file, start, room))?;
        self.pack(input, algorithm, keep_input)
    }

    fn pack(
        &mut self,
        input: Stretch,
        algorithm: Algorithm,
        keep_input: bool,
    ) -> Result<Member, Error> {
        let output = match algorithm {
            Algorithm::Gzip => self.gzip(&input),
            Algorithm::Zstd => self.zstd(input.bytes()).map_err(|cause| Error::Read {
                place: "a layer (zstd could not compress it)".to_owned(),
                cause,
            })?,
        };
        let input = if keep_input {
            Some(input)
        } else {
            self.spares.give(input);
            None
        };
        Ok(Member { input, output })
    }

    /// A member of a gzip file (RFC 1952, section 2.3).
    fn gzip(&mut self, input: &Stretch) -> Vec<u8> {
        let body = self.gzip.compress(input);
        let mut check = Crc::new();
        check.update(input.bytes());
        let mut member = Vec::with_capacity(GZIP_HEADER.len() + body.len() + 8);
        member.extend_from_slice(&GZIP_HEADER);
        member.extend_from_slice(body);
        member.extend_from_slice(&check.sum().to_le_bytes());
        member.extend_from_slice(&check.amount().to_le_bytes());
        member
    }

    fn zstd(&mut self, input: &[u8]) -> io::Result<Vec<u8>> {
        let zstd = match &mut self.zstd {
            Some(zstd) => zstd,
            slot => slot.insert(Zstd::new()?),
        };
        let count = zstd
            .compressor
            .compress_to_buffer(input, zstd.output.as_mut_slice())?;
        Ok(zstd.output[..count].to_vec())
    }
}

impl Zstd {
    /// Every frame says how many bytes it unpacks to and ends with their check sum, whatever the
    /// library's defaults are.
    fn new() -> io::Result<Self> {
        let mut compressor = zstd::bulk::Compressor::new(ZSTD_LEVEL)?;
        compressor.include_checksum(true)?;
        compressor.include_contentsize(true)?;
        Ok(Self {
            compressor,
            output: vec![0; zstd::zstd_safe::compress_bound(STRETCH)],
        })
    }
}

/// Deflate; no flags, no time; fastest; written by an unknown system.
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 255];

const ZSTD_LEVEL: i32 = 3;

/// Members that all readers together may hold beyond one each.
const SLOTS: usize = 4;

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::image::{file::InputFile, testing::gunzip};

    /// Something between text and noise, of which the processor's generator has
    /// no part: 2.5 MiB, so three members.
    fn sample() -> Vec<u8> {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let words = [
            "usr",
            "lib",
            "x86_64",
            "share/doc",
            "copyright",
            "\0\0\0\0",
            "\n",
        ];
        let mut sample = Vec::new();
        while sample.len() < 5 << 19 {
            match random() % 16 {
                0 => sample.extend((0..random() % 64).flat_map(|_| random().to_le_bytes())),
                1 => sample.extend(std::iter::repeat_n(0, (random() % 2000) as usize)),
                word => sample.extend(words[word as usize % words.len()].bytes()),
            }
        }
        sample.truncate(5 << 19);
        sample
    }

    fn compress(bytes: &[u8], threads: usize) -> anyhow::Result<(Compressed, Vec<u8>)> {
        compress_with(Algorithm::Gzip, bytes, threads)
    }

    fn compress_with(
        algorithm: Algorithm,
        bytes: &[u8],
        threads: usize,
    ) -> anyhow::Result<(Compressed, Vec<u8>)> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("layer.tar");
        std::fs::write(&path, bytes)?;
        let (file, _) = InputFile::open(&path)?;
        let (pool, extent) = (Arc::new(Pool::new(threads)), Extent::whole(file));
        let stop = CancellationToken::new();
        let mut sunk = Vec::new();
        let mut sink = |bytes: &[u8]| sunk.extend_from_slice(bytes);
        let measured = measure(&pool, algorithm, &extent, &stop, &mut sink)?;
        let mut read = Vec::new();
        CompressingReader::open(&pool, algorithm, &extent)?.read_to_end(&mut read)?;
        assert!(sunk == read, "the sink got other bytes than a reader");
        Ok((measured, read))
    }

    /// The digest of a fixed layer: it is what users have in their states, so a
    /// change here is a breaking change and needs a new name of the algorithm.
    #[test]
    fn golden_digest() -> anyhow::Result<()> {
        let (measured, _) = compress(&sample(), 2)?;
        expect![[r#"
            (
                "gzip-1m-ocir-1",
                Compressed {
                    diff_id: Digest(
                        "sha256:0967ef2365844efe1f489f6dd34b7156c5d80c52515d393f1a5f4d25199d38fb",
                    ),
                    digest: Digest(
                        "sha256:72df3f2dccfef53a715bb684594f0138ffb9fb612a95e91a25908f13a6450e33",
                    ),
                    size: 570397,
                },
            )
        "#]]
        .assert_debug_eq(&(ALGORITHM, measured));
        Ok(())
    }

    /// The same for zstd.
    #[test]
    fn golden_zstd_digest() -> anyhow::Result<()> {
        let (one, bytes) = compress_with(Algorithm::Zstd, &sample(), 1)?;
        let (four, four_bytes) = compress_with(Algorithm::Zstd, &sample(), 4)?;
        assert_eq!(one, four);
        assert!(bytes == four_bytes);
        assert!(zstd::stream::decode_all(bytes.as_slice())? == sample());
        expect![[r#"
            (
                "zstd-1m-libzstd-3",
                Digest(
                    "sha256:59d4b5d911b45830ad51c55fa615b0cfb17dbfc27aa0056089dad84c806d1411",
                ),
                551579,
            )
        "#]]
        .assert_debug_eq(&(ZSTD_ALGORITHM, one.digest, one.size));
        Ok(())
    }

    /// A stream and a file of the same bytes become the same, whatever the stream's
    /// pieces are.
    #[test]
    fn streams_and_files_agree() -> anyhow::Result<()> {
        struct Trickle<'a>(&'a [u8]);
        impl Read for Trickle<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let count = buffer.len().min(700_001);
                self.0.read(&mut buffer[..count])
            }
        }
        let (pool, stop) = (Arc::new(Pool::new(2)), CancellationToken::new());
        for size in [
            0,
            1,
            STRETCH - 1,
            STRETCH,
            STRETCH + 1,
            2 * STRETCH,
            5 << 19,
        ] {
            let plain = &sample()[..size];
            let (expected, bytes) = compress(plain, 2)?;
            let mut sunk = Vec::new();
            let measured = measure_stream(
                &pool,
                Algorithm::Gzip,
                &mut Trickle(plain),
                "a stream",
                &stop,
                &mut |bytes| sunk.extend_from_slice(bytes),
            )?;
            assert_eq!(measured, expected, "{size}");
            assert!(sunk == bytes, "{size}");
            let mut read = Vec::new();
            CompressingReader::stream(&pool, Algorithm::Gzip, plain, String::new())
                .read_to_end(&mut read)?;
            assert!(read == bytes, "{size}");
        }
        Ok(())
    }

    /// One thread and four give the same bytes, and measuring what reading gives.
    #[test]
    fn threads_make_no_difference() -> anyhow::Result<()> {
        let (one, one_read) = compress(&sample(), 1)?;
        let (four, four_read) = compress(&sample(), 4)?;
        assert_eq!(one, four);
        assert!(one_read == four_read);
        assert_eq!(Digest::of(&one_read), one.digest);
        assert_eq!(one_read.len() as u64, one.size);
        assert_eq!(Digest::of(&sample()), one.diff_id);
        Ok(())
    }

    /// Sizes around the border of a member are read back, an empty layer included.
    #[test]
    fn gzip_readers_understand_it() -> anyhow::Result<()> {
        for size in [0, 1, 511, STRETCH - 1, STRETCH, STRETCH + 1, 5 << 19] {
            let plain = &sample()[..size];
            let (measured, compressed) = compress(plain, 2)?;
            assert!(gunzip(&compressed)? == plain, "{size}");
            assert_eq!(Digest::of(plain), measured.diff_id);
            // No flags, no time, fastest, unknown system.
            assert_eq!(compressed[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 255]);
        }
        Ok(())
    }

    /// Members are cut every 1 MiB, and each is a gzip file of its own.
    #[test]
    fn members_are_independent() -> anyhow::Result<()> {
        let sample = sample();
        let (_, whole) = compress(&sample, 2)?;
        let mut joined = Vec::new();
        for stretch in sample.chunks(STRETCH) {
            joined.extend(compress(stretch, 1)?.1);
        }
        assert!(whole == joined);
        Ok(())
    }

    /// The gzip program, which nobody wrote for this, reads it too.
    #[test]
    fn the_gzip_program_reads_it() -> anyhow::Result<()> {
        use std::{io::Write as _, process};
        let (_, compressed) = compress(&sample(), 2)?;
        let gzip = process::Command::new("gzip")
            .args(["--decompress", "--stdout"])
            .stdin(process::Stdio::piped())
            .stdout(process::Stdio::piped())
            .spawn();
        let Ok(mut gzip) = gzip else {
            return Ok(()); // A machine without gzip.
        };
        let mut input = gzip.stdin.take().expect("it is piped");
        let writer = std::thread::spawn(move || input.write_all(&compressed));
        let output = gzip.wait_with_output()?;
        writer.join().expect("the writer does not panic")?;
        assert!(output.status.success());
        assert!(output.stdout == sample());
        Ok(())
    }

    /// Several readers that are read in turn, more than there are threads and
    /// slots, never wait for each other.
    #[test]
    fn readers_share_a_pool() -> anyhow::Result<()> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("layer.tar");
        std::fs::write(&path, sample())?;
        let (file, _) = InputFile::open(&path)?;
        let (pool, extent) = (Arc::new(Pool::new(2)), Extent::whole(file));
        let mut readers = (0..8)
            .map(|_| CompressingReader::open(&pool, Algorithm::Gzip, &extent))
            .collect::<Result<Vec<_>, _>>()?;
        let mut read = vec![Vec::new(); readers.len()];
        let mut buffer = vec![0; 100_000];
        loop {
            let mut total = 0;
            for (reader, read) in readers.iter_mut().zip(&mut read) {
                let count = reader.read(&mut buffer)?;
                read.extend_from_slice(&buffer[..count]);
                total += count;
            }
            if total == 0 {
                break;
            }
        }
        assert!(
            read.iter()
                .all(|read| gunzip(read).is_ok_and(|it| it == sample()))
        );
        Ok(())
    }

    /// A reader that is dropped in the middle gives back what it held, and the
    /// threads end with the pool.
    #[test]
    fn dropped_readers_leave_nothing() -> anyhow::Result<()> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("layer.tar");
        std::fs::write(&path, sample())?;
        let (file, _) = InputFile::open(&path)?;
        let (pool, extent) = (Arc::new(Pool::new(2)), Extent::whole(file));
        for _ in 0..20 {
            let mut reader = CompressingReader::open(&pool, Algorithm::Gzip, &extent)?;
            reader.read_exact(&mut [0; 10])?;
        }
        assert_eq!(pool.slots.load(Ordering::Acquire), SLOTS);
        let shared = Arc::downgrade(&pool.shared);
        drop(pool);
        let start = std::time::Instant::now();
        while shared.strong_count() > 0 {
            assert!(start.elapsed().as_secs() < 10, "threads still run");
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        Ok(())
    }

    /// A cancelled token ends the work.
    #[test]
    fn stops() -> anyhow::Result<()> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("layer.tar");
        // A hole of 100 GB costs nothing to make, and minutes to compress.
        std::fs::File::create(&path)?.set_len(100 << 30)?;
        let (file, _) = InputFile::open(&path)?;
        let (pool, extent) = (Arc::new(Pool::new(2)), Extent::whole(file));
        let stop = CancellationToken::new();
        let cancelled = {
            let stop = stop.clone();
            std::thread::spawn(move || {
                std::thread::sleep(std::time::Duration::from_millis(100));
                stop.cancel();
                std::time::Instant::now()
            })
        };
        let result = measure(&pool, Algorithm::Gzip, &extent, &stop, &mut |_| {});
        let cancelled = cancelled.join().expect("it only sleeps");
        assert!(matches!(result, Err(Error::Stopped)));
        assert!(
            cancelled.elapsed().as_secs() < 5,
            "it took {:?}",
            cancelled.elapsed()
        );
        Ok(())
    }
}
