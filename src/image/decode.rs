//! Files that are compressed as a whole, read from start to end.
//!
//! A gzip file is a row of members, a zstd file a row of frames. Where one
//! begins, reading can begin: those places are remembered, so that a blob in the
//! middle does not always cost the way from the start.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek as _, SeekFrom},
};

use flate2::bufread::GzDecoder;
use serde::{Deserialize, Serialize};

use super::layer::Format;

/// How a file is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Packing {
    Gzip,
    Zstd,
}

impl Packing {
    /// By the first bytes.
    pub(super) fn of(head: &[u8]) -> Option<Self> {
        match Format::of_head(head) {
            Format::Gzip => Some(Self::Gzip),
            Format::Zstd => Some(Self::Zstd),
            Format::Tar | Format::Other => None,
        }
    }
}

/// A place where reading can begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    packed: u64,
    plain: u64,
}

/// Reads what a file unpacks to.
pub(super) struct Decoder {
    state: State,
    packing: Packing,
    /// Bytes given so far, from the start of the file.
    position: u64,
    marks: Vec<Mark>,
}

enum State {
    Between(Input),
    Gzip(Box<GzDecoder<Input>>),
    Zstd(Box<zstd::stream::read::Decoder<'static, Input>>),
    Ended,
}

/// The file, and how far it was read.
struct Input {
    file: BufReader<File>,
    consumed: u64,
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.consumed += count as u64;
        Ok(count)
    }
}

impl BufRead for Input {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.file.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        self.consumed += count as u64;
        self.file.consume(count);
    }
}

impl Decoder {
    /// Begins at the start, or at the last mark before a position in the unpacked
    /// bytes, and goes there.
    pub(super) fn open(
        mut file: File,
        packing: Packing,
        marks: &[Mark],
        position: u64,
    ) -> io::Result<Self> {
        let mark = marks
            .iter()
            .rev()
            .find(|mark| mark.plain <= position)
            .copied()
            .unwrap_or_default();
        file.seek(SeekFrom::Start(mark.packed))?;
        let mut decoder = Self {
            state: State::Between(Input {
                file: BufReader::with_capacity(INPUT, file),
                consumed: mark.packed,
            }),
            packing,
            position: mark.plain,
            marks: Vec::new(),
        };
        let distance = position - mark.plain;
        let passed = io::copy(&mut (&mut decoder).take(distance), &mut io::sink())?;
        if passed < distance {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(decoder)
    }

    /// The places passed so far.
    pub(super) fn into_marks(self) -> Vec<Mark> {
        self.marks
    }

    /// Begins the next member, if there is one. What follows the last member and
    /// is none is left alone, as gzip does.
    fn begin(&mut self, mut input: Input) -> io::Result<()> {
        if input.consumed > 0 && !begins(self.packing, input.fill_buf()?) {
            self.state = State::Ended;
            return Ok(());
        }
        if self.marks.len() < MAX_MARKS {
            // A mark for every mebibyte is more than enough.
            let is_far = |last: &Mark| self.position - last.plain >= MARK_DISTANCE;
            if self.marks.last().is_none_or(is_far) {
                self.marks.push(Mark {
                    packed: input.consumed,
                    plain: self.position,
                });
            }
        }
        self.state = match self.packing {
            Packing::Gzip => State::Gzip(Box::new(GzDecoder::new(input))),
            Packing::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?;
                decoder.window_log_max(MAX_WINDOW_LOG)?;
                State::Zstd(Box::new(decoder.single_frame()))
            }
        };
        Ok(())
    }
}

impl Read for Decoder {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            let count = match &mut self.state {
                State::Gzip(decoder) => decoder.read(buffer)?,
                State::Zstd(decoder) => decoder.read(buffer)?,
                State::Ended => return Ok(0),
                State::Between(_) => 0,
            };
            if count > 0 {
                self.position += count as u64;
                return Ok(count);
            }
            match std::mem::replace(&mut self.state, State::Ended) {
                State::Between(input) => self.begin(input)?,
                State::Gzip(decoder) => self.state = State::Between(decoder.into_inner()),
                State::Zstd(decoder) => self.state = State::Between(decoder.finish()),
                State::Ended => return Ok(0),
            }
        }
    }
}

