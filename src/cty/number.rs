//! Numbers without loss.

use std::cmp::Ordering;

/// A number of Terraform's language.
///
/// Made by [`Number::parse`] and the `From` implementations, equal numbers are
/// equal values: `1.0`, `1` and `10e-1` are all [`Number::Int`].
#[derive(Clone, Debug, PartialEq)]
pub enum Number {
    /// A whole number that fits 64 bits.
    Int(i64),
    /// A number that a binary float holds exactly, not whole; or an infinity.
    Float(f64),
    /// Anything else, as canonical decimal text.
    Big(Box<str>),
}

/// Larger powers of ten than this are refused: the hosts cannot hold them either.
const MAX_EXPONENT: i64 = 600_000_000;

/// Decimal text is written out in full up to this many digits, and with an
/// exponent beyond, so that `1e600000000` never fills memory with zeros.
const MAX_PLAIN_DIGITS: i64 = 1024;

impl Number {
    /// Reads decimal text in any form: sign, fraction, exponent. `None` when it
    /// is no number, or one that is too large to be meant.
    pub fn parse(text: &str) -> Option<Self> {
        Decimal::parse(text).map(|decimal| decimal.into_number())
    }

    /// The number, when it is whole and fits.
    pub fn to_i64(&self) -> Option<i64> {
        match self.canonical() {
            Number::Int(number) => Some(number),
            _ => None,
        }
    }

    /// The nearest binary float.
    pub fn to_f64(&self) -> f64 {
        match self {
            // The nearest float is what is asked for.
            Number::Int(number) => *number as f64,
            Number::Float(number) => *number,
            Number::Big(text) => text.parse().unwrap_or(f64::NAN),
        }
    }

    /// The canonical form, for numbers that did not come out of a constructor.
    pub(super) fn canonical(&self) -> Self {
        match self {
            Number::Int(_) => self.clone(),
            Number::Float(number) => Self::exactly(*number),
            Number::Big(text) => Self::parse(text).unwrap_or_else(|| self.clone()),
        }
    }

    /// Exactly the number that the float holds, digit by digit.
    pub(super) fn exactly(number: f64) -> Self {
        if !number.is_finite() {
            return Number::Float(number);
        }
        if number.fract() != 0.0 {
            return Number::Float(number);
        }
        // Whole floats print all their digits, at most 309.
        Self::parse(&format!("{number:.0}")).unwrap_or(Number::Float(number))
    }

    /// A total order with no meaning but being one.
    pub(super) fn order(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Number::Int(a), Number::Int(b)) => a.cmp(b),
            (Number::Int(_), _) => Ordering::Less,
            (_, Number::Int(_)) => Ordering::Greater,
            (Number::Float(a), Number::Float(b)) => a.total_cmp(b),
            (Number::Float(_), _) => Ordering::Less,
            (_, Number::Float(_)) => Ordering::Greater,
            (Number::Big(a), Number::Big(b)) => a.cmp(b),
        }
    }
}

impl From<i64> for Number {
    fn from(number: i64) -> Self {
        Number::Int(number)
    }
}

impl From<u64> for Number {
    fn from(number: u64) -> Self {
        i64::try_from(number).map_or_else(
            |_| Number::Big(number.to_string().into_boxed_str()),
            Number::Int,
        )
    }
}

impl From<f64> for Number {
    /// The number that a person writes for this float: the shortest decimal
    /// that reads back as it, so that `0.1` in a configuration and `0.1` in
    /// Rust are equal.
    fn from(number: f64) -> Self {
        if number.is_finite() {
            Self::parse(&format!("{number:e}")).unwrap_or(Number::Float(number))
        } else {
            Number::Float(number)
        }
    }
}

impl std::fmt::Display for Number {
    /// Decimal text that [`parse`](Number::parse) reads as the same number.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Number::Int(number) => number.fmt(f),
            // The shortest text is often, not always, the exact one.
            Number::Float(number) if number.is_finite() && Number::from(*number) != *self => {
                f.write_str(format!("{number:.1074}").trim_end_matches('0'))
            }
            Number::Float(number) => number.fmt(f),
            Number::Big(text) => f.write_str(text),
        }
    }
}

/// `digits` × 10^`exponent`, without leading or trailing zeros; no digits: zero.
struct Decimal {
    negative: bool,
    digits: String,
    exponent: i64,
}

