//! Regions, their keys and realms, and the hosts of every service in them.
//!
//! The table is the region list of Oracle's public SDKs (Python 2.189.0 and Go
//! 65.117.1, which agree). A [`Directory`] adds what files and the environment
//! say about regions that are newer than this, as the SDKs do.

mod directory;

pub use directory::{Directory, InvalidDescription, Sources, UnknownRegion};

/// A region of Oracle's cloud.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// For example `sa-saopaulo-1`. Or a whole domain, under which every service
    /// has a host: whoever writes a dot there means that.
    pub identifier: String,
    /// Three letters, lower case, for example `gru`. Empty when nobody
    /// describes the region.
    pub key: String,
    /// For example `oc1`. Empty when it is not known.
    pub realm: String,
    /// For example `oraclecloud.com`. Empty when the identifier is a domain.
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
    /// Federation: security tokens for certificates.
    Auth,
}

impl Region {
    /// Finds a region by identifier or key, in any case, as a [`Directory`]
    /// without additions does.
    pub fn parse(text: &str) -> Result<Self, UnknownRegion> {
        Directory::default().find(text)
    }

    /// Every region of the table, sorted by identifier.
    pub fn all() -> impl Iterator<Item = Self> {
        REGIONS.iter().map(Self::from_row)
    }

    /// The host of a service, for example `artifacts.sa-saopaulo-1.oci.oraclecloud.com`.
    pub fn host(&self, service: Service) -> String {
        let Self {
            identifier,
            second_level_domain,
            ..
        } = self;
        match service {
            _ if second_level_domain.is_empty() => format!("{}.{identifier}", service.name()),
            // These are older than the `.oci.` level of the names.
            Service::ObjectStorage | Service::Auth => {
                format!("{}.{identifier}.{second_level_domain}", service.name())
            }
            _ => format!("{}.{identifier}.oci.{second_level_domain}", service.name()),
        }
    }

    /// The registry's preferred host: `gru.ocir.io` in realm oc1,
    /// `ocir.<region>.oci.<domain>` elsewhere.
    pub fn registry_host(&self) -> String {
        if self.realm == COMMERCIAL_REALM && !self.key.is_empty() {
            format!("{}.ocir.io", self.key)
        } else {
            self.host(Service::ContainerRegistry)
        }
    }

    /// All names under which the region's registry answers, the preferred first.
    /// A login at one of them is none at the others, since clients keep
    /// credentials by host name.
    pub fn registry_hosts(&self) -> Vec<String> {
        let mut hosts = vec![self.registry_host()];
        if self.realm == COMMERCIAL_REALM {
            hosts.push(format!("{}.ocir.io", self.identifier));
        }
        let everywhere = self.host(Service::ContainerRegistry);
        if !hosts.contains(&everywhere) {
            hosts.push(everywhere);
        }
        hosts
    }

    fn from_row(&(identifier, key, realm): &(&str, &str, &str)) -> Self {
        let (_, second_level_domain) = REALMS
            .iter()
            .find(|(name, _)| *name == realm)
            .expect("every realm of the table is in the table of realms, as a test checks");
        Self {
            identifier: identifier.to_owned(),
            key: key.to_owned(),
            realm: realm.to_owned(),
            second_level_domain: (*second_level_domain).to_owned(),
        }
    }
}

impl Service {
    /// The first part of the service's host name, which also stands for the
    /// service in an endpoint with `{service}`.
    pub fn name(self) -> &'static str {
        match self {
            Service::Artifacts => "artifacts",
            Service::Identity => "identity",
            Service::ContainerRegistry => "ocir",
            Service::ObjectStorage => "objectstorage",
            Service::Auth => "auth",
        }
    }
}

/// The realm that has the short registry hosts under `ocir.io`.
const COMMERCIAL_REALM: &str = "oc1";