fn begins(packing: Packing, head: &[u8]) -> bool {
    // A buffer may end within the magic number; whatever follows it then is
    // decided by its first byte, and a decoder complains about the rest.
    match (packing, head) {
        (_, []) => false,
        (Packing::Gzip, [0x1f]) => true,
        (Packing::Zstd, head) if head.len() < 4 => matches!(head[0], 0x28 | 0x50..=0x5f),
        (packing, head) => Packing::of(head) == Some(packing),
    }
}

const INPUT: usize = 128 << 10;
const MARK_DISTANCE: u64 = 1 << 20;
const MAX_MARKS: usize = 64 << 10;
/// Windows of 8 MiB are what every decoder has to have, and the memory that one
/// may take here.
const MAX_WINDOW_LOG: u32 = 23;

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::image::testing::gzip;

    fn file(bytes: &[u8]) -> anyhow::Result<File> {
        let mut file = tempfile::tempfile()?;
        file.write_all(bytes)?;
        Ok(file)
    }

    fn packed(packing: Packing, bytes: &[u8]) -> anyhow::Result<Vec<u8>> {
        Ok(match packing {
            Packing::Gzip => gzip(bytes),
            Packing::Zstd => zstd::bulk::compress(bytes, 3)?,
        })
    }

    /// Several members are one stream, which can be entered anywhere; what
    /// follows them is left alone.
    #[test]
    fn members_and_marks() -> anyhow::Result<()> {
        for packing in [Packing::Gzip, Packing::Zstd] {
            let parts: Vec<Vec<u8>> = (0..4_u8)
                .map(|part| {
                    (0..1_500_000_u32)
                        .map(|it| (it % 251) as u8 ^ part)
                        .collect()
                })
                .collect();
            let mut bytes = Vec::new();
            for part in &parts {
                bytes.extend(packed(packing, part)?);
            }
            bytes.extend([0; 100]);
            let plain = parts.concat();
            let mut decoder = Decoder::open(file(&bytes)?, packing, &[], 0)?;
            let mut read = Vec::new();
            decoder.read_to_end(&mut read)?;
            assert!(read == plain);
            let marks = decoder.into_marks();
            assert_eq!(marks.len(), 4);
            for position in [0, 1, 1_499_999, 1_500_000, 3_000_001, 6_000_000] {
                let mut decoder = Decoder::open(file(&bytes)?, packing, &marks, position as u64)?;
                let mut read = Vec::new();
                decoder.read_to_end(&mut read)?;
                assert!(read == plain[position..], "{position}");
            }
            let beyond = Decoder::open(file(&bytes)?, packing, &marks, 6_000_001);
            assert!(beyond.is_err());
        }
        Ok(())
    }

    /// A file that was cut off or spoilt is an error, wherever, and never a panic.
    #[test]
    fn spoilt_files() -> anyhow::Result<()> {
        let plain: Vec<u8> = (0..3000_u32).flat_map(u32::to_le_bytes).collect();
        for packing in [Packing::Gzip, Packing::Zstd] {
            let bytes = packed(packing, &plain)?;
            let read = |bytes: &[u8]| -> anyhow::Result<io::Result<Vec<u8>>> {
                let mut read = Vec::new();
                let decoder = Decoder::open(file(bytes)?, packing, &[], 0);
                Ok(decoder.and_then(|mut decoder| decoder.read_to_end(&mut read).map(|_| read)))
            };
            for length in (1..bytes.len()).step_by(7) {
                assert!(read(&bytes[..length])?.is_err(), "{packing:?} {length}");
            }
            for at in (0..bytes.len()).step_by(5) {
                let mut bytes = bytes.clone();
                bytes[at] ^= 0x10;
                if let Ok(read) = read(&bytes)? {
                    // Names and times in a header do not matter.
                    assert!(read == plain || packing == Packing::Zstd, "{at}");
                }
            }
        }
        Ok(())
    }
}
