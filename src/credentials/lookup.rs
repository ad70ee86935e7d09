//! The search: which value stands where, and what is said when it is nowhere.
//!
//! The order is the same for every value: the provider's argument, then the
//! variables of Terraform (`TF_VAR_<name>`), of Oracle's provider
//! (`OCI_<NAME>`) and of Oracle's CLI (`OCI_CLI_*`), then the profile of the
//! configuration file, then the profile `DEFAULT`.

use std::{
    fmt,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Environment, Error, Network, Resolved, Settings,
    api_key::ApiKey,
    config_file::{ConfigFile, DEFAULT, Problem},
    private_key,
};
use crate::{region::Directory, signing::SigningKey};

/// A value that is nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingValue {
    /// What it is, for example "user".
    pub what: &'static str,
    /// Where it was looked for, in order.
    pub looked_at: Vec<String>,
}

pub(super) async fn resolve(
    settings: &Settings,
    environment: &Environment,
    _network: &Network,
) -> Result<Resolved, Error> {
    let regions = Directory::default();
    let search = Search {
        settings,
        environment,
    };
    let api_key_asked_for = search.check_auth()?;

    // What is known without the file.
    let tenancy = search.outside(&TENANCY);
    let user = search.outside(&USER);
    let fingerprint = search.outside(&FINGERPRINT);
    let key = search.key_outside();
    let region = search.outside(&REGION);

    let location = search.locate()?;
    // `DEFAULT` needs no section to be there, and naming it changes nothing.
    let profile = search
        .outside(&PROFILE)
        .filter(|found| found.value != DEFAULT);
    // A file or a profile that somebody named has to be there; the default one
    // is read when something is missing, so that a broken one is no obstacle to
    // those who do not need it.
    let wanted = tenancy.is_none() || user.is_none() || key.is_none() || region.is_none();
    let named = profile.is_some() || matches!(location, Location::Named { .. });
    let file = if named || wanted {
        location.read()?
    } else {
        None
    };
    let profile_name = profile.as_ref().map_or(DEFAULT, |found| &found.value);
    if let Some(found) = &profile {
        let named_by = found.origin.to_string();
        let Some(file) = &file else {
            return Err(Error::NoConfigFile {
                profile: found.value.clone(),
                named_by,
                looked_at: location.to_string(),
            });
        };
        if !file.content.contains(&found.value) {
            return Err(Error::NoProfile {
                profile: found.value.clone(),
                named_by,
                path: file.path.clone(),
                profiles: file.content.names().map(str::to_owned).collect(),
            });
        }
    }
    let inside = file.as_ref().map(|file| Inside {
        file,
        profile: profile_name,
    });
    let inside_value = |name: &Name| inside.as_ref().and_then(|inside| inside.get(name.key));

    // Whoever gives user and key elsewhere has not asked for the profile's way
    // to sign in; its region is welcome all the same.
    if let Some(inside) = &inside
        && (user.is_none() || key.is_none())
    {
        inside.check_kind(api_key_asked_for)?;
    }

    let tenancy = tenancy.or_else(|| inside_value(&TENANCY));
    let user = user.or_else(|| inside_value(&USER));
    let fingerprint = fingerprint.or_else(|| inside_value(&FINGERPRINT));
    let key = key.or_else(|| inside_value(&KEY_PATH).map(Key::File));
    let region = region.or_else(|| inside_value(&REGION));

    let (Some(tenancy), Some(user), Some(key)) = (&tenancy, &user, &key) else {
        if let (None, Some(inside)) = (&key, &inside) {
            inside.check_no_key_content()?;
        }
        let profiles = if profile_name == DEFAULT {
            format!("profile {DEFAULT}")
        } else {
            format!("the profiles {profile_name} and {DEFAULT}")
        };
        let in_file = |key: &str| {
            let file = file.as_ref()?;
            Some(format!("`{key}` in {profiles} of {}", file.path))
        };
        let mut values = Vec::new();
        for (name, found) in [(&TENANCY, &tenancy), (&USER, &user)] {
            if found.is_none() {
                let mut looked_at = name.places();
                looked_at.extend(in_file(name.key));
                values.push(MissingValue {
                    what: name.what,
                    looked_at,
                });
            }
        }
        if key.is_none() {
            let mut looked_at: Vec<String> = KEY
                .places()
                .into_iter()
                .zip(KEY_PATH.places())
                .flat_map(|(content, path)| [content, path])
                .collect();
            looked_at.extend(in_file(KEY_PATH.key));
            values.push(MissingValue {
                what: KEY.what,
                looked_at,
            });
        }
        let note = match &file {
            Some(file) => {
                let names: Vec<String> = file.content.names().map(str::to_owned).collect();
                format!("In {}, {}", file.path, profiles_text(&names))
            }
            None => format!("There is no configuration file: {location}"),
        };
        return Err(Error::Missing { values, note });
    };

    let (signing_key, key_from) = search.read_key(key)?;
    if let Some(found) = &fingerprint
        && !found.value.eq_ignore_ascii_case(signing_key.fingerprint())
    {
        return Err(Error::FingerprintMismatch {
            configured: found.value.clone(),
            fingerprint_from: found.origin.to_string(),
            computed: signing_key.fingerprint().to_owned(),
            key_from,
        });
    }
    let origin = match &key.found().origin {
        Origin::Argument(name) => format!("argument {name}"),
        Origin::Variable(name) => name.clone(),
        Origin::Profile { .. } => format!("profile {profile_name}"),
    };
    Ok(Resolved {
        source: Arc::new(ApiKey::new(
            &tenancy.value,
            &user.value,
            signing_key,
            &origin,
        )),
        region: match region {
            Some(found) => Some(regions.find(&found.value)?),
            None => None,
        },
        regions,
    })
}

