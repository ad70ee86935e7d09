//! An instance's certificate for a security token, and a user behind it.
//!
//! <https://docs.oracle.com/en-us/iaas/Content/Identity/Tasks/callingservicesfrominstances.htm>

use std::sync::Arc;

use super::{CredentialSource, Error, Network, metadata::Metadata};
use crate::region::Region;

/// Where a delegation token comes from.
#[derive(Clone, Debug)]
pub(super) enum DelegationToken {
    /// The token itself, and what names it.
    Text { token: String, named_by: String },
    /// A file that is read for each new session, and again when it changes.
    File {
        path: std::path::PathBuf,
        named_by: String,
    },
}

/// The instance, or the user who delegated to it (Cloud Shell). Contacts nobody yet.
pub(super) fn source(
    _metadata: &Metadata,
    _region: &Region,
    _delegation: Option<DelegationToken>,
    _network: &Network,
) -> Result<Arc<dyn CredentialSource>, Error> {
    todo!()
}
