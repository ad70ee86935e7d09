//! Regions, their keys and realms, and the hosts of every service in them.
//!
//! Source of the table: the region list of Oracle's public SDKs.

/// A region of Oracle's cloud.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// For example `sa-saopaulo-1`.
    pub identifier: String,
    /// Three letters, lower case, for example `gru`.
    pub key: String,
    /// For example `oc1`.
    pub realm: String,
    /// For example `oraclecloud.com`.
    pub second_level_domain: String,
}

/// The services whose hosts are known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Container repositories and images.
    Artifacts,
    /// Users and auth tokens.
    Identity,
    /// The registry's token endpoint as a service of its own.
    ContainerRegistry,
    /// The namespace.
    ObjectStorage,
}

/// A region that is in no table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown region \"{0}\"")]
pub struct UnknownRegion(pub String);

impl Region {
    /// Finds a region by identifier or key, in any case.
    pub fn parse(_text: &str) -> Result<Self, UnknownRegion> {
        todo!()
    }
    /// Every region of the table, sorted by identifier.
    pub fn all() -> impl Iterator<Item = Self> {
        std::iter::empty()
    }
    /// The host of a service, for example `artifacts.sa-saopaulo-1.oci.oraclecloud.com`.
    pub fn host(&self, _service: Service) -> String {
        todo!()
    }
    /// The registry's preferred host: `gru.ocir.io` in realm oc1,
    /// `ocir.<region>.oci.<domain>` elsewhere.
    pub fn registry_host(&self) -> String {
        todo!()
    }
    /// All names under which the region's registry answers, the preferred first.
    pub fn registry_hosts(&self) -> Vec<String> {
        todo!()
    }
}