/// The text of [`Error::Missing`].
pub(super) fn missing_text(values: &[MissingValue], note: &str) -> String {
    let whats: Vec<String> = values
        .iter()
        .map(|value| format!("no {}", value.what))
        .collect();
    let mut text = format!(
        "nobody to sign in as: there is {}. Looked at, in this order:",
        listed(&whats, "and")
    );
    for value in values {
        text.push_str(&format!(
            "\n    {}: {}",
            value.what,
            value.looked_at.join(", ")
        ));
    }
    text.push_str(&format!(
        "\n{note}.\n\nA key and a configuration file are made by:\n    oci setup config"
    ));
    text
}

/// What named something, for a message; nothing when it is the default.
pub(super) fn named_text(named_by: &str) -> String {
    if named_by.is_empty() {
        String::new()
    } else {
        format!(", which {named_by} names")
    }
}

/// Which profiles there are, for a message.
pub(super) fn profiles_text(profiles: &[String]) -> String {
    match profiles {
        [] => "there is no profile at all".to_owned(),
        [only] => format!("the only profile is {only}"),
        several => format!("the profiles are {}", listed(several, "and")),
    }
}

fn listed(items: &[String], last: &str) -> String {
    match items {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., end] => format!("{} {last} {end}", first.join(", ")),
    }
}

/// The names under which a value goes.
struct Name {
    what: &'static str,
    argument: &'static str,
    /// The CLI's variable.
    cli: &'static str,
    /// In the configuration file; empty when it cannot stand there.
    key: &'static str,
    setting: fn(&Settings) -> &Option<String>,
}

const AUTH: Name = Name {
    what: "way to sign in",
    argument: "auth",
    cli: "OCI_CLI_AUTH",
    key: "",
    setting: |settings| &settings.auth,
};
const CONFIG_FILE: Name = Name {
    what: "configuration file",
    argument: "config_file",
    cli: "OCI_CLI_CONFIG_FILE",
    key: "",
    setting: |settings| &settings.config_file,
};
const FINGERPRINT: Name = Name {
    what: "fingerprint",
    argument: "fingerprint",
    cli: "OCI_CLI_FINGERPRINT",
    key: "fingerprint",
    setting: |settings| &settings.fingerprint,
};
const KEY: Name = Name {
    what: "private key",
    argument: "private_key",
    cli: "OCI_CLI_KEY_CONTENT",
    key: "",
    setting: |settings| &settings.private_key,
};
const KEY_PATH: Name = Name {
    what: "private key",
    argument: "private_key_path",
    cli: "OCI_CLI_KEY_FILE",
    key: "key_file",
    setting: |settings| &settings.private_key_path,
};
const PROFILE: Name = Name {
    what: "profile",
    argument: "config_file_profile",
    cli: "OCI_CLI_PROFILE",
    key: "",
    setting: |settings| &settings.config_file_profile,
};
const REGION: Name = Name {
    what: "region",
    argument: "region",
    cli: "OCI_CLI_REGION",
    key: "region",
    setting: |settings| &settings.region,
};
const TENANCY: Name = Name {
    what: "tenancy",
    argument: "tenancy_ocid",
    cli: "OCI_CLI_TENANCY",
    key: "tenancy",
    setting: |settings| &settings.tenancy_ocid,
};
const USER: Name = Name {
    what: "user",
    argument: "user_ocid",
    cli: "OCI_CLI_USER",
    key: "user",
    setting: |settings| &settings.user_ocid,
};

