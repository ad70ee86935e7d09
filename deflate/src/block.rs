//! Blocks with codes of their own (RFC 1951, section 3.2.7), or stored.

use super::{
    Buffer, at,
    bits::{Bits, STORED},
    huffman::{self, codes, lengths},
    matches::{LENGTH_SLOTS, LENGTHS, Sequence},
};

/// What a block of its own costs beyond its symbols, about, in bits.
const HEAD: u64 = 120 * 8;

/// Longest code of literals and lengths. RFC 1951 allows 15; with 14, four literals fit into 64
/// bits beside the seven that may be pending.
const LONGEST_CODE: usize = 14;

/// How often each symbol occurs.
#[derive(Clone)]
pub(crate) struct Histogram {
    /// Literals, and the end of the block.
    pub(crate) literals: [u32; 257],
    /// Symbols of lengths, less 257; the last three are none.
    pub(crate) lengths: [u32; 32],
    /// Symbols of distances; the last two are none.
    pub(crate) distances: [u32; 32],
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self {
            literals: [0; 257],
            lengths: [0; 32],
            distances: [0; 32],
        }
    }

    fn add(&mut self, other: &Self) {
        for (mine, theirs) in [
            (&mut self.literals[..], &other.literals[..]),
            (&mut self.lengths[..], &other.lengths[..]),
            (&mut self.distances[..], &other.distances[..]),
        ] {
            for (mine, theirs) in mine.iter_mut().zip(theirs) {
                *mine += theirs;
            }
        }
    }

    /// What its symbols cost with the best code for them, in 1/256 bits. Extra bits are not
    /// counted: they are the same in every block.
    fn cost(&self) -> u64 {
        cost(self.literals.iter().chain(&self.lengths)) + cost(self.distances.iter())
    }
}

/// Shannon's bound, in 1/256 bits.
fn cost<'a>(counts: impl Iterator<Item = &'a u32>) -> u64 {
    let (mut total, mut known) = (0, 0);
    for &count in counts {
        total += count;
        known += u64::from(count) * log2(count);
    }
    (u64::from(total) * log2(total)).saturating_sub(known)
}

/// 256 times the binary logarithm; of 0, 0.
fn log2(number: u32) -> u64 {
    let Some(whole) = number.checked_ilog2() else {
        return 0;
    };
    let fraction = (u64::from(number) << 8 >> whole) as usize & 255;
    u64::from(whole) << 8 | u64::from(LOGARITHMS[fraction])
}

/// 256 times the binary logarithm of 1 + n/256, bit by bit: squaring doubles it.
static LOGARITHMS: [u8; 256] = {
    let mut logarithms = [0; 256];
    let mut n = 0;
    while n < 256 {
        let mut power: u64 = (256 + n as u64) << 22;
        let mut bit = 0;
        while bit < 8 {
            power = (power * power) >> 30;
            logarithms[n] <<= 1;
            if power >= 2 << 30 {
                logarithms[n] |= 1;
                power >>= 1;
            }
            bit += 1;
        }
        n += 1;
    }
    logarithms
};

/// A block in the making.
pub(crate) struct Block {
    /// Where in the stretch it begins.
    start: usize,
    counts: Histogram,
    cost: u64,
}

impl Block {
    pub(crate) fn new(start: usize) -> Self {
        Self {
            start,
            counts: Histogram::new(),
            cost: 0,
        }
    }

    /// Adds a piece that begins at `position`, unless the block has its length, or two blocks
    /// would be cheaper than one.
    pub(crate) fn takes(&mut self, piece: &Histogram, position: usize) -> bool {
        let of_piece = piece.cost();
        if position == self.start {
            (self.counts, self.cost) = (piece.clone(), of_piece);
            return true;
        }
        if position - self.start >= super::PIECES * super::PIECE {
            return false;
        }
        let mut both = self.counts.clone();
        both.add(piece);
        let cost = both.cost();
        let is_cheaper = cost <= self.cost + of_piece + (HEAD << 8);
        if is_cheaper {
            (self.counts, self.cost) = (both, cost);
        }
        is_cheaper
    }

    /// Writes it: with codes of its own, or stored if that is no longer.
    pub(crate) fn write(
        mut self,
        input: &Buffer,
        sequences: &[Sequence],
        end: usize,
        is_last: bool,
        bits: &mut Bits<'_>,
    ) {
        self.counts.literals[256] = 1;
        let codes = Codes::new(&self.counts);
        let head = Head::new(&codes);
        let size = end - self.start;
        // A byte for the bits before each length; with those that are pending it may be two.
        let stored = 8 * size as u64 + 40 * (size as u64).div_ceil(STORED as u64).max(1);
        if head.cost() + codes.cost(&self.counts) >= stored {
            bits.store(&input[self.start..end], is_last);
            return;
        }
        head.write(is_last, bits);
        Tables::new(&codes).write(input, self.start, sequences, bits);
        bits.put(u64::from(codes.codes[256]), u32::from(codes.lengths[256]));
        bits.flush();
    }
}

