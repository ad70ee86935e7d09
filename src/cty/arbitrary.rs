//! Types and values out of a seed, for tests of properties.

use std::collections::BTreeMap;

use super::{Number, Refinements, Type, Value};

/// A small generator of its own (xorshift), so that a seed means the same
/// values in every version of every dependency.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() >> 33).expect("31 bits fit") % limit
    }

    fn chance(&mut self, one_in: usize) -> bool {
        self.below(one_in) == 0
    }

    fn text(&mut self) -> String {
        let letters = ['a', 'b', 'Z', '"', '\\', 'é', '漢', '\0', '\n', '🙂'];
        let length = match self.below(10) {
            0 => 0,
            1 => 40,
            2 => 300,
            _ => self.below(8),
        };
        (0..length)
            .map(|_| letters[self.below(letters.len())])
            .collect()
    }

    pub(crate) fn ty(&mut self, depth: usize) -> Type {
        let kinds = if depth == 0 { 4 } else { 9 };
        match self.below(kinds) {
            0 => Type::String,
            1 => Type::Number,
            2 => Type::Bool,
            3 => Type::Dynamic,
            4 => Type::List(Box::new(self.ty(depth - 1))),
            5 => Type::Set(Box::new(self.ty(depth - 1))),
            6 => Type::Map(Box::new(self.ty(depth - 1))),
            7 => Type::Tuple((0..self.below(4)).map(|_| self.ty(depth - 1)).collect()),
            _ => Type::Object(
                (0..self.below(5))
                    .map(|_| (self.text(), self.ty(depth - 1)))
                    .collect(),
            ),
        }
    }

    pub(crate) fn number(&mut self) -> Number {
        match self.below(8) {
            0 => Number::Int(i64::MIN),
            1 => Number::Int(i64::MAX),
            2 => Number::from(u64::MAX),
            3 => Number::from(f64::from_bits(self.next() >> 2)),
            4 => Number::exactly(f64::from_bits(self.next() >> 2)),
            5 => {
                let text = format!("{}.{}e{}", self.below(1000), self.next(), self.below(40));
                Number::parse(&text).expect("it is a number")
            }
            _ => Number::Int(i64::try_from(self.below(300)).expect("it is small") - 150),
        }
    }

    fn refinements(&mut self) -> Option<Box<Refinements>> {
        let bound = |random: &mut Self| {
            random
                .chance(2)
                .then(|| (random.number(), random.chance(2)))
        };
        let refinements = Refinements {
            not_null: self.chance(2),
            prefix: self
                .chance(3)
                .then(|| self.text().chars().take(60).collect()),
            number_min: bound(self),
            number_max: bound(self),
            length_min: self.chance(4).then_some(3),
            length_max: self.chance(4).then_some(1 << 40),
        };
        let small = [&refinements.number_min, &refinements.number_max]
            .into_iter()
            .flatten()
            .all(|(number, _)| number.to_string().len() < 200);
        (small && refinements != Refinements::default()).then(|| Box::new(refinements))
    }

    /// A value of the type; unknown ones only where `unknown` says so.
    pub(crate) fn value(&mut self, ty: &Type, unknown: bool) -> Value {
        if self.chance(10) {
            return Value::Null;
        }
        if unknown && self.chance(8) {
            return match ty {
                Type::Dynamic => Value::UNKNOWN,
                _ => Value::Unknown(self.refinements()),
            };
        }
        let length = match self.below(12) {
            0 => 20,
            _ => self.below(4),
        };
        match ty {
            Type::String => Value::String(self.text()),
            Type::Number => Value::Number(self.number()),
            Type::Bool => Value::Bool(self.chance(2)),
            Type::Dynamic => {
                let ty = match self.ty(1) {
                    Type::Dynamic => Type::String,
                    ty => ty,
                };
                let value = self.value(&ty, unknown);
                Value::Dynamic(Box::new((ty, value)))
            }
            Type::List(ty) => Value::Seq((0..length).map(|_| self.value(ty, unknown)).collect()),
            Type::Set(ty) => Value::set((0..length).map(|_| self.value(ty, unknown)).collect()),
            Type::Map(ty) => Value::Map(
                (0..length)
                    .map(|_| (self.text(), self.value(ty, unknown)))
                    .collect(),
            ),
            Type::Tuple(types) => {
                Value::Seq(types.iter().map(|ty| self.value(ty, unknown)).collect())
            }
            Type::Object(types) => {
                let members = types
                    .iter()
                    .map(|(name, ty)| (name.clone(), self.value(ty, unknown)));
                Value::Map(members.collect::<BTreeMap<_, _>>())
            }
        }
    }
}
