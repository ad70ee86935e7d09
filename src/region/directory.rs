//! All regions that are known here: the table, and what files and the
//! environment add to it.
//!
//! What the table has is not described anew. A region that is nowhere described
//! is taken for one of the default realm when it looks like one, so that a new
//! region needs no new release; a slip of the pen is not.

use std::fmt;

use serde_json::Value;

use super::{REALMS, REGIONS, Region};

/// The regions that one process knows.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    /// Regions that are newer than the table.
    added: Vec<Region>,
    /// Domain of a region that nobody describes.
    default_domain: Option<String>,
}

/// What the table is completed with, as text. Oracle's SDKs know the same three.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sources<'a> {
    /// Content of `~/.oci/regions-config.json`: an array of descriptions.
    pub regions_config: Option<&'a str>,
    /// `OCI_REGION_METADATA`: one description.
    pub region_metadata: Option<&'a str>,
    /// `OCI_DEFAULT_REALM`: a second-level domain.
    pub default_realm: Option<&'a str>,
}

/// A description of regions that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {origin}: {problem}")]
pub struct InvalidDescription {
    /// `OCI_REGION_METADATA`, or the name of the file.
    pub origin: &'static str,
    /// What is wrong with it.
    pub problem: String,
}

/// A region that is nowhere described, and does not look like a new one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown region \"{text}\"{hint}")]
pub struct UnknownRegion {
    /// As it was written.
    pub text: String,
    hint: Hint,
}

impl Directory {
    /// The table, completed.
    pub fn new(sources: &Sources<'_>) -> Result<Self, InvalidDescription> {
        let mut directory = Self::default();
        if let Some(text) = sources.regions_config {
            let invalid = |problem| InvalidDescription {
                origin: REGIONS_CONFIG,
                problem,
            };
            let Value::Array(entries) = json(text).map_err(invalid)? else {
                return Err(invalid("an array of regions is expected".to_owned()));
            };
            for (index, entry) in entries.iter().enumerate() {
                let region = Region::described(entry)
                    .map_err(|problem| invalid(format!("region {}: {problem}", index + 1)))?;
                directory.added.push(region);
            }
        }
        if let Some(text) = sources.region_metadata {
            let region = json(text).and_then(|entry| Region::described(&entry));
            directory
                .added
                .push(region.map_err(|problem| InvalidDescription {
                    origin: REGION_METADATA,
                    problem,
                })?);
        }
        if let Some(text) = sources.default_realm {
            let domain = text.trim().to_ascii_lowercase();
            if !domain.contains('.') || !is_domain(&domain) {
                return Err(InvalidDescription {
                    origin: DEFAULT_REALM,
                    problem: "a domain such as oraclecloud.com is expected".to_owned(),
                });
            }
            directory.default_domain = Some(domain);
        }
        Ok(directory)
    }

    /// Finds a region by identifier or key, in any case.
    pub fn find(&self, text: &str) -> Result<Region, UnknownRegion> {
        let wanted = text.trim().to_ascii_lowercase();
        let unknown = |hint| UnknownRegion {
            text: text.to_owned(),
            hint,
        };
        if wanted.is_empty() {
            return Err(unknown(Hint::Empty));
        }
        let known = REGIONS
            .iter()
            .find(|(identifier, key, _)| wanted == *identifier || wanted == *key)
            .map(Region::from_row)
            .or_else(|| {
                let mut added = self.added.iter();
                added
                    .find(|region| wanted == region.identifier || wanted == region.key)
                    .cloned()
            });
        if let Some(region) = known {
            return Ok(region);
        }
        if wanted.contains('.') && is_domain(&wanted) {
            return Ok(Region {
                identifier: wanted,
                key: String::new(),
                realm: String::new(),
                second_level_domain: String::new(),
            });
        }
        match well_formed(&wanted) {
            Some(name) if !self.is_slip(name) => Ok(self.undescribed(wanted)),
            looks_new => Err(unknown(self.hint(&wanted, looks_new.is_some()))),
        }
    }

