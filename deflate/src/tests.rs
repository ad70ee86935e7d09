use std::io::Read;

use expect_test::expect;
use flate2::{Crc, read::DeflateDecoder};
use proptest::prelude::*;

use super::{huffman, *};

fn stretch(bytes: &[u8]) -> Stretch {
    let mut stretch = Stretch::new();
    fill(&mut stretch, bytes);
    stretch
}

fn fill(stretch: &mut Stretch, bytes: &[u8]) {
    let filled = stretch.fill(|room| {
        room[..bytes.len()].copy_from_slice(bytes);
        Ok::<_, std::convert::Infallible>(bytes.len())
    });
    let Ok(()) = filled;
}

fn compress(bytes: &[u8]) -> Vec<u8> {
    Compressor::new().compress(&stretch(bytes)).to_vec()
}

/// Reads in small pieces, so that the reader has a window of 32 KiB and nothing behind it.
fn inflate(compressed: &[u8]) -> Vec<u8> {
    let mut reader = DeflateDecoder::new(compressed);
    let (mut bytes, mut piece) = (Vec::new(), [0; 1000]);
    loop {
        match reader.read(&mut piece).expect("it can be read") {
            0 => break,
            count => bytes.extend_from_slice(&piece[..count]),
        }
    }
    assert_eq!(reader.total_in(), compressed.len() as u64, "bytes are left");
    bytes
}

fn check(bytes: &[u8]) -> Vec<u8> {
    let compressed = compress(bytes);
    assert!(inflate(&compressed) == bytes, "{} bytes", bytes.len());
    let most = bytes.len() + bytes.len() / 1000 + 5;
    assert!(
        compressed.len() <= most,
        "{} of {}",
        compressed.len(),
        bytes.len()
    );
    compressed
}

/// Numbers that look random and are the same for ever.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

/// Text, noise, zeroes and repetitions from near and far.
fn mixed(seed: u64, length: usize) -> Vec<u8> {
    let mut noise = Noise(seed);
    let mut bytes: Vec<u8> = Vec::new();
    while bytes.len() < length {
        match noise.below(12) {
            0 => bytes.extend(
                (0..noise.below(100))
                    .flat_map(|_| noise.next().to_le_bytes())
                    .collect::<Vec<_>>(),
            ),
            1 => bytes.extend(std::iter::repeat_n(0, noise.below(2000))),
            2..6 if !bytes.is_empty() => {
                let back = 1 + noise.below(bytes.len().min(40_000));
                let start = bytes.len() - back;
                for place in start..start + noise.below(400) {
                    bytes.push(bytes[place]);
                }
            }
            word => bytes.extend(
                [
                    &b"usr/"[..],
                    b"lib",
                    b"x86_64-linux-gnu",
                    b"\n",
                    b"0000644\0",
                ][word % 5],
            ),
        }
    }
    bytes.truncate(length);
    bytes
}

