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
//! An image is compressed for its digest while planning, again when the host
//! plans anew during apply, and once more while it is sent. With two cores and
//! 1.1 GB of layers, level 3 costs 0.8 s more for each of these, and saves
//! 16 MB of 440: more time than the bytes take even at 10 MB/s.
//!
//! The output does not depend on the processor. Of libdeflate's code that
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
use tokio_util::sync::CancellationToken;

use super::{Digest, Error, digest::Hasher, file::Extent};

/// Name and version of the algorithm and level; whatever changes a digest
/// changes this name.
pub const ALGORITHM: &str = "gzip-1m-libdeflate-1";

/// What compressing a layer gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Compressed {
    /// Digest of the uncompressed bytes: the layer's `diff_id`.
    pub(super) diff_id: Digest,
    /// Digest of the compressed bytes.
    pub(super) digest: Digest,
    /// Their number.
    pub(super) size: u64,
}

/// Compresses a layer to learn its digest; the bytes are thrown away, since
/// making them again while they are sent costs less than storing them.
pub(super) fn measure(
    pool: &Arc<Pool>,
    extent: &Extent,
    stop: &CancellationToken,
) -> Result<Compressed, Error> {
    let mut members = Members::open(pool, extent, true)?;
    let (mut diff_id, mut digest, mut size) = (Hasher::new(), Hasher::new(), 0);
    while let Some(member) = members.next()? {
        if stop.is_cancelled() {
            return Err(Error::Stopped);
        }
        diff_id.update(&member.input);
        digest.update(&member.output);
        size += member.output.len() as u64;
    }
    members.check_unchanged()?;
    Ok(Compressed {
        diff_id: diff_id.finish(),
        digest: digest.finish(),
        size,
    })
}

/// The compressed bytes of a layer, made while they are read.
pub(super) struct CompressingReader {
    members: Members,
    current: Vec<u8>,
    position: usize,
}

impl CompressingReader {
    pub(super) fn open(pool: &Arc<Pool>, extent: &Extent) -> Result<Self, Error> {
        Ok(Self {
            members: Members::open(pool, extent, false)?,
            current: Vec::new(),
            position: 0,
        })
    }
}

impl Read for CompressingReader {
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
struct Member {
    /// The bytes it was made from, when they were asked for.
    input: Vec<u8>,
    output: Vec<u8>,
}

/// The members of a layer, in order, some of them in the making.
struct Members {
    pool: Arc<Pool>,
    layer: Arc<Layer>,
    /// Members that come, counted: an empty layer has one, or it would be no gzip.
    total: u64,
    started: u64,
    pending: VecDeque<Pending>,
    keep_input: bool,
}

/// What the workers need to know of a layer.
struct Layer {
    extent: Extent,
    file: File,
    /// The reader is gone; what is queued need not be done.
    abandoned: AtomicBool,
}

struct Pending {
    result: mpsc::Receiver<Result<Member, Error>>,
    /// Given back when the member has been taken.
    _slot: Option<Slot>,
}

impl Members {
    fn open(pool: &Arc<Pool>, extent: &Extent, keep_input: bool) -> Result<Self, Error> {
        let layer = Layer {
            file: extent.file.reopen()?,
            extent: extent.clone(),
            abandoned: AtomicBool::new(false),
        };
        Ok(Self {
            pool: Arc::clone(pool),
            layer: Arc::new(layer),
            total: extent.length.div_ceil(MEMBER as u64).max(1),
            started: 0,
            pending: VecDeque::new(),
            keep_input,
        })
    }

    fn next(&mut self) -> Result<Option<Member>, Error> {
        while self.started < self.total && self.pending.len() <= self.pool.threads {
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
            let (sender, result) = mpsc::sync_channel(1);
            let layer = Arc::clone(&self.layer);
            let (index, keep_input) = (self.started, self.keep_input);
            self.pool.submit(Box::new(move |worker| {
                if !layer.abandoned.load(Ordering::Relaxed) {
                    // Nobody listens when the reader was dropped meanwhile.
                    let _ = sender.send(worker.compress(&layer, index, keep_input));
                }
            }))?;
            self.started += 1;
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
                    place: self.layer.extent.place(),
                    cause: io::Error::other("a compressing thread ended early"),
                }),
            },
        }
    }

    fn check_unchanged(&self) -> Result<(), Error> {
        self.layer.extent.file.check(&self.layer.file)
    }
}

impl Drop for Members {
    fn drop(&mut self) {
        self.layer.abandoned.store(true, Ordering::Relaxed);
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
struct Worker {
    compressor: Compressor,
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Worker {
    fn new() -> Self {
        let level = CompressionLvl::new(LEVEL).expect("libdeflate has a level 1");
        Self {
            compressor: Compressor::new(level),
            input: Vec::new(),
            output: Vec::new(),
        }
    }

    fn compress(&mut self, layer: &Layer, index: u64, keep_input: bool) -> Result<Member, Error> {
        self.input.resize(MEMBER, 0);
        let length = layer
            .extent
            .read_at(&layer.file, index * MEMBER as u64, &mut self.input)?;
        self.output
            .resize(self.compressor.gzip_compress_bound(MEMBER), 0);
        let count = self
            .compressor
            .gzip_compress(&self.input[..length], &mut self.output)
            .expect("the buffer has the size that the library asks for");
        let output = self.output[..count].to_vec();
        let mut input = Vec::new();
        if keep_input {
            input = std::mem::take(&mut self.input);
            input.truncate(length);
        }
        Ok(Member { input, output })
    }
}

/// Bytes of a layer that become one gzip member.
const MEMBER: usize = 1 << 20;

const LEVEL: i32 = 1;

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
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("layer.tar");
        std::fs::write(&path, bytes)?;
        let (file, _) = InputFile::open(&path)?;
        let (pool, extent) = (Arc::new(Pool::new(threads)), Extent::whole(file));
        let measured = measure(&pool, &extent, &CancellationToken::new())?;
        let mut read = Vec::new();
        CompressingReader::open(&pool, &extent)?.read_to_end(&mut read)?;
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
            .map(|_| CompressingReader::open(&pool, &extent))
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
            let mut reader = CompressingReader::open(&pool, &extent)?;
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
        let result = measure(&pool, &extent, &stop);
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
