//! Regions, their keys and realms, and the hosts of every service in them.
//!
//! The table is the region list of Oracle's public SDKs (Python 2.189.0 and Go
//! 65.117.1, which agree). Regions that are newer than this, which the SDKs
//! learn from files and the environment, are deliberately not here.

mod directory;

pub use directory::{Directory, InvalidDescription, Sources};

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
    /// Federation: security tokens for certificates.
    Auth,
}

/// A region that is in no table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown region \"{0}\"{near}", near = candidates(.0))]
pub struct UnknownRegion(pub String);

impl Region {
    /// Finds a region by identifier or key, in any case.
    pub fn parse(text: &str) -> Result<Self, UnknownRegion> {
        let wanted = text.trim();
        REGIONS
            .iter()
            .find(|(identifier, key, _)| {
                identifier.eq_ignore_ascii_case(wanted) || key.eq_ignore_ascii_case(wanted)
            })
            .map(Self::from_row)
            .ok_or_else(|| UnknownRegion(text.to_owned()))
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
        if self.realm == COMMERCIAL_REALM {
            format!("{}.ocir.io", self.key)
        } else {
            self.host(Service::ContainerRegistry)
        }
    }

    /// All names under which the region's registry answers, the preferred first.
    /// A login at one of them is none at the others, since clients keep
    /// credentials by host name.
    pub fn registry_hosts(&self) -> Vec<String> {
        let everywhere = self.host(Service::ContainerRegistry);
        if self.realm == COMMERCIAL_REALM {
            vec![
                self.registry_host(),
                format!("{}.ocir.io", self.identifier),
                everywhere,
            ]
        } else {
            vec![everywhere]
        }
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

/// The end of the message about an unknown region: what may have been meant.
fn candidates(text: &str) -> String {
    let wanted = text.trim().to_ascii_lowercase();
    if wanted.is_empty() {
        return ": it is empty".to_owned();
    }
    let mut near: Vec<(usize, &str, &str)> = REGIONS
        .iter()
        .filter_map(|&(identifier, key, _)| {
            // The city alone, or the identifier without its number, is a
            // likelier slip than three wrong letters.
            let contained = wanted.len() >= 4 && identifier.contains(&wanted);
            let to_identifier = distance(&wanted, identifier);
            let to_key = distance(&wanted, key);
            let score = if contained {
                0
            } else if to_identifier <= 3 && wanted.len() > 4 {
                to_identifier
            } else if to_key <= 1 && wanted.len() <= 4 {
                to_key
            } else {
                return None;
            };
            Some((score, identifier, key))
        })
        .collect();
    near.sort_unstable();
    near.truncate(5);
    if near.is_empty() {
        return ": an identifier such as sa-saopaulo-1, or a key such as gru, is expected"
            .to_owned();
    }
    let near: Vec<String> = near
        .into_iter()
        .map(|(_, identifier, key)| format!("{identifier} ({key})"))
        .collect();
    format!("; the nearest by name: {}", near.join(", "))
}

/// How many letters have to be added, taken away or replaced to come from one
/// text to the other.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (line, letter) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, other) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *other);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
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

    /// A region that does not exist is answered with the ones that look like it.
    #[test]
    fn unknown_region_lists_what_is_close() {
        let message = |text| match Region::parse(text) {
            Err(error) => error.to_string(),
            Ok(region) => panic!("{text} is {}", region.identifier),
        };
        expect![[r#"unknown region "sa-sao-paulo-1"; the nearest by name: sa-saopaulo-1 (gru)"#]]
            .assert_eq(&message("sa-sao-paulo-1"));
        expect![[r#"unknown region "frankfurt"; the nearest by name: eu-frankfurt-1 (fra), eu-frankfurt-2 (str)"#]].assert_eq(&message("frankfurt"));
        expect![[r#"unknown region "us-ashburn"; the nearest by name: us-ashburn-1 (iad), us-ashburn-2 (yxj)"#]]
        .assert_eq(&message("us-ashburn"));
        expect![[r#"unknown region "grv"; the nearest by name: sa-saopaulo-1 (gru)"#]]
            .assert_eq(&message("grv"));
        expect![[r#"unknown region "moon-base-1": an identifier such as sa-saopaulo-1, or a key such as gru, is expected"#]].assert_eq(&message("moon-base-1"));
        expect![[r#"unknown region "": it is empty"#]].assert_eq(&message(""));
    }

    /// One region of the commercial realm and one of another: every host.
    #[test]
    fn hosts() -> anyhow::Result<()> {
        let hosts = |text: &str| -> anyhow::Result<String> {
            let region = Region::parse(text)?;
            let mut hosts: Vec<String> = [
                Service::Artifacts,
                Service::Identity,
                Service::ContainerRegistry,
                Service::ObjectStorage,
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
            registry: gru.ocir.io sa-saopaulo-1.ocir.io ocir.sa-saopaulo-1.oci.oraclecloud.com"#]]
        .assert_eq(&hosts("gru")?);
        expect![[r#"
            artifacts.us-langley-1.oci.oraclegovcloud.com
            identity.us-langley-1.oci.oraclegovcloud.com
            ocir.us-langley-1.oci.oraclegovcloud.com
            objectstorage.us-langley-1.oraclegovcloud.com
            registry: ocir.us-langley-1.oci.oraclegovcloud.com"#]]
        .assert_eq(&hosts("us-langley-1")?);
        Ok(())
    }
}