    /// Whether a name is so near to a known one that it is more likely a slip
    /// than a new city.
    fn is_slip(&self, name: &str) -> bool {
        let allowed = if name.len() <= 7 { 1 } else { 2 };
        let mut names = self.names().filter_map(|(known, _)| well_formed(known));
        let nearest = names.try_fold(usize::MAX, |nearest, known| match distance(name, known) {
            // One more region in a city that has some.
            0 => None,
            letters => Some(nearest.min(letters)),
        });
        nearest.is_some_and(|letters| letters <= allowed)
    }

    /// A region of the default realm that nobody describes.
    fn undescribed(&self, identifier: String) -> Region {
        let domain = self.default_domain.as_deref().unwrap_or(DEFAULT_DOMAIN);
        let mut realms = REALMS.iter().filter(|(_, of_realm)| *of_realm == domain);
        // Two realms share a domain, and then it is neither.
        let realm = match (realms.next(), realms.next()) {
            (Some((realm, _)), None) => realm,
            _ => "",
        };
        Region {
            identifier,
            key: String::new(),
            realm: realm.to_owned(),
            second_level_domain: domain.to_owned(),
        }
    }

    /// What may have been meant.
    fn hint(&self, wanted: &str, looks_new: bool) -> Hint {
        let mut near: Vec<(usize, &str, &str)> = self
            .names()
            .filter_map(|(identifier, key)| {
                // The city alone, or the identifier without its number, is a
                // likelier slip than three wrong letters.
                let contained = wanted.len() >= 4 && identifier.contains(wanted);
                let to_identifier = match (well_formed(wanted), well_formed(identifier)) {
                    (Some(wanted), Some(known)) => distance(wanted, known),
                    _ => distance(wanted, identifier),
                };
                let to_key = distance(wanted, key);
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
        near.dedup();
        near.truncate(5);
        let near: Vec<String> = near
            .into_iter()
            .map(|(_, identifier, key)| format!("{identifier} ({key})"))
            .collect();
        if near.is_empty() {
            Hint::Form
        } else {
            Hint::Near { near, looks_new }
        }
    }

    /// Identifier and key of all.
    fn names(&self) -> impl Iterator<Item = (&str, &str)> {
        let table = REGIONS
            .iter()
            .map(|&(identifier, key, _)| (identifier, key));
        let added = self.added.iter();
        table.chain(added.map(|region| (&*region.identifier, &*region.key)))
    }
}

/// The end of the message about an unknown region.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Hint {
    Empty,
    Form,
    Near { near: Vec<String>, looks_new: bool },
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Hint::Empty => f.write_str(": it is empty"),
            Hint::Form => f.write_str(
                ": an identifier such as sa-saopaulo-1, or a key such as gru, is expected",
            ),
            Hint::Near { near, looks_new } => {
                write!(f, "; the nearest by name: {}", near.join(", "))?;
                if *looks_new {
                    write!(
                        f,
                        ". A region that is newer than this provider is described in {REGION_METADATA} or {REGIONS_CONFIG}"
                    )?;
                }
                Ok(())
            }
        }
    }
}

/// A description, for a message.
const EXAMPLE: &str = r#"{"realmKey":"oc1","realmDomainComponent":"oraclecloud.com","regionKey":"GRU","regionIdentifier":"sa-saopaulo-1"}"#;

fn json(text: &str) -> Result<Value, String> {
    // The text may be anything, so it is not quoted.
    serde_json::from_str(text.trim_start_matches('\u{feff}')).map_err(|error| {
        format!(
            "it is no JSON (line {}, column {}); a region is described like this: {EXAMPLE}",
            error.line(),
            error.column()
        )
    })
}

