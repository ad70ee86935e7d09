//! Regions, as far as an emulator of one tenancy has to know them.

/// A region: what its identifier, its key and its realm are.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Region {
    pub identifier: &'static str,
    /// Three letters, upper case, as Oracle's answers spell them.
    pub key: &'static str,
    pub realm: &'static str,
}

/// The region of an identifier or a key, in any case.
pub(super) fn find(name: &str) -> Option<&'static Region> {
    REGIONS.iter().find(|region| {
        region.identifier.eq_ignore_ascii_case(name) || region.key.eq_ignore_ascii_case(name)
    })
}

/// Every region of a realm, in order of their identifiers.
pub(super) fn of_realm(realm: &str) -> impl Iterator<Item = &'static Region> {
    REGIONS.iter().filter(move |region| region.realm == realm)
}

/// The second-level domain of a realm.
pub(super) fn domain(realm: &str) -> String {
    match realm {
        "oc1" => "oraclecloud.com".into(),
        "oc2" | "oc3" => "oraclegovcloud.com".into(),
        "oc4" => "oraclegovcloud.uk".into(),
        "oc19" => "oraclecloud.eu".into(),
        other => format!("oraclecloud{}.com", other.trim_start_matches("oc")),
    }
}

const fn region(identifier: &'static str, key: &'static str, realm: &'static str) -> Region {
    Region {
        identifier,
        key,
        realm,
    }
}

#[rustfmt::skip]
const REGIONS: &[Region] = &[
    region("af-casablanca-1", "LEJ", "oc1"),
    region("af-johannesburg-1", "JNB", "oc1"),
    region("ap-batam-1", "HSG", "oc1"),
    region("ap-chiyoda-1", "NJA", "oc8"),
    region("ap-chuncheon-1", "YNY", "oc1"),
    region("ap-chuncheon-2", "BNO", "oc35"),
    region("ap-dcc-canberra-1", "WGA", "oc10"),
    region("ap-dcc-gazipur-1", "DAC", "oc15"),
    region("ap-delhi-1", "ONM", "oc1"),
    region("ap-hyderabad-1", "HYD", "oc1"),
    region("ap-ibaraki-1", "UKB", "oc8"),
    region("ap-kulai-2", "JBP", "oc1"),
    region("ap-melbourne-1", "MEL", "oc1"),
    region("ap-mumbai-1", "BOM", "oc1"),
    region("ap-osaka-1", "KIX", "oc1"),
    region("ap-seoul-1", "ICN", "oc1"),
    region("ap-seoul-2", "DTZ", "oc35"),
    region("ap-singapore-1", "SIN", "oc1"),
    region("ap-singapore-2", "XSP", "oc1"),
    region("ap-suwon-1", "DLN", "oc35"),
    region("ap-sydney-1", "SYD", "oc1"),
    region("ap-tokyo-1", "NRT", "oc1"),
    region("ca-montreal-1", "YUL", "oc1"),
    region("ca-toronto-1", "YYZ", "oc1"),
    region("eu-amsterdam-1", "AMS", "oc1"),
    region("eu-budapest-1", "JSK", "oc51"),
    region("eu-crissier-1", "AVF", "oc24"),
    region("eu-dcc-dublin-1", "ORK", "oc14"),
    region("eu-dcc-dublin-2", "SNN", "oc14"),
    region("eu-dcc-milan-1", "BGY", "oc14"),
    region("eu-dcc-milan-2", "MXP", "oc14"),
    region("eu-dcc-rating-1", "DUS", "oc14"),
    region("eu-dcc-rating-2", "DTM", "oc14"),
    region("eu-dcc-zurich-1", "AVZ", "oc24"),
    region("eu-frankfurt-1", "FRA", "oc1"),
    region("eu-frankfurt-2", "STR", "oc19"),
    region("eu-jovanovac-1", "BEG", "oc20"),
    region("eu-madrid-1", "MAD", "oc1"),
    region("eu-madrid-2", "VLL", "oc19"),
    region("eu-madrid-3", "ORF", "oc1"),
    region("eu-marseille-1", "MRS", "oc1"),
    region("eu-milan-1", "LIN", "oc1"),
    region("eu-paris-1", "CDG", "oc1"),
    region("eu-stockholm-1", "ARN", "oc1"),
    region("eu-turin-1", "NRQ", "oc1"),
    region("eu-zurich-1", "ZRH", "oc1"),
    region("il-jerusalem-1", "MTZ", "oc1"),
    region("me-abudhabi-1", "AUH", "oc1"),
    region("me-abudhabi-2", "RKT", "oc29"),
    region("me-abudhabi-3", "AHU", "oc26"),
    region("me-abudhabi-4", "SHJ", "oc29"),
    region("me-alain-1", "RBA", "oc26"),
    region("me-alrayyan-1", "VVE", "oc21"),
    region("me-dcc-doha-1", "DOH", "oc21"),
    region("me-dcc-muscat-1", "MCT", "oc9"),
    region("me-dubai-1", "DXB", "oc1"),
    region("me-ibri-1", "IBR", "oc9"),
    region("me-jeddah-1", "JED", "oc1"),
    region("me-riyadh-1", "RUH", "oc1"),
    region("mx-monterrey-1", "MTY", "oc1"),
    region("mx-queretaro-1", "QRO", "oc1"),
    region("sa-bogota-1", "BOG", "oc1"),
    region("sa-riodejaneiro-1", "HNW", "oc52"),
    region("sa-santiago-1", "SCL", "oc1"),
    region("sa-saopaulo-1", "GRU", "oc1"),
    region("sa-valparaiso-1", "VAP", "oc1"),
    region("sa-vinhedo-1", "VCP", "oc1"),
    region("uk-cardiff-1", "CWL", "oc1"),
    region("uk-gov-cardiff-1", "BRS", "oc4"),
    region("uk-gov-london-1", "LTN", "oc4"),
    region("uk-london-1", "LHR", "oc1"),
    region("us-ashburn-1", "IAD", "oc1"),
    region("us-ashburn-2", "YXJ", "oc42"),
    region("us-chicago-1", "ORD", "oc1"),
    region("us-gov-ashburn-1", "RIC", "oc3"),
    region("us-gov-chicago-1", "PIA", "oc3"),
    region("us-gov-phoenix-1", "TUS", "oc3"),
    region("us-langley-1", "LFI", "oc2"),
    region("us-luke-1", "LUF", "oc2"),
    region("us-newark-1", "PGC", "oc42"),
    region("us-phoenix-1", "PHX", "oc1"),
    region("us-saltlake-2", "AGA", "oc1"),
    region("us-sanjose-1", "SJC", "oc1"),
    region("us-somerset-1", "EBB", "oc23"),
    region("us-thames-1", "EBL", "oc23"),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// A region is found by identifier and by key, in any case.
    #[test]
    fn identifier_and_key() {
        assert_eq!(find("sa-saopaulo-1"), find("gru"));
        assert_eq!(find("SA-SAOPAULO-1").map(|region| region.key), Some("GRU"));
        assert_eq!(find("moon-1"), None);
    }

    /// The commercial realm does not list a government's regions.
    #[test]
    fn realms() {
        assert!(of_realm("oc1").any(|region| region.key == "FRA"));
        assert!(of_realm("oc1").all(|region| !region.identifier.starts_with("us-gov")));
    }
}