/// The codes of a block.
struct Codes {
    lengths: [u8; huffman::MOST],
    codes: [u16; huffman::MOST],
    distance_lengths: [u8; 30],
    distance_codes: [u16; 30],
}

impl Codes {
    fn new(counts: &Histogram) -> Self {
        let mut all = [0; huffman::MOST];
        all[..257].copy_from_slice(&counts.literals);
        all[257..].copy_from_slice(&counts.lengths[..29]);
        let mut it = Self {
            lengths: [0; huffman::MOST],
            codes: [0; huffman::MOST],
            distance_lengths: [0; 30],
            distance_codes: [0; 30],
        };
        lengths(&all, LONGEST_CODE, &mut it.lengths);
        codes(&it.lengths, &mut it.codes);
        lengths(&counts.distances[..30], 15, &mut it.distance_lengths);
        codes(&it.distance_lengths, &mut it.distance_codes);
        it
    }

    /// What the symbols cost, in bits.
    fn cost(&self, counts: &Histogram) -> u64 {
        let each = |counts: &[u32], lengths: &[u8], extra: &dyn Fn(usize) -> u32| -> u64 {
            let each = counts.iter().zip(lengths).enumerate();
            each.map(|(symbol, (&count, &length))| {
                u64::from(count) * u64::from(u32::from(length) + extra(symbol))
            })
            .sum()
        };
        let of_length = |symbol: usize| u32::from(LENGTHS[symbol].1);
        each(&counts.literals, &self.lengths, &|_| 0)
            + each(&counts.lengths[..29], &self.lengths[257..], &of_length)
            + each(&counts.distances[..30], &self.distance_lengths, &extra_bits)
    }
}

/// Extra bits of a distance's symbol.
fn extra_bits(slot: usize) -> u32 {
    (slot as u32 / 2).saturating_sub(1)
}

/// The smallest distance of a symbol, less one.
fn first_distance(slot: usize) -> u32 {
    if slot < 2 {
        slot as u32
    } else {
        (2 + (slot as u32 & 1)) << extra_bits(slot)
    }
}

/// The head of a block: its codes' lengths, run by run, in a code of their own.
struct Head {
    literals: usize,
    distances: usize,
    /// Symbols of that code, each with the value of its extra bits.
    runs: Vec<(u8, u8)>,
    lengths: [u8; 19],
    /// How many of its lengths are written.
    number: usize,
}

/// The order in which the lengths of that code are written (section 3.2.7).
const ORDER: [usize; 19] = [
    16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15,
];

impl Head {
    fn new(codes: &Codes) -> Self {
        let used = |lengths: &[u8]| {
            let last = lengths.iter().rposition(|&length| length > 0);
            last.map_or(0, |last| last + 1)
        };
        let literals = used(&codes.lengths).max(257);
        let distances = used(&codes.distance_lengths).max(1);
        let mut all = [0; huffman::MOST + 30];
        all[..literals].copy_from_slice(&codes.lengths[..literals]);
        all[literals..literals + distances].copy_from_slice(&codes.distance_lengths[..distances]);
        let runs = runs(&all[..literals + distances]);
        let mut counts = [0; 19];
        for &(symbol, _) in &runs {
            counts[usize::from(symbol)] += 1;
        }
        let mut of_lengths = [0; 19];
        lengths(&counts, 7, &mut of_lengths);
        let last = ORDER.iter().rposition(|&symbol| of_lengths[symbol] > 0);
        Self {
            literals,
            distances,
            runs,
            lengths: of_lengths,
            number: last.map_or(0, |last| last + 1).max(4),
        }
    }

    /// In bits.
    fn cost(&self) -> u64 {
        let runs = self.runs.iter().map(|&(symbol, _)| {
            u64::from(self.lengths[usize::from(symbol)]) + u64::from(run_bits(symbol))
        });
        3 + 5 + 5 + 4 + 3 * self.number as u64 + runs.sum::<u64>()
    }

    fn write(&self, is_last: bool, bits: &mut Bits<'_>) {
        let mut run_codes = [0; 19];
        codes(&self.lengths, &mut run_codes);
        bits.put(u64::from(is_last) | 2 << 1, 3);
        bits.put(self.literals as u64 - 257, 5);
        bits.put(self.distances as u64 - 1, 5);
        bits.put(self.number as u64 - 4, 4);
        bits.flush();
        for &symbol in &ORDER[..self.number] {
            bits.put(u64::from(self.lengths[symbol]), 3);
            bits.flush();
        }
        for &(symbol, extra) in &self.runs {
            let length = u32::from(self.lengths[usize::from(symbol)]);
            let code = u64::from(run_codes[usize::from(symbol)]);
            bits.put(code | u64::from(extra) << length, length + run_bits(symbol));
            bits.flush();
        }
    }
}

/// Extra bits of a symbol of the code of lengths.
fn run_bits(symbol: u8) -> u32 {
    match symbol {
        16 => 2,
        17 => 3,
        18 => 7,
        _ => 0,
    }
}

