//! The table of data sources.

mod tenancy_namespace;

use super::Clients;
use crate::framework::DataSourceType;

/// Every data source, by name. `tenancy_namespace` was asked for by this name;
/// the other one needs no `provider = ocir`.
pub(super) fn all() -> Vec<DataSourceType<Clients>> {
    vec![
        DataSourceType::new::<tenancy_namespace::TenancyNamespace>("ocir_tenancy_namespace"),
        DataSourceType::new::<tenancy_namespace::TenancyNamespace>("tenancy_namespace"),
    ]
}
