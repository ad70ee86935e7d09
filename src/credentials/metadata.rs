//! The metadata service of an instance.
//!
//! <https://docs.oracle.com/en-us/iaas/Content/Compute/Tasks/gettingmetadata.htm>

use super::{Environment, Error, Network};
use crate::region::{Directory, Region};

/// A client of the metadata service; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Metadata {}

impl Metadata {
    /// Contacts nobody.
    pub(super) fn new(_environment: &Environment, _network: &Network) -> Result<Self, Error> {
        todo!()
    }

    /// Whether there is one: asked once, with a short time-out, so that it
    /// costs a laptop next to nothing. `Err` holds why not, for the log and for
    /// the message that lists what was tried.
    pub(super) async fn probe(&self) -> Result<(), String> {
        todo!()
    }

    /// The region that the instance is in, which may be newer than our table.
    pub(super) async fn region(&self, _regions: &Directory) -> Result<Region, Error> {
        todo!()
    }
}
