//! Resource identity: what tells one remote object from every other, for hosts
//! that keep it beside the state (Terraform and OpenTofu from 1.12).

use super::{Block, Mode, Model, Resource, Result, Schema, resource::no_upgrade};
use crate::cty::{Type, Value};

/// A resource whose objects have an identity. It says how an identity is made
/// of a state; when it is asked for, that it is whole, and that it does not
/// change while the object lives, is the server's work.
///
/// In the table: [`ResourceType::identified`](super::ResourceType::identified).
pub trait Identified: Resource {
    /// Attributes that never change while the object lives: an OCID, not a
    /// compartment. `required` ones are asked for in an import by identity,
    /// `optional` ones may be left out there. Texts, numbers, booleans and
    /// lists of them.
    type Identity: Model;
    /// Raised when stored identities have to be upgraded.
    const IDENTITY_VERSION: i64 = 0;

    /// The identity of the object with this state.
    fn identity(state: &Self::State) -> Self::Identity;

    /// What [`import`](Resource::import) takes for the object with this
    /// identity. Attributes that were left out are null.
    fn import_id(identity: &Self::Identity) -> Result<String>;

    /// Lifts a stored identity of an older `version` to
    /// [`IDENTITY_VERSION`](Identified::IDENTITY_VERSION).
    fn upgrade_identity(version: i64, _identity: serde_json::Value) -> Result<serde_json::Value> {
        Err(no_upgrade("Identity", version))
    }
}

/// [`Identified`] with its types erased.
pub(super) struct Identities {
    pub(super) schema: Schema,
    of: fn(&Value) -> Result<Value>,
    pub(super) import_id: fn(&Value) -> Result<String>,
    pub(super) upgrade: fn(i64, serde_json::Value) -> Result<serde_json::Value>,
}

impl Identities {
    pub(super) fn new<R: Identified>() -> Self {
        // The first test that asks for the schema finds out.
        debug_assert!(
            fits(&R::Identity::block()),
            "an identity has nothing but `required` and `optional` attributes"
        );
        Self {
            schema: Schema {
                version: R::IDENTITY_VERSION,
                block: R::Identity::block(),
            },
            of: |state| Ok(R::identity(&R::State::decode(state)?).encode()),
            import_id: |identity| R::import_id(&R::Identity::decode(identity)?),
            upgrade: R::upgrade_identity,
        }
    }

    pub(super) fn ty(&self) -> Type {
        self.schema.block.ty()
    }

    /// The identity of an object, when the state says all of it. An object
    /// that was only half made may have none yet.
    pub(super) fn whole(&self, state: &Value) -> Value {
        if state.is_null() {
            return Value::Null;
        }
        // A state that cannot be read has a message of its own.
        let identity = (self.of)(state).unwrap_or(Value::Null);
        let whole = identity.is_wholly_known()
            && self.schema.block.attributes.iter().all(|attribute| {
                attribute.mode != Mode::Required
                    || identity
                        .get(&attribute.name)
                        .is_some_and(|value| !value.is_null())
            });
        if whole { identity } else { Value::Null }
    }
}

/// Whether the protocol can say a schema of an identity.
fn fits(block: &Block) -> bool {
    let simple = |ty: &Type| matches!(ty, Type::String | Type::Number | Type::Bool);
    block.blocks.is_empty()
        && block.attributes.iter().all(|attribute| {
            let configurable = matches!(attribute.mode, Mode::Required | Mode::Optional);
            let ty = match attribute.ty() {
                Type::List(element) => *element,
                ty => ty,
            };
            configurable && !attribute.write_only && simple(&ty)
        })
}

/// Whether an identity says something else than an earlier one did. What an
/// earlier one left out (an import may) is no contradiction.
pub(super) fn contradicts(earlier: &Value, later: &Value) -> bool {
    let (Value::Map(earlier), Value::Map(later)) = (earlier, later) else {
        return false;
    };
    earlier.iter().any(|(name, value)| {
        !value.is_null() && !value.is_unknown() && later.get(name).is_some_and(|now| now != value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framework::{
        Attribute, Kind,
        model::{self, object},
    };

    /// What there is no word for in the protocol.
    #[test]
    fn schemas() {
        let block = |mode, ty| Block {
            attributes: vec![Attribute {
                kind: Kind::Plain(ty),
                ..model::attribute::<String>("id", "Its id.", mode)
            }],
            ..Block::default()
        };
        let list = |ty| Type::List(Box::new(ty));
        assert!(fits(&block(Mode::Required, Type::String)));
        assert!(fits(&block(Mode::Optional, list(Type::Number))));
        assert!(!fits(&block(Mode::Computed, Type::String)));
        assert!(!fits(&block(Mode::Required, list(list(Type::Bool)))));
        assert!(!fits(&block(
            Mode::Required,
            Type::Map(Box::new(Type::String))
        )));
    }

    /// A part that was not known before is none that changed.
    #[test]
    fn contradictions() {
        let identity = |id: Value, region: Value| object([("id", id), ("region", region)]);
        let whole = identity("1".into(), "gru".into());
        for (earlier, expected) in [
            (Value::Null, false),
            (whole.clone(), false),
            (identity("1".into(), Value::Null), false),
            (identity(Value::UNKNOWN, "gru".into()), false),
            (identity("2".into(), Value::Null), true),
            (identity("1".into(), "iad".into()), true),
        ] {
            assert_eq!(contradicts(&earlier, &whole), expected, "{earlier:?}");
        }
        assert!(!contradicts(&whole, &Value::Null));
    }
}
