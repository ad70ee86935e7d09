//! Deterministic compression of layers.
//!
//! A layer that comes uncompressed is cut into stretches of 1 MiB, each becomes
//! a gzip member of its own, and the members follow each other. RFC 1952 allows
//! that, and every gzip reader reads it as one stream. The stretches are
//! compressed independently, so the result does not depend on how many threads
//! work, and a reader needs a few of them in memory and no more.
//!
//! Digests depend on every byte that comes out here, for ever. Level 1 was
//! chosen by measuring libdeflate 1.26 in 1 MiB members, on 480 MB sampled from a
//! tar of `/usr` (AMD EPYC, one thread):
//!
//! | level | size | MB per CPU second |
//! |---|---|---|
//! | 1 | 39.7 % | 251 |
//! | 2 | 38.6 % | 197 |
//! | 3 | 38.3 % | 185 |
//! | 4 | 38.0 % | 174 |
//! | 6 | 37.2 % | 131 |
//!
//! (Members of 512 KiB and 4 MiB change size by less than half a per cent.)
//! Compressing happens once on a machine that has a cache, and without one three times: while
//! planning, when the host plans anew during apply, and while sending. With two cores and
//! 1.1 GB of layers, level 3 costs 0.8 s more for each of these, and saves
//! 16 MB of 440: more time than the bytes take even at 10 MB/s.
//!
//! The whole way into the cache (reading, compressing, hashing both sides, writing), for
//! 480 MB of `/usr` on two cores, beside programs that only compress:
//!
//! | | wall s | CPU s | MB per CPU second | size |
//! |---|---|---|---|---|
//! | gzip here | 1.4 | 2.7 | 178 | 46.9 % |
//! | zstd here | – | 1.9 | 250 | 42.4 % |
//! | `pigz -1 -p2` | 3.9 | 5.0 | 96 | 48.1 % |
//! | `gzip -1` | – | 6.2 | 77 | 48.2 % |
//! | `zstd -1` | – | 1.2 | 400 | 45.4 % |
//! | `zstd -2` | – | 1.2 | 390 | 43.2 % |
//! | `zstd -3` | – | 1.6 | 300 | 41.8 % |
//!
//! zstd is used at level 3, in frames of the same 1 MiB: its fastest levels gain little time
//! beside the hashing. By its source, the output depends on the version of the library (which is
//! pinned) and on nothing of the processor; unlike gzip, that was not tried on others.
//! `golden_zstd_digest` watches it.
//!
//! What gzip gives does not depend on the processor. Of libdeflate's code that
//! compresses (`lib/deflate_compress.c`), nothing chooses an instruction set at
//! run time; only the CRC-32 does, whose result is one number. What is written
//! per instruction set at build time (`matchfinder_init`, `matchfinder_rebase`)
//! fills or shifts a table, with the same result. Word size and unaligned access
//! change how fast matches are compared and bits are flushed, not which; block
//! splitting and code lengths are computed in integers. Level 1 hashes with
//! `get_unaligned_le32`, so not even byte order enters. Only a too small output
//! buffer could make word size matter, and ours has the size that the library
//! promises is enough. The header is fixed: no name,
//! no time, system 255. Tried, too: builds for x86-64, x86-64 with AVX-512, 64-bit
//! and 32-bit ARM and (big-endian) s390x gave the same bytes for 41 MB, levels 1 to 6.
//!
//! `golden_digest` notices a new version of the library that compresses
//! differently: then [`ALGORITHM`] needs a new name, and users a note.

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

use libdeflater::{CompressionLvl, Compressor};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::{Digest, Error, digest::Hasher, file::Extent, layer::Format};

/// Name and version of the algorithm and level; whatever changes a digest
/// changes this name.
pub const ALGORITHM: &str = "gzip-1m-libdeflate-1";

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
        diff_id.update(&member.input);
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
    input: Vec<u8>,
    output: Vec<u8>,
}

/// Where the uncompressed bytes come from, stretch by stretch.
pub(super) trait Input {
    /// What makes the next member; `None` after the last.
    fn next(&mut self, keep_input: bool) -> Result<Option<Making>, Error>;
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
            total: extent.length.div_ceil(MEMBER as u64).max(1),
            started: 0,
        })
    }

    fn check_unchanged(&self) -> Result<(), Error> {
        self.layer.extent.file.check(&self.layer.file)
    }
}

