//! Schemas: what [`Model`] emits and planning reads.

use super::{Diagnostics, Result};
use crate::cty::{Type, Value};

/// Implemented by `#[derive(Model)]`: one struct is schema, decoder and
/// encoder. Every member is an [`Attr`](super::Attr); its doc comment is what
/// users read.
///
/// `#[tf(..)]` on a member takes: `required`, `optional`, `computed` (several
/// together: `optional, computed`), `default = EXPR` (makes it optional and
/// computed on the wire), `replace` (a change requires replacement), `keep`
/// (a computed value survives updates), `sensitive`, `write_only`,
/// `deprecated = "what to use"`, `validate = FN` (a [`Validator`]), `nested`
/// (the member's type, or its element type, is a model: a nested attribute),
/// `block` (the member's type is a model: a block, at most one) and `name = ".."`.
/// A member whose type contains `Secret` is sensitive by itself.
pub trait Model: Clone + Send + Sync + Sized + 'static {
    /// The schema.
    fn block() -> Block;
    /// Decodes an object.
    fn decode(value: &Value) -> Result<Self>;
    /// Encodes as an object.
    fn encode(&self) -> Value;
}

/// A schema with its version.
#[derive(Clone, Debug, PartialEq)]
pub struct Schema {
    /// Raised when stored state has to be upgraded.
    pub version: i64,
    /// The attributes and blocks.
    pub block: Block,
}

/// Attributes and nested blocks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Block {
    /// Attributes, in the order users read them.
    pub attributes: Vec<Attribute>,
    /// Nested blocks.
    pub blocks: Vec<NestedBlock>,
    /// Markdown sentences for users.
    pub description: String,
    /// What to use instead, when deprecated.
    pub deprecated: Option<String>,
}

/// An attribute.
#[derive(Clone, Debug, PartialEq)]
pub struct Attribute {
    /// Its name in the configuration.
    pub name: String,
    /// Its type.
    pub kind: Kind,
    /// Who sets it.
    pub mode: Mode,
    /// Hidden in every output.
    pub sensitive: bool,
    /// Never stored.
    pub write_only: bool,
    /// Markdown sentences for users.
    pub description: String,
    /// What to use instead, when deprecated.
    pub deprecated: Option<String>,
    /// A change requires replacement.
    pub replace: bool,
    /// A computed value survives updates.
    pub keep: bool,
    /// The value when the configuration says nothing.
    pub default: Option<Value>,
    /// Checks of a known value.
    pub validate: Vec<Validator>,
}

/// Checks a known, non-null value; the error is a sentence for the user that
/// begins after the argument's name, for example "must be lower case".
pub type Validator = fn(&Value) -> std::result::Result<(), String>;

/// The type of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// A type of the language.
    Plain(Type),
    /// Attributes inside an attribute.
    Nested(Nesting, Vec<Attribute>),
}

/// Who sets an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The user, always.
    Required,
    /// The user, perhaps.
    Optional,
    /// The provider.
    Computed,
    /// The user, or else the provider.
    OptionalComputed,
}

/// How often something nested occurs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nesting {
    /// At most once.
    Single,
    /// In order.
    List,
    /// By name.
    Map,
    /// Without order.
    Set,
}

/// A block inside a block.
#[derive(Clone, Debug, PartialEq)]
pub struct NestedBlock {
    /// Its name.
    pub name: String,
    /// How often it occurs.
    pub nesting: Nesting,
    /// What is in it.
    pub block: Block,
}

impl Block {
    /// The type of this block's values: an object.
    pub fn ty(&self) -> Type {
        todo!()
    }
    /// What is wrong with a configuration, by the validators; unknown values pass.
    pub fn validate(&self, _config: &Value) -> Diagnostics {
        todo!()
    }
}
