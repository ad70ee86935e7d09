//! What was there before.
//!
//! A table has, for each hash of four bytes, the last place where they began. It is looked into
//! once per position. Before a short match is taken, the next position is asked for a longer one.
//! Of a match's other positions only four come into the table: its third and fourth, and its last
//! two.
//!
//! The loops wait for memory and for wrongly foreseen branches, not for arithmetic. So positions
//! have 16 bits, to keep the table in 32 KiB; one branch decides whether a place is of use; and
//! symbols are counted here, where it costs next to nothing.

use std::ops::Range;

use super::{Buffer, STRETCH, at, block::Histogram, eight};

/// Furthest a match may reach back.
const WINDOW: usize = 1 << 15;

/// Longest match (RFC 1951, section 3.2.5).
const LONGEST: usize = 258;

/// A match of this length is taken without looking further.
const GOOD: usize = 32;

/// A run of literals is looked through faster and faster: by one more step each 128 bytes.
const PATIENCE: u32 = 7;

/// The table has 2 to the power of this many entries.
const HASH_BITS: u32 = 14;

/// Bytes at the end of a stretch where no match is looked for. What is compared of one before may
/// reach beyond the end, where nothing makes a difference any more.
const TAIL: usize = 64;

/// Literals and the match behind them.
#[derive(Clone, Copy)]
pub(crate) struct Sequence {
    /// Number of literals.
    pub(crate) literals: u16,
    /// Length of the match; 0 where a piece ends with literals.
    pub(crate) length: u16,
    /// Its distance, less one.
    pub(crate) distance: u16,
    /// The symbol of the distance.
    pub(crate) slot: u16,
}

/// Finds matches in a stretch, piece by piece.
pub(crate) struct Finder {
    /// Low 16 bits of the last position of each hash.
    table: Box<[u16; 1 << HASH_BITS]>,
}

impl Finder {
    pub(crate) fn new() -> Self {
        Self {
            table: Box::new([0; 1 << HASH_BITS]),
        }
    }

    /// Begins a stretch. From none of the first 32 Ki positions but the very first is this
    /// entry within the window, and from the others it is a place that there is.
    pub(crate) fn start(&mut self) {
        self.table.fill(WINDOW as u16);
    }

    /// Appends the sequences of a piece, counts their symbols, and returns where the piece ends:
    /// its last match may reach beyond the range.
    pub(crate) fn find(
        &mut self,
        input: &Buffer,
        length: usize,
        range: Range<usize>,
        sequences: &mut Vec<Sequence>,
        counts: &mut Histogram,
    ) -> usize {
        let table = &mut *self.table;
        let limit = range.end.min(length.saturating_sub(TAIL));
        let mut literals = Literals::new();
        let mut anchor = range.start;
        let mut position = range.start;
        if position == 0 && limit > 0 {
            table[hash(eight(input, 0))] = 0;
            position = 1;
        }
        while position < limit {
            let here = eight(input, position);
            let distance = look_up(table, here, position);
            let differing = here ^ eight(input, position.wrapping_sub(usize::from(distance)));
            if differing as u32 | is_beyond(distance) != 0 {
                position += 1 + ((position - anchor) >> PATIENCE);
                continue;
            }
            let mut distance = usize::from(distance);
            let mut matched = first_bytes(input, position, distance, differing);
            if matched == 16 {
                matched = matching(input, position, distance, 16, length);
            }
            while matched < GOOD {
                let next = position + 1;
                let other = look_up(table, eight(input, next), next);
                let place = next.wrapping_sub(usize::from(other));
                // Longer only if the bytes at the end are the same, too.
                let end = matched - 3;
                let is_longer =
                    at::<4>(input, next + end) == at::<4>(input, place.wrapping_add(end));
                if !is_longer | (is_beyond(other) != 0) {
                    break;
                }
                let longer = matching(input, next, usize::from(other), 0, length);
                if longer <= matched {
                    break;
                }
                (position, matched, distance) = (next, longer, usize::from(other));
            }
            while position > anchor
                && position > distance
                && matched < LONGEST
                && byte(input, position - 1) == byte(input, position - 1 - distance)
            {
                position -= 1;
                matched += 1;
            }
            let slot = distance_slot(distance as u32 - 1);
            sequences.push(Sequence {
                literals: (position - anchor) as u16,
                length: matched as u16,
                distance: (distance - 1) as u16,
                slot: slot as u16,
            });
            counts.lengths[usize::from(LENGTH_SLOTS[matched]) & 31] += 1;
            counts.distances[slot & 31] += 1;
            literals.count(input, anchor, position - anchor);
            let end = position + matched;
            if end < limit {
                for place in [position + 2, position + 3, end - 2, end - 1] {
                    table[hash(eight(input, place))] = place as u16;
                }
            }
            (position, anchor) = (end, end);
        }
        if anchor < range.end {
            literals.count(input, anchor, range.end - anchor);
            sequences.push(Sequence {
                literals: (range.end - anchor) as u16,
                length: 0,
                distance: 0,
                slot: 0,
            });
            anchor = range.end;
        }
        literals.add_to(&mut counts.literals);
        anchor
    }
}