impl Input for Stretches {
    fn next(&mut self, keep_input: bool) -> Result<Option<Making>, Error> {
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
    fn next(&mut self, keep_input: bool) -> Result<Option<Making>, Error> {
        if self.ended {
            return Ok(None);
        }
        let mut chunk = vec![0; MEMBER];
        let mut filled = 0;
        while filled < MEMBER {
            match self.stream.read(&mut chunk[filled..]) {
                Ok(0) => {
                    self.ended = true;
                    break;
                }
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::unwrap_io(error, &self.place)),
            }
        }
        // A stream of whole stretches ends with none, as a file does.
        if filled == 0 && self.started {
            return Ok(None);
        }
        self.started = true;
        chunk.truncate(filled);
        Ok(Some(Box::new(move |worker, algorithm| {
            Some(worker.compress_chunk(chunk, algorithm, keep_input))
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
            let Some(making) = self.input.next(self.keep_input)? else {
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
/// Memory: every thread has an input buffer and a compressor (1.2 MiB together);
/// every reader holds one member, all readers together [`SLOTS`] more.
pub(super) struct Pool {
    threads: usize,
    shared: Arc<Shared>,
    /// Members that may still be made ahead.
    slots: Arc<AtomicUsize>,
}

struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
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
        Self {
            threads: threads.max(1),
            shared: Arc::new(Shared {
                queue: Mutex::default(),
                wake: Condvar::new(),
            }),
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
    /// As many threads as there are processors, but at most four: they fill a
    /// connection of 10 Gbit/s and bound the memory.
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
        let mut worker = Worker::new();
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
                    worker = Worker::new();
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

/// A thread's own tools.
pub(super) struct Worker {
    gzip: Compressor,
    /// Made when it is first needed: it takes a few MiB.
    zstd: Option<zstd::bulk::Compressor<'static>>,
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Worker {
    fn new() -> Self {
        let level = CompressionLvl::new(LEVEL).expect("libdeflate has a level 1");
        Self {
            gzip: Compressor::new(level),
            zstd: None,
            input: Vec::new(),
            output: Vec::new(),
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
        self.input.resize(MEMBER, 0);
        let mut input = std::mem::take(&mut self.input);
        let length = layer
            .extent
            .read_at(&layer.file, index * MEMBER as u64, &mut input)?;
        let output = self.pack(&input[..length], algorithm)?;
        if keep_input {
            input.truncate(length);
            return Ok(Member { input, output });
        }
        self.input = input;
        Ok(Member {
            input: Vec::new(),
            output,
        })
    }

    /// Compresses a stretch of a stream.
    fn compress_chunk(
        &mut self,
        mut input: Vec<u8>,
        algorithm: Algorithm,
        keep_input: bool,
    ) -> Result<Member, Error> {
        let output = self.pack(&input, algorithm)?;
        if !keep_input {
            input = Vec::new();
        }
        Ok(Member { input, output })
    }

    fn pack(&mut self, input: &[u8], algorithm: Algorithm) -> Result<Vec<u8>, Error> {
        let count = match algorithm {
            Algorithm::Gzip => {
                self.output.resize(self.gzip.gzip_compress_bound(MEMBER), 0);
                self.gzip
                    .gzip_compress(input, &mut self.output)
                    .expect("the buffer has the size that the library asks for")
            }
            Algorithm::Zstd => {
                self.output
                    .resize(zstd::zstd_safe::compress_bound(MEMBER), 0);
                zstd_compressor(&mut self.zstd)
                    .and_then(|zstd| zstd.compress_to_buffer(input, self.output.as_mut_slice()))
                    .map_err(|cause| Error::Read {
                        place: "a layer (zstd could not compress it)".to_owned(),
                        cause,
                    })?
            }
        };
        Ok(self.output[..count].to_vec())
    }
}

/// A thread's zstd. Every frame says how many bytes it unpacks to and ends with
/// their check sum, whatever the library's defaults are.
fn zstd_compressor<'a>(
    slot: &'a mut Option<zstd::bulk::Compressor<'static>>,
) -> io::Result<&'a mut zstd::bulk::Compressor<'static>> {
    if slot.is_none() {
        let mut compressor = zstd::bulk::Compressor::new(ZSTD_LEVEL)?;
        compressor.include_checksum(true)?;
        compressor.include_contentsize(true)?;
        *slot = Some(compressor);
    }
    slot.as_mut()
        .ok_or_else(|| io::Error::other("there is no compressor"))
}

/// Bytes of a layer that become one gzip member.
const MEMBER: usize = 1 << 20;

const LEVEL: i32 = 1;

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
                "gzip-1m-libdeflate-1",
                Compressed {
                    diff_id: Digest(
                        "sha256:0967ef2365844efe1f489f6dd34b7156c5d80c52515d393f1a5f4d25199d38fb",
                    ),
                    digest: Digest(
                        "sha256:38c7f44129474da73f5ea5aba1ead8900574a25c7bae73015f3ee7b6504156b9",
                    ),
                    size: 571386,
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
        for size in [0, 1, MEMBER - 1, MEMBER, MEMBER + 1, 2 * MEMBER, 5 << 19] {
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
        for size in [0, 1, 511, MEMBER - 1, MEMBER, MEMBER + 1, 5 << 19] {
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
        for stretch in sample.chunks(MEMBER) {
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