impl Name {
    fn variables(&self) -> [String; 3] {
        [
            format!("TF_VAR_{}", self.argument),
            format!("OCI_{}", self.argument.to_ascii_uppercase()),
            self.cli.to_owned(),
        ]
    }

    fn places(&self) -> Vec<String> {
        let mut places = vec![format!("the argument {}", self.argument)];
        places.extend(self.variables());
        places
    }
}

/// Where a value stands.
#[derive(Clone)]
enum Origin {
    Argument(&'static str),
    Variable(String),
    Profile {
        key: &'static str,
        profile: String,
        path: String,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Argument(name) => write!(f, "the argument {name}"),
            Origin::Variable(name) => write!(f, "the environment variable {name}"),
            Origin::Profile { key, profile, path } => {
                write!(f, "`{key}` in profile {profile} of {path}")
            }
        }
    }
}

/// A value and where it stands.
struct Found {
    value: String,
    origin: Origin,
}

/// The private key, itself or by path.
enum Key {
    Content(Found),
    File(Found),
}

impl Key {
    fn found(&self) -> &Found {
        match self {
            Key::Content(found) | Key::File(found) => found,
        }
    }
}

struct Search<'a> {
    settings: &'a Settings,
    environment: &'a Environment,
}

impl Search<'_> {
    /// A value outside of the configuration file.
    fn outside(&self, name: &Name) -> Option<Found> {
        self.levels(name).into_iter().flatten().next()
    }

    /// The key outside of the file. On each level the key itself goes before a
    /// path, but no key goes before the path of a higher level.
    fn key_outside(&self) -> Option<Key> {
        let contents = self.levels(&KEY).into_iter();
        contents
            .zip(self.levels(&KEY_PATH))
            .find_map(|(content, path)| content.map(Key::Content).or_else(|| path.map(Key::File)))
    }

    /// What argument and variables say, in order.
    fn levels(&self, name: &Name) -> [Option<Found>; 4] {
        let found = |value: Option<&str>, origin: Origin| {
            let value = value?.trim();
            (!value.is_empty()).then(|| Found {
                value: value.to_owned(),
                origin,
            })
        };
        let variable = |variable: String| {
            found(
                self.environment.get(&variable),
                Origin::Variable(variable.clone()),
            )
        };
        let [terraform, provider, cli] = name.variables();
        [
            found(
                (name.setting)(self.settings).as_deref(),
                Origin::Argument(name.argument),
            ),
            variable(terraform),
            variable(provider),
            variable(cli),
        ]
    }

    /// Whether an API key is asked for by name; anything else is refused.
    fn check_auth(&self) -> Result<bool, Error> {
        let Some(auth) = self.outside(&AUTH) else {
            return Ok(false);
        };
        // Oracle's provider says ApiKey, its CLI api_key.
        if auth.value.replace('_', "").eq_ignore_ascii_case("apikey") {
            return Ok(true);
        }
        Err(Error::UnsupportedAuth {
            value: auth.value,
            named_by: auth.origin.to_string(),
        })
    }

    fn locate(&self) -> Result<Location, Error> {
        if let Some(found) = self.outside(&CONFIG_FILE) {
            return Ok(Location::Named {
                path: self.expand(&found)?,
                named_by: found.origin.to_string(),
            });
        }
        let Some(home) = &self.environment.home else {
            return Ok(Location::Nowhere(Vec::new()));
        };
        let candidates = DEFAULT_FILES.map(|file| home.join(file));
        Ok(match candidates.iter().find(|path| path.exists()) {
            Some(path) => Location::Default(path.clone()),
            None => Location::Nowhere(candidates.into()),
        })
    }

    /// The key, and where it is for messages.
    fn read_key(&self, key: &Key) -> Result<(SigningKey, String), Error> {
        let (text, key_from) = match key {
            Key::Content(found) => (found.value.clone(), found.origin.to_string()),
            Key::File(found) => {
                let path = self.expand(found)?;
                let text = read_file(&path).map_err(|source| {
                    let named_by = found.origin.to_string();
                    // No path is that long, and a key must not be shown.
                    if found.value.contains("-----BEGIN") || found.value.len() > 500 {
                        return Error::KeyAsPath { named_by };
                    }
                    Error::KeyFile {
                        path: path.display().to_string(),
                        named_by,
                        source,
                    }
                })?;
                // A key in DER form is no text, and then no PEM either.
                let text = String::from_utf8_lossy(&text).into_owned();
                (text, path.display().to_string())
            }
        };
        match private_key::read(&text, None) {
            Ok(key) => Ok((key, key_from)),
            Err(problem) => Err(Error::PrivateKey { key_from, problem }),
        }
    }

    /// A path, with `~` for the home directory.
    fn expand(&self, found: &Found) -> Result<PathBuf, Error> {
        let rest = match found.value.strip_prefix('~') {
            Some("") => "",
            Some(rest) if rest.starts_with('/') => rest.trim_start_matches('/'),
            // `~somebody` is a name like any other.
            _ => return Ok(PathBuf::from(&found.value)),
        };
        match &self.environment.home {
            Some(home) if rest.is_empty() => Ok(home.clone()),
            Some(home) => Ok(home.join(rest)),
            None => Err(Error::NoHome {
                path: found.value.clone(),
                named_by: found.origin.to_string(),
            }),
        }
    }
}

