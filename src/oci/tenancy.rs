//! The tenancy and its regions.
//!
//! API: <https://docs.oracle.com/iaas/api/#/en/identity/latest/Tenancy/GetTenancy>,
//! <https://docs.oracle.com/iaas/api/#/en/identity/latest/RegionSubscription>

use http::Method;
use serde::Deserialize;

use super::{Client, Error, call::Call};
use crate::region::Service;

/// A tenancy.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "named as in the API reference")]
pub struct Tenancy {
    pub id: String,
    pub name: String,
    /// Upper case, for example `PHX`.
    pub home_region_key: String,
}

/// A region that a tenancy uses.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "named as in the API reference")]
pub struct RegionSubscription {
    /// Upper case, for example `PHX`.
    pub region_key: String,
    /// For example `us-phoenix-1`.
    pub region_name: String,
    #[serde(default)]
    pub is_home_region: bool,
}

impl Client {
    /// GetTenancy.
    pub async fn get_tenancy(&self, id: &str) -> Result<Tenancy, Error> {
        let call = Call::new(self, "GetTenancy", Service::Identity, Method::GET)?
            .path("tenancies")
            .value(id)
            .question();
        self.json_here(&call).await
    }

    /// ListRegionSubscriptions: all of them, for the list has no pages.
    pub async fn region_subscriptions(
        &self,
        tenancy_id: &str,
    ) -> Result<Vec<RegionSubscription>, Error> {
        let call = Call::new(
            self,
            "ListRegionSubscriptions",
            Service::Identity,
            Method::GET,
        )?
        .path("tenancies")
        .value(tenancy_id)
        .path("regionSubscriptions")
        .question();
        self.json_here(&call).await
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    /// The answers as the API reference has them.
    #[test]
    fn decodes_a_tenancy_and_its_regions() -> anyhow::Result<()> {
        let tenancy: Tenancy =
            serde_json::from_str(include_str!("../../tests/fixtures/oci/tenancy.json"))?;
        expect![[r#"Tenancy { id: "ocid1.tenancy.oc1..aaaaaaaaexampletenancy", name: "motando", home_region_key: "PHX" }"#]]
            .assert_eq(&format!("{tenancy:?}"));
        let regions: Vec<RegionSubscription> = serde_json::from_str(include_str!(
            "../../tests/fixtures/oci/region-subscriptions.json"
        ))?;
        expect![[r#"[RegionSubscription { region_key: "PHX", region_name: "us-phoenix-1", is_home_region: true }, RegionSubscription { region_key: "GRU", region_name: "sa-saopaulo-1", is_home_region: false }]"#]]
            .assert_eq(&format!("{regions:?}"));
        Ok(())
    }
}