/// What users have in their states depends on this: if it changes, it is another algorithm.
#[test]
fn golden() {
    let mut sums = String::new();
    for (seed, length) in [
        (1, 0),
        (2, 1),
        (3, 70),
        (4, 100_000),
        (5, STRETCH - 1),
        (6, STRETCH),
    ] {
        let compressed = check(&mixed(seed, length));
        let mut sum = Crc::new();
        sum.update(&compressed);
        sums += &format!("{length}: {} {:08x}\n", compressed.len(), sum.sum());
    }
    expect![[r#"
        0: 5 4564cc52
        1: 6 2f84d56d
        70: 21 1f81c54d
        100000: 15276 a215d7b7
        1048575: 217566 d120a8fa
        1048576: 217102 0eda045c
    "#]]
    .assert_eq(&sums);
}

#[test]
fn sizes_around_every_border() {
    let bytes = mixed(7, STRETCH);
    let block = PIECE * PIECES;
    for border in [
        0,
        8,
        TAIL,
        258,
        4096,
        PIECE,
        2 * PIECE,
        block,
        65_535,
        STRETCH,
    ] {
        for length in border.saturating_sub(2)..=(border + 2).min(STRETCH) {
            check(&bytes[..length]);
            check(&vec![0; length]);
        }
    }
}

const TAIL: usize = 64;

/// One byte only, two in turn, and everything in between.
#[test]
fn repetitions_of_each_length() {
    for period in (1..40).chain([255, 256, 257, 258, 259, 300, 32_767, 32_768, 32_769, 40_000]) {
        let mut noise = Noise(period as u64 + 1);
        let unit: Vec<u8> = (0..period).map(|_| noise.next() as u8).collect();
        let bytes: Vec<u8> = unit.iter().copied().cycle().take(150_000).collect();
        let compressed = check(&bytes);
        // A long unit of noise is passed over in ever larger steps, so its return is noticed late.
        if period < 32_768 {
            let most = period + period / 2 + 3000;
            assert!(compressed.len() < most, "{period}: {}", compressed.len());
        }
    }
}

/// Counts that grow as Fibonacci's numbers do want codes longer than there may be.
#[test]
fn rare_symbols() {
    let mut noise = Noise(11);
    for most in [10, 20, 27] {
        let (mut bytes, mut counts) = (Vec::new(), (1, 1));
        for symbol in 0..most {
            bytes.extend(std::iter::repeat_n(symbol * 9, counts.0));
            counts = (counts.1, counts.0 + counts.1);
            if bytes.len() > STRETCH / 2 {
                break;
            }
        }
        for place in (1..bytes.len()).rev() {
            bytes.swap(place, noise.below(place + 1));
        }
        check(&bytes);
    }
}

/// What cannot be compressed is stored: five bytes for each part of at most 65,535.
#[test]
fn noise_is_stored() {
    let mut noise = Noise(13);
    let bytes: Vec<u8> = (0..STRETCH).map(|_| noise.next() as u8).collect();
    let compressed = check(&bytes);
    assert!(compressed.len() < STRETCH + 5 * 24, "{}", compressed.len());
}

/// Neither what was compressed before nor what lies behind the end makes a difference.
#[test]
fn stretches_are_independent() {
    let (first, second) = (mixed(17, 300_001), mixed(19, 77_777));
    let mut compressor = Compressor::new();
    let mut stretch = Stretch::new();
    for bytes in [
        &vec![0xff; STRETCH][..],
        &first,
        &second,
        &first,
        &[],
        &second,
    ] {
        fill(&mut stretch, bytes);
        assert!(stretch.bytes() == bytes);
        assert!(
            compressor.compress(&stretch) == compress(bytes),
            "{}",
            bytes.len()
        );
    }
}

#[test]
fn a_stretch_that_cannot_be_filled_is_empty() {
    let mut stretch = stretch(b"before");
    assert_eq!(stretch.fill(|_| Err("no")), Err("no"));
    assert!(stretch.bytes().is_empty());
    assert_eq!(stretch.fill(|_| Ok::<_, ()>(usize::MAX)), Ok(()));
    assert_eq!(stretch.bytes().len(), STRETCH);
}

/// The price of a code, found in the plainest way.
fn best_cost(counts: &[u32]) -> u64 {
    let mut weights: Vec<u64> = counts
        .iter()
        .filter(|&&it| it > 0)
        .map(|&it| it.into())
        .collect();
    let mut cost = 0;
    while weights.len() > 1 {
        weights.sort_unstable_by(|a, b| b.cmp(a));
        let (Some(one), Some(other)) = (weights.pop(), weights.pop()) else {
            break;
        };
        weights.push(one + other);
        cost += one + other;
    }
    cost
}

fn counts() -> impl Strategy<Value = Vec<u32>> {
    let count = prop_oneof![3 => Just(0), 3 => 1..4_u32, 2 => 1..500_u32, 1 => 1..4000_u32];
    proptest::collection::vec(count, 2..=huffman::MOST)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn anything_is_read_back(bytes in proptest::collection::vec(any::<u8>(), 0..3000)) {
        check(&bytes);
    }

    /// Few symbols, so that nearly everything was there before.
    #[test]
    fn repetitions_are_read_back(bytes in proptest::collection::vec(0..3_u8, 0..5000)) {
        check(&bytes);
    }

    #[test]
    fn mixtures_are_read_back(seed in 1..u64::MAX, length in 0..200_000_usize) {
        check(&mixed(seed, length));
    }

    /// Every code is complete and within its bound, and the best one where the bound allows it.
    #[test]
    fn codes_are_complete(counts in counts(), most in 9..=15_usize) {
        let mut lengths = vec![0; counts.len()];
        huffman::lengths(&counts, most, &mut lengths);
        let used: u32 = lengths.iter().filter(|&&it| it > 0).map(|&it| 1 << (15 - it)).sum();
        prop_assert_eq!(used, 1 << 15);
        prop_assert!(lengths.iter().all(|&it| usize::from(it) <= most));
        let is_used = |(&count, &length): (&u32, &u8)| count == 0 || length > 0;
        prop_assert!(counts.iter().zip(&lengths).all(is_used));
        if lengths.iter().all(|&it| usize::from(it) < most) && counts.iter().filter(|&&it| it > 0).count() > 1 {
            let cost: u64 = counts.iter().zip(&lengths).map(|(&count, &length)| u64::from(count) * u64::from(length)).sum();
            prop_assert_eq!(cost, best_cost(&counts));
        }
    }
}
