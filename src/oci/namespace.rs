//! The tenancy's namespace, the first part of every image path.
//!
//! API: <https://docs.oracle.com/iaas/api/#/en/objectstorage/latest/Namespace/GetNamespace>

use http::Method;

use super::{Client, Error, call::Call};
use crate::region::Service;

impl Client {
    /// GetNamespace: of the caller's tenancy, or of a compartment's.
    pub async fn get_namespace(&self, compartment_id: Option<&str>) -> Result<String, Error> {
        let call = Call::new(self, "GetNamespace", Service::ObjectStorage, Method::GET)?
            .path("n")
            .query("compartmentId", compartment_id);
        self.json(&call).await
    }
}
