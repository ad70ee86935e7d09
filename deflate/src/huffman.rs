//! Prefix codes (RFC 1951, section 3.2.2).

/// Most symbols of an alphabet.
pub(crate) const MOST: usize = 286;

/// The lengths of the codes of an optimal prefix code in which none is longer than `most` bits;
/// 0 for symbols that do not occur.
///
/// The code is always complete, with at least two symbols: some readers want that.
pub(crate) fn lengths(counts: &[u32], most: usize, lengths: &mut [u8]) {
    let mut symbols = [0; MOST];
    let mut number = 0;
    for (symbol, &count) in counts.iter().enumerate() {
        if count > 0 {
            // A stretch has 2^20 symbols at most, so both fit; no two of these are the same, so
            // there is one way to sort them.
            symbols[number] = count << SYMBOL_BITS | symbol as u32;
            number += 1;
        }
    }
    lengths.fill(0);
    if number < 2 {
        let only = (symbols[0] & SYMBOL) as usize;
        let other = usize::from(only == 0);
        (lengths[only], lengths[other]) = (1, 1);
        return;
    }
    let symbols = &mut symbols[..number];
    symbols.sort_unstable();
    let mut per_length = depths(symbols);
    limit(&mut per_length, most);
    let mut by_count = symbols.iter().rev();
    for (length, &number) in per_length.iter().enumerate() {
        for symbol in by_count.by_ref().take(number as usize) {
            lengths[(symbol & SYMBOL) as usize] = length as u8;
        }
    }
}

/// How many leaves of an optimal tree are at each depth (A. Moffat and J. Katajainen, *In-Place
/// Calculation of Minimum-Redundancy Codes*, 1995). The symbols are sorted, rarest first.
fn depths(symbols: &[u32]) -> [u32; DEEPEST + 1] {
    let number = symbols.len();
    // First weights, then parents, then depths of the inner nodes.
    let mut nodes = [0; MOST];
    for (node, symbol) in nodes.iter_mut().zip(symbols) {
        *node = symbol >> SYMBOL_BITS;
    }
    let (mut inner, mut leaf) = (0, 0);
    for next in 0..number - 1 {
        let mut weight = 0;
        for _ in 0..2 {
            if leaf < number && (inner == next || nodes[leaf] <= nodes[inner]) {
                weight += nodes[leaf];
                leaf += 1;
            } else {
                weight += nodes[inner];
                nodes[inner] = next as u32;
                inner += 1;
            }
        }
        nodes[next] = weight;
    }
    nodes[number - 2] = 0;
    for node in (0..number - 2).rev() {
        nodes[node] = nodes[nodes[node] as usize] + 1;
    }
    let mut leaves = [0; DEEPEST + 1];
    let mut inner_nodes = nodes[..number - 1].iter().rev().peekable();
    let (mut places, mut depth) = (1_u32, 0);
    while places > 0 {
        let mut inner = 0;
        while inner_nodes.next_if(|&&node| node == depth).is_some() {
            inner += 1;
        }
        leaves[depth as usize] = places - inner;
        places = 2 * inner;
        depth += 1;
    }
    leaves
}

/// Shortens codes to `most` bits: those that are too long get that length, and to make room, the
/// longest of the others become longer.
fn limit(leaves: &mut [u32; DEEPEST + 1], most: usize) {
    let too_long: u32 = leaves[most + 1..].iter().sum();
    leaves[most + 1..].fill(0);
    leaves[most] += too_long;
    // In units of a code of the most bits; all codes together have 2^most of them.
    let used = |leaves: &[u32]| -> u32 {
        let units = leaves.iter().take(most + 1).enumerate();
        units
            .map(|(length, &number)| number << (most - length))
            .sum()
    };
    let mut excess = used(leaves) - (1 << most);
    while excess > 0 {
        let Some(shorter) = (1..most).rev().find(|&length| leaves[length] > 0) else {
            return;
        };
        // A code gets a bit more, and one of the longest moves in beside it.
        leaves[shorter] -= 1;
        leaves[shorter + 1] += 2;
        leaves[most] -= 1;
        excess -= 1;
    }
}

/// The codes that belong to the lengths, first bit lowest.
pub(crate) fn codes(lengths: &[u8], codes: &mut [u16]) {
    let mut per_length = [0_u16; 16];
    for &length in lengths {
        per_length[usize::from(length) & 15] += 1;
    }
    let mut next = [0_u16; 16];
    for length in 2..16 {
        next[length] = (next[length - 1] + per_length[length - 1]) << 1;
    }
    for (code, &length) in codes.iter_mut().zip(lengths) {
        *code = 0;
        if length > 0 {
            let next = &mut next[usize::from(length) & 15];
            *code = next.reverse_bits() >> (16 - length);
            *next = next.wrapping_add(1);
        }
    }
}

const SYMBOL_BITS: u32 = 9;
const SYMBOL: u32 = (1 << SYMBOL_BITS) - 1;

/// Deeper than any tree of at most 2^20 symbols: the deepest has 28 levels, since the symbols that
/// a depth needs grow as Fibonacci's numbers do.
const DEEPEST: usize = 32;
