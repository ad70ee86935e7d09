//! Planning, as a pure function.

use super::Block;
use crate::cty::{Path, Value};

/// What planning by the schema alone gives.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// The planned new state.
    pub state: Value,
    /// Changed attributes that require replacement.
    pub replace: Vec<Path>,
}

/// Plans by the schema: defaults, unknown or kept computed values, write-only
/// nulling, and the attributes that require replacement. `prior` is null for a
/// create; `proposed` is what the host merged from the configuration and the
/// prior state, null for a delete.
pub fn plan(_schema: &Block, _config: &Value, _prior: &Value, _proposed: &Value) -> Planned {
    todo!()
}
