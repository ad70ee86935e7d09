//! Numbers without loss.

/// A number of Terraform's language.
#[derive(Clone, Debug, PartialEq)]
pub enum Number {
    /// A whole number that fits 64 bits.
    Int(i64),
    /// A number that a binary float holds exactly, not whole.
    Float(f64),
    /// Anything else, as canonical decimal text.
    Big(Box<str>),
}