impl Decimal {
    fn parse(text: &str) -> Option<Self> {
        let (negative, rest) = match text.as_bytes().first()? {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let (mantissa, exponent) = match rest.find(['e', 'E']) {
            Some(at) => (&rest[..at], parse_exponent(&rest[at + 1..])?),
            None => (rest, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let mut digits = String::with_capacity(whole.len() + fraction.len());
        digits.push_str(whole);
        digits.push_str(fraction);
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let mut exponent = exponent.checked_sub(i64::try_from(fraction.len()).ok()?)?;
        let kept = digits.trim_end_matches('0').len();
        exponent = exponent.checked_add(i64::try_from(digits.len() - kept).ok()?)?;
        digits.truncate(kept);
        let digits = digits.trim_start_matches('0').to_owned();
        if digits.is_empty() {
            return Some(Self {
                negative: false,
                digits,
                exponent: 0,
            });
        }
        let magnitude = exponent.checked_add(i64::try_from(digits.len()).ok()?)?;
        (magnitude.abs() <= MAX_EXPONENT && exponent.abs() <= MAX_EXPONENT).then_some(Self {
            negative,
            digits,
            exponent,
        })
    }

    fn into_number(self) -> Number {
        if self.digits.is_empty() {
            return Number::Int(0);
        }
        let text = self.text();
        if self.exponent >= 0 {
            if let Ok(number) = text.parse() {
                return Number::Int(number);
            }
        } else if let Some(number) = self.exact_float() {
            return Number::Float(number);
        }
        Number::Big(text.into_boxed_str())
    }

    /// The float that is exactly this fraction. An odd number over 2^n has
    /// exactly n decimal places, which decides it without wide arithmetic.
    fn exact_float(&self) -> Option<f64> {
        let places = usize::try_from(-self.exponent).ok()?;
        if places > 1074 || self.digits.len() > 800 {
            return None;
        }
        let text = self.plain();
        let number: f64 = text.parse().ok()?;
        if !number.is_finite() || number == 0.0 {
            return None;
        }
        let bits = number.to_bits();
        let mantissa = bits & ((1 << 52) - 1);
        // Subnormal floats have no implicit leading bit.
        let (mantissa, power) = match (bits >> 52) & 0x7ff {
            0 => (mantissa, -1074),
            power => (mantissa | (1 << 52), i64::try_from(power).ok()? - 1075),
        };
        let binary_places = -(power + i64::from(mantissa.trailing_zeros()));
        (binary_places == -self.exponent && format!("{number:.places$}") == text).then_some(number)
    }

    /// Canonical decimal text: one spelling for each number.
    fn text(&self) -> String {
        let sign = if self.negative { "-" } else { "" };
        let digits = &self.digits;
        // A string's length always fits.
        let length = i64::try_from(digits.len()).unwrap_or(i64::MAX);
        let point = length + self.exponent;
        if length.max(point).max(length - point) > MAX_PLAIN_DIGITS.max(length) {
            let (first, rest) = digits.split_at(1);
            let dot = if rest.is_empty() { "" } else { "." };
            return format!("{sign}{first}{dot}{rest}e{}", point - 1);
        }
        self.plain()
    }

    /// Decimal text without an exponent, whatever its length.
    fn plain(&self) -> String {
        let sign = if self.negative { "-" } else { "" };
        let digits = &self.digits;
        let point = i64::try_from(digits.len()).unwrap_or(i64::MAX) + self.exponent;
        let zeros = |count: i64| "0".repeat(usize::try_from(count).unwrap_or(0));
        if self.exponent >= 0 {
            format!("{sign}{digits}{}", zeros(self.exponent))
        } else if point > 0 {
            let (whole, fraction) = digits.split_at(usize::try_from(point).unwrap_or(0));
            format!("{sign}{whole}.{fraction}")
        } else {
            format!("{sign}0.{}{digits}", zeros(-point))
        }
    }
}

fn parse_exponent(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However a number is spelled, equal numbers are one value.
    #[test]
    fn spellings_meet() {
        let cases = [
            ("1", Number::Int(1)),
            ("1.0", Number::Int(1)),
            ("+1.", Number::Int(1)),
            ("10e-1", Number::Int(1)),
            ("1e3", Number::Int(1000)),
            ("-0", Number::Int(0)),
            ("0e999999999999", Number::Int(0)),
            ("-0.0e5", Number::Int(0)),
            ("1.5", Number::Float(1.5)),
            ("15e-1", Number::Float(1.5)),
            ("-.375", Number::Float(-0.375)),
            ("0.1", Number::Big("0.1".into())),
            ("1e-1", Number::Big("0.1".into())),
            ("9223372036854775807", Number::Int(i64::MAX)),
            ("-9223372036854775808", Number::Int(i64::MIN)),
            (
                "9223372036854775808",
                Number::Big("9223372036854775808".into()),
            ),
            (
                "9.223372036854775808E18",
                Number::Big("9223372036854775808".into()),
            ),
            ("1e20", Number::Big("100000000000000000000".into())),
            ("120e1999", Number::Big("1.2e2001".into())),
            ("12e-2000", Number::Big("1.2e-1999".into())),
            ("1e600000", Number::Big("1e600000".into())),
        ];
        for (text, number) in cases {
            assert_eq!(Number::parse(text), Some(number), "{text}");
        }
    }

    /// Text that is no number, or one that nobody can mean, is refused without
    /// any memory spent on it.
    #[test]
    fn refusals() {
        for text in [
            "",
            "-",
            "+",
            ".",
            "e1",
            "1e",
            "1e+",
            "1e1.5",
            "1_000",
            "0x10",
            "1 ",
            " 1",
            "one",
            "NaN",
            "inf",
            "1.2.3",
            "--1",
            "1e--1",
            "1e999999999",
            "1e-999999999",
            "1e99999999999999999999",
            "é",
            "1é",
        ] {
            assert_eq!(Number::parse(text), None, "{text}");
        }
    }

    /// Numbers are shown as people write them where that is exact.
    #[test]
    fn display() {
        let shown = |number: Number| number.to_string();
        assert_eq!(shown(Number::Int(-7)), "-7");
        assert_eq!(shown(Number::Float(1.5)), "1.5");
        assert_eq!(
            shown(Number::Float(0.1)),
            "0.1000000000000000055511151231257827021181583404541015625"
        );
        assert_eq!(shown(Number::Float(f64::NEG_INFINITY)), "-inf");
    }

    /// Every canonical text reads back as the same number, and every float that
    /// is exact survives as a float.
    #[test]
    fn canonical_is_a_fixed_point() {
        for text in [
            "0.1",
            "1e2000",
            "123456789012345678901234567890.5",
            "7e-1500",
        ] {
            let number = Number::parse(text).expect(text);
            assert_eq!(Number::parse(&number.to_string()), Some(number.clone()));
            assert_eq!(number.canonical(), number);
        }
        for number in [0.5, -2.25, 0.1, 1.0 / 1024.0, 5e-324, 2f64.powi(-60) * 3.0] {
            let shown = Number::Float(number).to_string();
            assert_eq!(
                Number::parse(&shown),
                Some(Number::Float(number)),
                "{shown}"
            );
            assert_eq!(Number::exactly(number), Number::Float(number));
            let exact = format!("{number:.1074}");
            assert_eq!(
                Number::parse(&exact),
                Some(Number::Float(number)),
                "{exact}"
            );
        }
    }

    /// A float becomes the number that a person writes for it, not its binary
    /// neighbour.
    #[test]
    fn floats_as_people_write_them() {
        assert_eq!(Number::from(0.1), Number::Big("0.1".into()));
        assert_eq!(Number::from(2.0), Number::Int(2));
        assert_eq!(Number::from(-0.0), Number::Int(0));
        assert_eq!(Number::from(1.5), Number::Float(1.5));
        assert_eq!(Number::from(f64::INFINITY), Number::Float(f64::INFINITY));
        assert_eq!(Number::from(0.1).to_f64(), 0.1);
    }

    /// What needs 64 bits without a sign is kept as text.
    #[test]
    fn unsigned() {
        assert_eq!(Number::from(7u64), Number::Int(7));
        assert_eq!(
            Number::from(u64::MAX),
            Number::Big("18446744073709551615".into())
        );
        assert_eq!(Number::Float(3.0).to_i64(), Some(3));
        assert_eq!(Number::Float(3.5).to_i64(), None);
    }
}
