//! Where in a value something is.

use super::Value;

/// Steps from the root of a value to a place in it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Path(pub Vec<Step>);

/// One step of a [`Path`].
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// An attribute or a block of an object.
    Attribute(String),
    /// An element of a map.
    Key(String),
    /// An element of a list or tuple, or a block of a list.
    Index(i64),
    /// An element of a set: the element itself. Not expressible in a
    /// diagnostic, so a path on the wire ends before it.
    Element(Box<Value>),
}

impl Path {
    /// The value itself.
    pub fn root() -> Self {
        Self::default()
    }
    /// One attribute of the root.
    pub fn attribute(name: impl Into<String>) -> Self {
        Self(vec![Step::Attribute(name.into())])
    }
    /// This path and one more step.
    pub fn then(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }
}

impl std::fmt::Display for Path {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        todo!()
    }
}