/// Where the configuration file is.
enum Location {
    Named { path: PathBuf, named_by: String },
    Default(PathBuf),
    Nowhere(Vec<PathBuf>),
}

impl Location {
    fn read(&self) -> Result<Option<Content>, Error> {
        let (path, named_by) = match self {
            Location::Named { path, named_by } => (path, named_by.clone()),
            Location::Default(path) => (path, String::new()),
            Location::Nowhere(_) => return Ok(None),
        };
        let text = read_file(path)
            .and_then(|bytes| {
                String::from_utf8(bytes).map_err(|_| {
                    std::io::Error::new(std::io::ErrorKind::InvalidData, "it is not UTF-8 text")
                })
            })
            .map_err(|source| Error::ConfigFile {
                path: path.display().to_string(),
                named_by,
                source,
            })?;
        let path = path.display().to_string();
        match ConfigFile::parse(&text) {
            Ok(content) => Ok(Some(Content { path, content })),
            Err(Problem { line, problem }) => Err(Error::ConfigFileSyntax {
                path,
                line,
                problem,
            }),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Location::Named { path, .. } | Location::Default(path) => path.display().fmt(f),
            Location::Nowhere(candidates) if candidates.is_empty() => {
                f.write_str("there is no home directory to look for it in")
            }
            Location::Nowhere(candidates) => {
                let candidates: Vec<String> = candidates
                    .iter()
                    .map(|path| path.display().to_string())
                    .collect();
                write!(f, "neither {}", candidates.join(" nor "))
            }
        }
    }
}

/// A configuration file that was read.
struct Content {
    path: String,
    content: ConfigFile,
}

/// A profile of it.
struct Inside<'a> {
    file: &'a Content,
    profile: &'a str,
}

impl Inside<'_> {
    fn get(&self, key: &'static str) -> Option<Found> {
        let (value, profile) = self.file.content.get(self.profile, key)?;
        Some(Found {
            value: value.to_owned(),
            origin: Origin::Profile {
                key,
                profile: profile.to_owned(),
                path: self.file.path.clone(),
            },
        })
    }

    /// A profile for a session or an instance is refused, and not taken for an
    /// API key with something missing. One that has an API key as well is
    /// accepted when `auth` says what is meant.
    fn check_kind(&self, api_key_asked_for: bool) -> Result<(), Error> {
        let kinds = [
            ("security_token_file", "with a session token"),
            ("authentication_type", "as an instance"),
            ("delegation_token_file", "with a delegation token"),
        ];
        for (key, how) in kinds {
            let Some((value, from)) = self.file.content.get(self.profile, key) else {
                continue;
            };
            // A session that logged in as `DEFAULT` is not meant for a profile
            // with a user of its own.
            let user = self.file.content.get(self.profile, "user");
            if from != self.profile && user.is_some_and(|(_, of)| of == self.profile) {
                continue;
            }
            if key == "authentication_type" && value.replace('_', "").eq_ignore_ascii_case("apikey")
            {
                continue;
            }
            if api_key_asked_for && user.is_some() {
                continue;
            }
            return Err(Error::UnsupportedProfile {
                profile: self.profile.to_owned(),
                path: self.file.path.clone(),
                how,
                key,
            });
        }
        Ok(())
    }

    fn check_no_key_content(&self) -> Result<(), Error> {
        match self.get("key_content") {
            None => Ok(()),
            Some(_) => Err(Error::KeyContent {
                profile: self.profile.to_owned(),
                path: self.file.path.clone(),
            }),
        }
    }
}

/// Reads a small file; one without an end, such as a device, is not read to it.
fn read_file(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(path)?.take(MAX_FILE).read_to_end(&mut content)?;
    Ok(content)
}

const MAX_FILE: u64 = 1 << 20;

/// Under the home directory, the newer one first.
const DEFAULT_FILES: [&str; 2] = [".oci/config", ".oraclebmc/config"];