/// Realm and second-level domain.
#[rustfmt::skip]
const REALMS: &[(&str, &str)] = &[
    ("oc1", "oraclecloud.com"),
    ("oc2", "oraclegovcloud.com"),
    ("oc3", "oraclegovcloud.com"),
    ("oc4", "oraclegovcloud.uk"),
    ("oc8", "oraclecloud8.com"),
    ("oc9", "oraclecloud9.com"),
    ("oc10", "oraclecloud10.com"),
    ("oc14", "oraclecloud14.com"),
    ("oc15", "oraclecloud15.com"),
    ("oc19", "oraclecloud.eu"),
    ("oc20", "oraclecloud20.com"),
    ("oc21", "oraclecloud21.com"),
    ("oc23", "oraclecloud23.com"),
    ("oc24", "oraclecloud24.com"),
    ("oc26", "oraclecloud26.com"),
    ("oc29", "oraclecloud29.com"),
    ("oc35", "oraclecloud35.com"),
    ("oc42", "oraclecloud42.com"),
    ("oc51", "oraclecloud51.com"),
    ("oc52", "oraclecloud52.com"),
];

/// Identifier, key and realm, sorted by identifier.
#[rustfmt::skip]
const REGIONS: &[(&str, &str, &str)] = &[
    ("af-casablanca-1", "lej", "oc1"),
    ("af-johannesburg-1", "jnb", "oc1"),
    ("ap-batam-1", "hsg", "oc1"),
    ("ap-chiyoda-1", "nja", "oc8"),
    ("ap-chuncheon-1", "yny", "oc1"),
    ("ap-chuncheon-2", "bno", "oc35"),
    ("ap-dcc-canberra-1", "wga", "oc10"),
    ("ap-dcc-gazipur-1", "dac", "oc15"),
    ("ap-delhi-1", "onm", "oc1"),
    ("ap-hyderabad-1", "hyd", "oc1"),
    ("ap-ibaraki-1", "ukb", "oc8"),
    ("ap-kulai-2", "jbp", "oc1"),
    ("ap-melbourne-1", "mel", "oc1"),
    ("ap-mumbai-1", "bom", "oc1"),
    ("ap-osaka-1", "kix", "oc1"),
    ("ap-seoul-1", "icn", "oc1"),
    ("ap-seoul-2", "dtz", "oc35"),
    ("ap-singapore-1", "sin", "oc1"),
    ("ap-singapore-2", "xsp", "oc1"),
    ("ap-suwon-1", "dln", "oc35"),
    ("ap-sydney-1", "syd", "oc1"),
    ("ap-tokyo-1", "nrt", "oc1"),
    ("ca-montreal-1", "yul", "oc1"),
    ("ca-toronto-1", "yyz", "oc1"),
    ("eu-amsterdam-1", "ams", "oc1"),
    ("eu-budapest-1", "jsk", "oc51"),
    ("eu-crissier-1", "avf", "oc24"),
    ("eu-dcc-dublin-1", "ork", "oc14"),
    ("eu-dcc-dublin-2", "snn", "oc14"),
    ("eu-dcc-milan-1", "bgy", "oc14"),
    ("eu-dcc-milan-2", "mxp", "oc14"),
    ("eu-dcc-rating-1", "dus", "oc14"),
    ("eu-dcc-rating-2", "dtm", "oc14"),
    ("eu-dcc-zurich-1", "avz", "oc24"),
    ("eu-frankfurt-1", "fra", "oc1"),
    ("eu-frankfurt-2", "str", "oc19"),
    ("eu-jovanovac-1", "beg", "oc20"),
    ("eu-madrid-1", "mad", "oc1"),
    ("eu-madrid-2", "vll", "oc19"),
    ("eu-madrid-3", "orf", "oc1"),
    ("eu-marseille-1", "mrs", "oc1"),
    ("eu-milan-1", "lin", "oc1"),
    ("eu-paris-1", "cdg", "oc1"),
    ("eu-stockholm-1", "arn", "oc1"),
    ("eu-turin-1", "nrq", "oc1"),
    ("eu-zurich-1", "zrh", "oc1"),
    ("il-jerusalem-1", "mtz", "oc1"),
    ("me-abudhabi-1", "auh", "oc1"),
    ("me-abudhabi-2", "rkt", "oc29"),
    ("me-abudhabi-3", "ahu", "oc26"),
    ("me-abudhabi-4", "shj", "oc29"),
    ("me-alain-1", "rba", "oc26"),
    ("me-alrayyan-1", "vve", "oc21"),
    ("me-dcc-doha-1", "doh", "oc21"),
    ("me-dcc-muscat-1", "mct", "oc9"),
    ("me-dubai-1", "dxb", "oc1"),
    ("me-ibri-1", "ibr", "oc9"),
    ("me-jeddah-1", "jed", "oc1"),
    ("me-riyadh-1", "ruh", "oc1"),
    ("mx-monterrey-1", "mty", "oc1"),
    ("mx-queretaro-1", "qro", "oc1"),
    ("sa-bogota-1", "bog", "oc1"),
    ("sa-riodejaneiro-1", "hnw", "oc52"),
    ("sa-santiago-1", "scl", "oc1"),
    ("sa-saopaulo-1", "gru", "oc1"),
    ("sa-valparaiso-1", "vap", "oc1"),
    ("sa-vinhedo-1", "vcp", "oc1"),
    ("uk-cardiff-1", "cwl", "oc1"),
    ("uk-gov-cardiff-1", "brs", "oc4"),
    ("uk-gov-london-1", "ltn", "oc4"),
    ("uk-london-1", "lhr", "oc1"),
    ("us-ashburn-1", "iad", "oc1"),
    ("us-ashburn-2", "yxj", "oc42"),
    ("us-chicago-1", "ord", "oc1"),
    ("us-gov-ashburn-1", "ric", "oc3"),
    ("us-gov-chicago-1", "pia", "oc3"),
    ("us-gov-phoenix-1", "tus", "oc3"),
    ("us-langley-1", "lfi", "oc2"),
    ("us-luke-1", "luf", "oc2"),
    ("us-newark-1", "pgc", "oc42"),
    ("us-phoenix-1", "phx", "oc1"),
    ("us-saltlake-2", "aga", "oc1"),
    ("us-sanjose-1", "sjc", "oc1"),
    ("us-somerset-1", "ebb", "oc23"),
    ("us-thames-1", "ebl", "oc23"),
];

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    /// The table says what the SDKs' region list says, and nothing else.
    #[test]
    fn table_is_the_published_one() -> anyhow::Result<()> {
        let published: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/fixtures/regions.json"))?;
        let ours: Vec<serde_json::Value> = Region::all()
            .map(|region| {
                serde_json::json!({
                    "regionIdentifier": region.identifier,
                    "regionKey": region.key.to_uppercase(),
                    "realmKey": region.realm,
                    "realmDomainComponent": region.second_level_domain,
                })
            })
            .collect();
        assert_eq!(ours.len(), 85);
        assert_eq!(published["regions"], serde_json::Value::from(ours));
        Ok(())
    }

    /// Keys and identifiers are each used once, so a lookup is never ambiguous.
    #[test]
    fn names_are_unique_and_sorted() {
        let mut names: Vec<String> = Region::all().map(|region| region.identifier).collect();
        assert!(names.is_sorted());
        names.extend(Region::all().map(|region| region.key));
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 2 * 85);
    }

    /// People write regions as they please.
    #[test]
    fn parses_identifier_and_key_in_any_case() -> anyhow::Result<()> {
        for text in ["sa-saopaulo-1", "SA-SaoPaulo-1", "gru", "GRU", " gru\n"] {
            assert_eq!(Region::parse(text)?.identifier, "sa-saopaulo-1", "{text:?}");
        }
        for region in Region::all() {
            assert_eq!(Region::parse(&region.key.to_uppercase())?, region);
            assert_eq!(Region::parse(&region.identifier)?, region);
        }
        Ok(())
    }

    /// One region of the commercial realm and one of another, a region that is
    /// newer than the table, and a whole domain: every host.
    #[test]
    fn hosts() -> anyhow::Result<()> {
        let hosts = |text: &str| -> anyhow::Result<String> {
            let region = Region::parse(text)?;
            let mut hosts: Vec<String> = [
                Service::Artifacts,
                Service::Identity,
                Service::ContainerRegistry,
                Service::ObjectStorage,
                Service::Auth,
            ]
            .map(|service| region.host(service))
            .into();
            hosts.push(format!("registry: {}", region.registry_hosts().join(" ")));
            assert_eq!(region.registry_hosts()[0], region.registry_host());
            Ok(hosts.join("\n"))
        };
        expect![[r#"
            artifacts.sa-saopaulo-1.oci.oraclecloud.com
            identity.sa-saopaulo-1.oci.oraclecloud.com
            ocir.sa-saopaulo-1.oci.oraclecloud.com
            objectstorage.sa-saopaulo-1.oraclecloud.com
            auth.sa-saopaulo-1.oraclecloud.com
            registry: gru.ocir.io sa-saopaulo-1.ocir.io ocir.sa-saopaulo-1.oci.oraclecloud.com"#]]
        .assert_eq(&hosts("gru")?);
        expect![[r#"
            artifacts.us-langley-1.oci.oraclegovcloud.com
            identity.us-langley-1.oci.oraclegovcloud.com
            ocir.us-langley-1.oci.oraclegovcloud.com
            objectstorage.us-langley-1.oraclegovcloud.com
            auth.us-langley-1.oraclegovcloud.com
            registry: ocir.us-langley-1.oci.oraclegovcloud.com"#]]
        .assert_eq(&hosts("us-langley-1")?);
        expect![[r#"
            artifacts.xx-newtown-1.oci.oraclecloud.com
            identity.xx-newtown-1.oci.oraclecloud.com
            ocir.xx-newtown-1.oci.oraclecloud.com
            objectstorage.xx-newtown-1.oraclecloud.com
            auth.xx-newtown-1.oraclecloud.com
            registry: ocir.xx-newtown-1.oci.oraclecloud.com xx-newtown-1.ocir.io"#]]
        .assert_eq(&hosts("xx-newtown-1")?);
        expect![[r#"
            artifacts.cloud.example.com
            identity.cloud.example.com
            ocir.cloud.example.com
            objectstorage.cloud.example.com
            auth.cloud.example.com
            registry: ocir.cloud.example.com"#]]
        .assert_eq(&hosts("Cloud.Example.Com")?);
        Ok(())
    }

    /// The registry of the first region of every realm.
    #[test]
    fn registry_hosts_of_every_realm() {
        let mut lines = Vec::new();
        for (realm, _) in REALMS {
            let region = Region::all().find(|region| region.realm == *realm);
            let region = region.expect("a test checks that every realm has a region");
            lines.push(format!("{realm}: {}", region.registry_hosts().join(" ")));
        }
        expect![[r#"
            oc1: lej.ocir.io af-casablanca-1.ocir.io ocir.af-casablanca-1.oci.oraclecloud.com
            oc2: ocir.us-langley-1.oci.oraclegovcloud.com
            oc3: ocir.us-gov-ashburn-1.oci.oraclegovcloud.com
            oc4: ocir.uk-gov-cardiff-1.oci.oraclegovcloud.uk
            oc8: ocir.ap-chiyoda-1.oci.oraclecloud8.com
            oc9: ocir.me-dcc-muscat-1.oci.oraclecloud9.com
            oc10: ocir.ap-dcc-canberra-1.oci.oraclecloud10.com
            oc14: ocir.eu-dcc-dublin-1.oci.oraclecloud14.com
            oc15: ocir.ap-dcc-gazipur-1.oci.oraclecloud15.com
            oc19: ocir.eu-frankfurt-2.oci.oraclecloud.eu
            oc20: ocir.eu-jovanovac-1.oci.oraclecloud20.com
            oc21: ocir.me-alrayyan-1.oci.oraclecloud21.com
            oc23: ocir.us-somerset-1.oci.oraclecloud23.com
            oc24: ocir.eu-crissier-1.oci.oraclecloud24.com
            oc26: ocir.me-abudhabi-3.oci.oraclecloud26.com
            oc29: ocir.me-abudhabi-2.oci.oraclecloud29.com
            oc35: ocir.ap-chuncheon-2.oci.oraclecloud35.com
            oc42: ocir.us-ashburn-2.oci.oraclecloud42.com
            oc51: ocir.eu-budapest-1.oci.oraclecloud51.com
            oc52: ocir.sa-riodejaneiro-1.oci.oraclecloud52.com"#]]
        .assert_eq(&lines.join("\n"));
    }

    /// Every realm has a region, and every region a realm.
    #[test]
    fn realms_are_those_of_the_regions() {
        let mut realms: Vec<&str> = REGIONS.iter().map(|(_, _, realm)| *realm).collect();
        realms.sort_unstable();
        realms.dedup();
        let mut named: Vec<&str> = REALMS.iter().map(|(realm, _)| *realm).collect();
        named.sort_unstable();
        assert_eq!(realms, named);
    }
}
