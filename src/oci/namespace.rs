//! The tenancy's namespace, the first part of every image path.
//!
//! API: <https://docs.oracle.com/iaas/api/#/en/objectstorage/latest/Namespace/GetNamespace>

use super::{Client, Error};

impl Client {
    /// GetNamespace: of the caller's tenancy, or of a compartment's.
    pub async fn get_namespace(&self, _compartment_id: Option<&str>) -> Result<String, Error> {
        todo!()
    }
}