impl Region {
    /// A region as Oracle's tools and an instance's metadata service describe one: four
    /// members, all of them needed, that can stand in a host's name. Or what is wrong.
    pub fn described(entry: &Value) -> Result<Self, String> {
        if !entry.is_object() {
            return Err(
                "an object with realmKey, realmDomainComponent, regionKey and regionIdentifier is expected"
                    .to_owned(),
            );
        }
        let member = |name: &str, plain: fn(&str) -> bool| match entry.get(name) {
            None => Err(format!("{name} is missing")),
            Some(Value::String(text)) => {
                let text = text.trim().to_ascii_lowercase();
                // These become parts of host names.
                if plain(&text) {
                    Ok(text)
                } else {
                    Err(format!("{name} cannot be a part of a host's name"))
                }
            }
            Some(_) => Err(format!("{name} is no text")),
        };
        Ok(Region {
            identifier: member("regionIdentifier", is_label)?,
            key: member("regionKey", is_label)?,
            realm: member("realmKey", is_label)?,
            second_level_domain: member("realmDomainComponent", is_domain)?,
        })
    }
}

/// The name in an identifier: `sa-saopaulo` in `sa-saopaulo-1`; none when it
/// does not look like an identifier.
fn well_formed(identifier: &str) -> Option<&str> {
    let (name, number) = identifier.rsplit_once('-')?;
    let (area, city) = name.split_once('-')?;
    let is_number = (1..=2).contains(&number.len()) && number.bytes().all(|b| b.is_ascii_digit());
    let is_word = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase());
    let is_name = area.len() == 2 && is_word(area) && city.split('-').all(is_word);
    // It becomes a part of host names.
    (is_number && is_name && is_label(identifier)).then_some(name)
}

fn is_domain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_label)
}