/// Counts literals four at a time; those that do not belong to a run go where nobody looks.
struct Literals([[u32; 512]; 2]);

impl Literals {
    fn new() -> Self {
        Self([[0; 512]; 2])
    }

    #[inline(always)]
    fn count(&mut self, input: &Buffer, mut position: usize, mut number: usize) {
        let [even, odd] = &mut self.0;
        loop {
            let [first, second, third, fourth] = at(input, position);
            let aside = &ASIDE[number.min(4)];
            even[usize::from(u16::from(first) | aside[0]) & 511] += 1;
            odd[usize::from(u16::from(second) | aside[1]) & 511] += 1;
            even[usize::from(u16::from(third) | aside[2]) & 511] += 1;
            odd[usize::from(u16::from(fourth) | aside[3]) & 511] += 1;
            if number <= 4 {
                return;
            }
            number -= 4;
            position += 4;
        }
    }

    fn add_to(&self, counts: &mut [u32; 257]) {
        let [even, odd] = &self.0;
        for ((count, even), odd) in counts.iter_mut().zip(&even[..256]).zip(&odd[..256]) {
            *count += even + odd;
        }
    }
}

/// By how many of the next four bytes belong to a run.
static ASIDE: [[u16; 4]; 5] = [
    [256, 256, 256, 256],
    [0, 256, 256, 256],
    [0, 0, 256, 256],
    [0, 0, 0, 256],
    [0, 0, 0, 0],
];

/// Of the first four bytes.
#[inline(always)]
fn hash(bytes: u64) -> usize {
    // The fraction of the golden ratio: its multiples spread evenly (Knuth, volume 3, 6.4).
    ((bytes << 32).wrapping_mul(0x9e37_79b1_85eb_ca87) >> (64 - HASH_BITS)) as usize
}

/// How far back the last place is that has the hash of these bytes; it becomes this one.
#[inline(always)]
fn look_up(table: &mut [u16; 1 << HASH_BITS], bytes: u64, position: usize) -> u16 {
    let entry = &mut table[hash(bytes)];
    let distance = (position as u16).wrapping_sub(*entry);
    *entry = position as u16;
    distance
}

/// Not zero if the distance is none, or beyond the window.
#[inline(always)]
fn is_beyond(distance: u16) -> u32 {
    u32::from(distance.wrapping_sub(1) >> 15)
}

#[inline(always)]
fn byte(input: &Buffer, position: usize) -> u8 {
    input[position & (STRETCH - 1)]
}

/// How many of the first 16 bytes are the same, without a branch; the first eight are compared.
#[inline(always)]
fn first_bytes(input: &Buffer, position: usize, distance: usize, differing: u64) -> usize {
    let behind = eight(input, position + 8) ^ eight(input, (position + 8).wrapping_sub(distance));
    let (near, far) = (
        differing.trailing_zeros() as usize / 8,
        behind.trailing_zeros() as usize / 8,
    );
    if differing == 0 { 8 + far } else { near }
}

/// Length of a match of which the first `known` bytes are compared.
#[inline(always)]
fn matching(
    input: &Buffer,
    position: usize,
    distance: usize,
    known: usize,
    length: usize,
) -> usize {
    let most = (length - position).min(LONGEST);
    let mut matched = known;
    while matched < most {
        let differing = eight(input, position + matched)
            ^ eight(input, (position + matched).wrapping_sub(distance));
        if differing != 0 {
            return (matched + differing.trailing_zeros() as usize / 8).min(most);
        }
        matched += 8;
    }
    most
}

/// The symbol of a distance, less one (RFC 1951, section 3.2.5).
#[inline(always)]
pub(crate) fn distance_slot(distance: u32) -> usize {
    if distance < 4 {
        return distance as usize;
    }
    let log = distance.ilog2();
    (2 * log + (distance >> (log - 1) & 1)) as usize
}

/// The symbol of a length, less 257; 29 for what is none.
pub(crate) static LENGTH_SLOTS: [u8; LONGEST + 1] = {
    let mut slots = [29; LONGEST + 1];
    let mut slot = 0;
    while slot < LENGTHS.len() {
        let (mut length, bits) = (LENGTHS[slot].0 as usize, LENGTHS[slot].1);
        let end = length + (1 << bits);
        // The last symbol is for the longest match alone.
        while length < end && (length < LONGEST || slot == 28) {
            slots[length] = slot as u8;
            length += 1;
        }
        slot += 1;
    }
    slots
};

/// The shortest length of each symbol from 257 on, and its extra bits (section 3.2.5).
pub(crate) static LENGTHS: [(u16, u8); 29] = [
    (3, 0),
    (4, 0),
    (5, 0),
    (6, 0),
    (7, 0),
    (8, 0),
    (9, 0),
    (10, 0),
    (11, 1),
    (13, 1),
    (15, 1),
    (17, 1),
    (19, 2),
    (23, 2),
    (27, 2),
    (31, 2),
    (35, 3),
    (43, 3),
    (51, 3),
    (59, 3),
    (67, 4),
    (83, 4),
    (99, 4),
    (115, 4),
    (131, 5),
    (163, 5),
    (195, 5),
    (227, 5),
    (258, 0),
];
