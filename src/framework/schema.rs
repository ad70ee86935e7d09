//! Schemas: what [`Model`] emits and planning reads.

use super::{Diagnostics, Result, model};
use crate::cty::{Error, Path, Step, Type, Value};

/// Implemented by `#[derive(Model)]`: one struct is schema, decoder and
/// encoder. Every member is an [`Attr`](super::Attr); its doc comment is what
/// users read, and so is that of the struct.
///
/// `#[tf(..)]` on a member says who sets it: `required`, `optional`,
/// `computed`, `optional, computed`, or `default = EXPR` (optional and
/// computed on the wire). It also takes:
///
/// - `replace`: a change requires replacement; `optional, computed` needs
///   `keep` with it
/// - `keep`: a computed value survives updates, though not a replacement
/// - `sensitive`: hidden in every output; a member whose type contains
///   [`Secret`](super::Secret) is so by itself
/// - `write_only`: used once and never stored
/// - `deprecated = "what to use"`, also on the struct
/// - `validate = FN`: a [`Validator`], as often as needed
/// - `nested`: the member's type, or the element type of its `Vec` or
///   `BTreeMap<String, _>`, is a model: a nested attribute
/// - `block`: the member's type is a model: a block, at most one
/// - `name = ".."`, where the member's own name will not do
///
/// What contradicts itself does not compile.
pub trait Model: Clone + Send + Sync + Sized + 'static {
    /// The schema.
    fn block() -> Block;
    /// Decodes an object; the first thing that does not fit is the error.
    fn from_object(value: &Value) -> std::result::Result<Self, Error>;
    /// Encodes as an object.
    fn encode(&self) -> Value;

    /// Decodes an object, with messages for users about everything that does
    /// not fit.
    fn decode(value: &Value) -> Result<Self> {
        Self::from_object(value).map_err(|error| model::explain(&Self::block().ty(), value, &error))
    }
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
        let attributes = self
            .attributes
            .iter()
            .map(|attribute| (attribute.name.clone(), attribute.ty()));
        let blocks = self
            .blocks
            .iter()
            .map(|block| (block.name.clone(), block.nesting.ty(block.block.ty())));
        Type::Object(attributes.chain(blocks).collect())
    }
    /// What is wrong with a configuration, by the validators; unknown values pass.
    pub fn validate(&self, config: &Value) -> Diagnostics {
        let mut diagnostics = Diagnostics::default();
        self.validate_at(config, &Path::root(), &mut diagnostics);
        diagnostics
    }

    fn validate_at(&self, config: &Value, path: &Path, diagnostics: &mut Diagnostics) {
        validate_attributes(&self.attributes, config, path, diagnostics);
        for block in &self.blocks {
            let path = path.then(Step::Attribute(block.name.clone()));
            let value = config.get(&block.name).unwrap_or(&Value::Null);
            for (path, value) in block.nesting.elements(value, &path) {
                block.block.validate_at(value, &path, diagnostics);
            }
        }
    }
}

impl Attribute {
    /// The type of this attribute's values.
    pub fn ty(&self) -> Type {
        match &self.kind {
            Kind::Plain(ty) => ty.clone(),
            Kind::Nested(nesting, attributes) => nesting.ty(Type::Object(
                attributes
                    .iter()
                    .map(|attribute| (attribute.name.clone(), attribute.ty()))
                    .collect(),
            )),
        }
    }
}

impl Nesting {
    /// The type of something nested, by the type of one of it.
    pub fn ty(self, object: Type) -> Type {
        match self {
            Nesting::Single => object,
            Nesting::List => Type::List(Box::new(object)),
            Nesting::Map => Type::Map(Box::new(object)),
            Nesting::Set => Type::Set(Box::new(object)),
        }
    }

    /// The known objects in something nested, and where they are.
    pub(super) fn elements<'a>(self, value: &'a Value, path: &Path) -> Vec<(Path, &'a Value)> {
        let elements: Vec<_> = match (self, value) {
            (Nesting::Single, Value::Map(_)) => vec![(path.clone(), value)],
            (Nesting::Map, Value::Map(elements)) => elements
                .iter()
                .map(|(key, value)| (path.then(Step::Key(key.clone())), value))
                .collect(),
            (Nesting::List, Value::Seq(elements)) => (0..)
                .zip(elements)
                .map(|(index, value)| (path.then(Step::Index(index)), value))
                .collect(),
            (Nesting::Set, Value::Seq(elements)) => elements
                .iter()
                .map(|value| (path.then(Step::Element(Box::new(value.clone()))), value))
                .collect(),
            _ => Vec::new(),
        };
        elements
            .into_iter()
            .filter(|(_, value)| matches!(value, Value::Map(_)))
            .collect()
    }
}

/// What is wrong with a required argument without a value.
const NULL: &str = "must have a value, but what it is set to is null";

fn validate_attributes(
    attributes: &[Attribute],
    config: &Value,
    path: &Path,
    diagnostics: &mut Diagnostics,
) {
    for attribute in attributes {
        let path = path.then(Step::Attribute(attribute.name.clone()));
        let value = match config.get(&attribute.name) {
            // Hosts refuse an argument that is not there, and let one pass that is
            // set to something that turns out to be null.
            Some(Value::Null) if attribute.mode == Mode::Required => {
                diagnostics.push(model::invalid(path, NULL));
                continue;
            }
            None | Some(Value::Null | Value::Unknown(_)) => continue,
            Some(value) => value,
        };
        for validator in &attribute.validate {
            if let Err(sentence) = validator(value) {
                diagnostics.push(model::invalid(path.clone(), &sentence));
            }
        }
        if let Kind::Nested(nesting, attributes) = &attribute.kind {
            for (path, value) in nesting.elements(value, &path) {
                validate_attributes(attributes, value, &path, diagnostics);
            }
        }
    }
}