fn is_label(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(plain)
        && !text.starts_with('-')
        && !text.ends_with('-')
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

const REGIONS_CONFIG: &str = "~/.oci/regions-config.json";
const REGION_METADATA: &str = "OCI_REGION_METADATA";
const DEFAULT_REALM: &str = "OCI_DEFAULT_REALM";

/// Of a region that nobody describes, unless `OCI_DEFAULT_REALM` says another.
const DEFAULT_DOMAIN: &str = "oraclecloud.com";

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    const MOON: &str = r#"{"realmKey": "OC99", "realmDomainComponent": "OracleCloud99.com",
        "regionKey": "LUN", "regionIdentifier": "Moon-Base-1", "more": [1]}"#;

    fn line(region: &Region) -> String {
        let Region {
            identifier,
            key,
            realm,
            second_level_domain,
        } = region;
        format!("{identifier} key={key} realm={realm} domain={second_level_domain}")
    }

    fn message(directory: &Directory, text: &str) -> String {
        match directory.find(text) {
            Err(error) => error.to_string(),
            Ok(region) => line(&region),
        }
    }

    /// A region that does not exist is answered with the ones that look like it.
    #[test]
    fn unknown_region_lists_what_is_close() {
        let message = |text| message(&Directory::default(), text);
        expect![[r#"unknown region "sa-sao-paulo-1"; the nearest by name: sa-saopaulo-1 (gru). A region that is newer than this provider is described in OCI_REGION_METADATA or ~/.oci/regions-config.json"#]].assert_eq(&message("sa-sao-paulo-1"));
        expect![[r#"unknown region "frankfurt"; the nearest by name: eu-frankfurt-1 (fra), eu-frankfurt-2 (str)"#]].assert_eq(&message("frankfurt"));
        expect![[r#"unknown region "us-ashburn"; the nearest by name: us-ashburn-1 (iad), us-ashburn-2 (yxj)"#]]
        .assert_eq(&message("us-ashburn"));
        expect![[r#"unknown region "grv"; the nearest by name: sa-saopaulo-1 (gru)"#]]
            .assert_eq(&message("grv"));
        expect![[r#"unknown region "moon-base-1": an identifier such as sa-saopaulo-1, or a key such as gru, is expected"#]].assert_eq(&message("moon-base-1"));
        expect![[r#"unknown region "": it is empty"#]].assert_eq(&message(""));
        expect![[r#"unknown region " ": it is empty"#]].assert_eq(&message(" "));
    }

    /// A region that is newer than the table is taken as it is, in the default
    /// realm; one that is nearly a known one is not.
    #[test]
    fn new_regions_are_accepted() -> anyhow::Result<()> {
        let directory = Directory::default();
        for text in [
            "us-dallas-1",
            "sa-lima-1",
            "il-haifa-1",
            "xx-name-1",
            "eu-dcc-vienna-1",
            "eu-vienna-10",
            // Cities that have regions already.
            "us-ashburn-3",
            "sa-saopaulo-2",
            "EU-Frankfurt-3",
        ] {
            let region = directory.find(text)?;
            assert_eq!(region.identifier, text.to_lowercase());
            assert_eq!(
                (&*region.key, &*region.realm, &*region.second_level_domain),
                ("", "oc1", "oraclecloud.com")
            );
        }
        // No host has a name with so long a part.
        let long = format!("xx-{}-1", "longname".repeat(8));
        assert!(directory.find(&long).is_err());
        for slip in [
            "sa-saopolo-1",
            "sa-sao-paulo-1",
            "eu-frankfrut-1",
            "eu-saopaulo-1",
            "us-asburn-1",
            "us-lake-1",
            "sa-saopolo-77",
            "me-abu-dhabi-1",
            "uk-londn-1",
        ] {
            assert!(
                message(&directory, slip).contains("the nearest by name: "),
                "{}",
                message(&directory, slip)
            );
        }
        for odd in [
            "us-ashburn-",
            "us--1",
            "us-1",
            "usa-dallas-1",
            "us-dallas-100",
            "us_dallas_1",
            "us-dallas-1/x",
            "us-dallas-1@evil",
            "a..b",
            ".",
            "example.com/path",
            "example.com:80",
            "-a.b",
            "ü.example.com",
        ] {
            assert!(
                message(&directory, odd).starts_with("unknown region"),
                "{odd}"
            );
        }
        Ok(())
    }

    /// The table first, then the file, then the variable; a default realm for
    /// what none of them has.
    #[test]
    fn descriptions_have_an_order() -> anyhow::Result<()> {
        let other = MOON.replace("99", "98");
        let sources = Sources {
            regions_config: Some(&format!(
                r#"[{MOON}, {{"realmKey": "oc77", "realmDomainComponent": "example.com",
                "regionKey": "iad", "regionIdentifier": "us-ashburn-1"}}]"#
            )),
            region_metadata: Some(&other),
            default_realm: Some(" OracleCloud42.com\n"),
        };
        let directory = Directory::new(&sources)?;
        let lines: Vec<String> = [
            "LUN",
            "moon-base-1",
            "us-ashburn-1",
            "xx-name-1",
            "moon-bass-1",
        ]
        .iter()
        .map(|text| message(&directory, text))
        .collect();
        expect![[r#"
            moon-base-1 key=lun realm=oc99 domain=oraclecloud99.com
            moon-base-1 key=lun realm=oc99 domain=oraclecloud99.com
            us-ashburn-1 key=iad realm=oc1 domain=oraclecloud.com
            xx-name-1 key= realm=oc42 domain=oraclecloud42.com
            unknown region "moon-bass-1"; the nearest by name: moon-base-1 (lun)"#]]
        .assert_eq(&lines.join("\n"));
        let directory = Directory::new(&Sources {
            regions_config: None,
            ..sources
        })?;
        assert_eq!(directory.find("lun")?.realm, "oc98");
        // Two realms have this domain.
        let directory = Directory::new(&Sources {
            default_realm: Some("oraclegovcloud.com"),
            ..Sources::default()
        })?;
        assert_eq!(
            line(&directory.find("us-gov-dallas-1")?),
            "us-gov-dallas-1 key= realm= domain=oraclegovcloud.com"
        );
        Ok(())
    }

    /// Every broken description names where it stands and what is wrong.
    #[test]
    fn broken_descriptions_are_named() {
        let invalid = |sources: Sources<'_>| match Directory::new(&sources) {
            Err(error) => error.to_string(),
            Ok(directory) => format!("no problem: {directory:?}"),
        };
        let variable = |text: &str| {
            invalid(Sources {
                region_metadata: Some(text),
                ..Sources::default()
            })
        };
        let file = |text: &str| {
            invalid(Sources {
                regions_config: Some(text),
                ..Sources::default()
            })
        };
        let realm = |text: &str| {
            invalid(Sources {
                default_realm: Some(text),
                ..Sources::default()
            })
        };
        let lines = [
            variable("{"),
            variable("[]"),
            variable(&MOON.replace("regionKey", "key")),
            variable(&MOON.replace("\"LUN\"", "1")),
            variable(&MOON.replace("LUN", "")),
            variable(&MOON.replace("Moon-Base-1", "moon/base")),
            file(MOON),
            file(&format!("[{MOON}, 1]")),
            file(&format!("[{MOON}, {}]", MOON.replace("realmKey", "realm"))),
            file("[{}"),
            realm("oc1"),
            realm("https://oraclecloud.com"),
        ];
        expect![[r#"
            cannot read OCI_REGION_METADATA: it is no JSON (line 1, column 1); a region is described like this: {"realmKey":"oc1","realmDomainComponent":"oraclecloud.com","regionKey":"GRU","regionIdentifier":"sa-saopaulo-1"}
            cannot read OCI_REGION_METADATA: an object with realmKey, realmDomainComponent, regionKey and regionIdentifier is expected
            cannot read OCI_REGION_METADATA: regionKey is missing
            cannot read OCI_REGION_METADATA: regionKey is no text
            cannot read OCI_REGION_METADATA: regionKey cannot be a part of a host's name
            cannot read OCI_REGION_METADATA: regionIdentifier cannot be a part of a host's name
            cannot read ~/.oci/regions-config.json: an array of regions is expected
            cannot read ~/.oci/regions-config.json: region 2: an object with realmKey, realmDomainComponent, regionKey and regionIdentifier is expected
            cannot read ~/.oci/regions-config.json: region 2: realmKey is missing
            cannot read ~/.oci/regions-config.json: it is no JSON (line 1, column 3); a region is described like this: {"realmKey":"oc1","realmDomainComponent":"oraclecloud.com","regionKey":"GRU","regionIdentifier":"sa-saopaulo-1"}
            cannot read OCI_DEFAULT_REALM: a domain such as oraclecloud.com is expected
            cannot read OCI_DEFAULT_REALM: a domain such as oraclecloud.com is expected"#]].assert_eq(&lines.join("\n"));
    }

    proptest::proptest! {
        /// Whatever files and variables say about regions: what comes out of them can stand in a
        /// host's name, or they are refused without being quoted.
        #[test]
        fn any_description(
            regions in crate::spoilt::json([serde_json::json!([
                {"realmKey": "oc9", "realmDomainComponent": "example.cloud", "regionKey": "XYZ", "regionIdentifier": "me-new-1"},
            ])]),
            metadata in crate::spoilt::text(&[EXAMPLE, "{", "\u{feff}[]"]),
            domain in crate::spoilt::text(&["oraclecloud.com", "a..b", "-.-"]),
            name in crate::spoilt::text(&["sa-saopaulo-1", "me-new-1", "XYZ", "me-dcc-muscat-1.oci.example"]),
        ) {
            let text = regions.to_string();
            let sources = [
                Sources { regions_config: Some(&text), ..Sources::default() },
                Sources { region_metadata: Some(&metadata), ..Sources::default() },
                Sources { default_realm: Some(&domain), ..Sources::default() },
            ];
            for sources in sources {
                match Directory::new(&sources) {
                    Ok(directory) => match directory.find(&name) {
                        Ok(region) => {
                            let parts = [&region.identifier, &region.second_level_domain];
                            proptest::prop_assert!(parts.iter().all(|part| part.is_empty() || is_domain(part)));
                        }
                        Err(error) => proptest::prop_assert!(error.to_string().len() < name.len() + 2000),
                    },
                    Err(error) => proptest::prop_assert!(error.to_string().len() < 500, "{}", error),
                }
            }
        }
    }
}