/// Lengths as symbols: themselves; 16, the one before again, 3 to 6 times; 17 and 18, zeroes, 3
/// to 10 and 11 to 138 of them.
fn runs(lengths: &[u8]) -> Vec<(u8, u8)> {
    let mut runs = Vec::with_capacity(lengths.len());
    for run in lengths.chunk_by(|a, b| a == b) {
        let (length, mut rest) = (run[0], run.len());
        if length == 0 {
            while rest >= 11 {
                let number = rest.min(138);
                runs.push((18, (number - 11) as u8));
                rest -= number;
            }
            if rest >= 3 {
                runs.push((17, (rest - 3) as u8));
                rest = 0;
            }
        } else {
            runs.push((length, 0));
            rest -= 1;
            while rest >= 3 {
                let number = rest.min(6);
                runs.push((16, (number - 3) as u8));
                rest -= number;
            }
        }
        runs.extend(std::iter::repeat_n((length, 0), rest));
    }
    runs
}

/// The codes as they are needed for writing. An entry has a code with its extra bits in the bits
/// from 8 on, and the number of bits below: so a sum of entries has a sum of numbers in its
/// lowest bits, and nothing has to be taken apart.
struct Tables {
    literals: [u32; 256],
    lengths: [u32; 259],
    distances: [Distance; 32],
}

#[derive(Clone, Copy, Default)]
struct Distance {
    code: u16,
    /// Bits of the code, and with the extra ones.
    code_bits: u8,
    bits: u8,
    first: u16,
}

impl Tables {
    fn new(codes: &Codes) -> Self {
        let entry = |symbol: usize| {
            (
                u32::from(codes.codes[symbol]),
                u32::from(codes.lengths[symbol]),
            )
        };
        let mut it = Self {
            literals: [0; 256],
            lengths: [0; 259],
            distances: [Distance::default(); 32],
        };
        for (symbol, literal) in it.literals.iter_mut().enumerate() {
            let (code, bits) = entry(symbol);
            *literal = code << 8 | bits;
        }
        for (length, of_length) in it.lengths.iter_mut().enumerate().skip(3) {
            let slot = usize::from(LENGTH_SLOTS[length]);
            let ((code, bits), (first, extra)) = (entry(257 + slot), LENGTHS[slot]);
            let value = code | (length as u32 - u32::from(first)) << bits;
            *of_length = value << 8 | (bits + u32::from(extra));
        }
        for (slot, distance) in it.distances[..30].iter_mut().enumerate() {
            let bits = codes.distance_lengths[slot];
            *distance = Distance {
                code: codes.distance_codes[slot],
                code_bits: bits,
                bits: bits + extra_bits(slot) as u8,
                first: first_distance(slot) as u16,
            };
        }
        it
    }

    fn write(&self, input: &Buffer, start: usize, sequences: &[Sequence], bits: &mut Bits<'_>) {
        // In registers: through the reference each would be written back each time.
        let (mut pending, mut count) = (bits.pending, bits.count);
        let (buffer, mut written) = (&mut *bits.buffer, bits.position);
        let mut position = start;
        macro_rules! put {
            ($entry:expr) => {{
                let entry: u32 = $entry;
                pending |= u64::from(entry >> 8) << (count & 63);
                count = count.wrapping_add(entry);
            }};
        }
        macro_rules! flush {
            () => {{
                buffer[written..written + 8].copy_from_slice(&pending.to_le_bytes());
                written += ((count & 63) >> 3) as usize;
                pending >>= count & 56;
                count &= 7;
            }};
        }
        for sequence in sequences {
            let mut literals = usize::from(sequence.literals);
            let next = position + literals + usize::from(sequence.length);
            // Four at a time, without a branch for how many there really are.
            loop {
                let [first, second, third, fourth] = at(input, position);
                let belongs = &BELONGS[literals.min(4)];
                put!(self.literals[usize::from(first)] & belongs[0]);
                put!(self.literals[usize::from(second)] & belongs[1]);
                put!(self.literals[usize::from(third)] & belongs[2]);
                put!(self.literals[usize::from(fourth)] & belongs[3]);
                flush!();
                if literals <= 4 {
                    break;
                }
                literals -= 4;
                position += 4;
            }
            position = next;
            if sequence.length > 0 {
                put!(self.lengths[usize::from(sequence.length)]);
                let distance = &self.distances[usize::from(sequence.slot) & 31];
                let extra = u64::from(sequence.distance.wrapping_sub(distance.first));
                let value = u64::from(distance.code) | extra << distance.code_bits;
                pending |= value << (count & 63);
                count = count.wrapping_add(u32::from(distance.bits));
                flush!();
            }
        }
        (bits.pending, bits.count, bits.position) = (pending, count, written);
    }
}

/// By how many of the next four bytes are literals of the sequence.
static BELONGS: [[u32; 4]; 5] = [
    [0, 0, 0, 0],
    [!0, 0, 0, 0],
    [!0, !0, 0, 0],
    [!0, !0, !0, 0],
    [!0, !0, !0, !0],
];
