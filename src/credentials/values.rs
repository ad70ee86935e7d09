//! The values that choose a credential: under which names each of them goes, and
//! where it was found.
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
};

use super::{
    Environment, Error, Settings,
    config_file::{ConfigFile, Problem},
    jwt::Claims,
    private_key::{self, KeyProblem},
};
use crate::signing::SigningKey;

/// The names under which a value goes.
pub(super) struct Name {
    /// What it is, for a message.
    pub(super) what: &'static str,
    argument: Option<Argument>,
    /// The CLI's variable.
    cli: Option<&'static str>,
    /// In the configuration file.
    keys: &'static [&'static str],
}

struct Argument {
    name: &'static str,
    setting: fn(&Settings) -> &Option<String>,
}

pub(super) const AUTH: Name = Name {
    what: "way to sign in",
    argument: Some(Argument {
        name: "auth",
        setting: |settings| &settings.auth,
    }),
    cli: Some("OCI_CLI_AUTH"),
    keys: &[],
};
pub(super) const CONFIG_FILE: Name = Name {
    what: "configuration file",
    argument: Some(Argument {
        name: "config_file",
        setting: |settings| &settings.config_file,
    }),
    cli: Some("OCI_CLI_CONFIG_FILE"),
    keys: &[],
};
pub(super) const FINGERPRINT: Name = Name {
    what: "fingerprint",
    argument: Some(Argument {
        name: "fingerprint",
        setting: |settings| &settings.fingerprint,
    }),
    cli: Some("OCI_CLI_FINGERPRINT"),
    keys: &["fingerprint"],
};
pub(super) const KEY: Name = Name {
    what: "private key",
    argument: Some(Argument {
        name: "private_key",
        setting: |settings| &settings.private_key,
    }),
    cli: Some("OCI_CLI_KEY_CONTENT"),
    keys: &[],
};
pub(super) const KEY_PATH: Name = Name {
    what: "private key",
    argument: Some(Argument {
        name: "private_key_path",
        setting: |settings| &settings.private_key_path,
    }),
    cli: Some("OCI_CLI_KEY_FILE"),
    keys: &["key_file"],
};
pub(super) const PASSPHRASE: Name = Name {
    what: "passphrase",
    argument: Some(Argument {
        name: "private_key_password",
        setting: |settings| &settings.private_key_password,
    }),
    cli: Some("OCI_CLI_PASSPHRASE"),
    keys: &["pass_phrase", "passphrase"],
};
pub(super) const PROFILE: Name = Name {
    what: "profile",
    argument: Some(Argument {
        name: "config_file_profile",
        setting: |settings| &settings.config_file_profile,
    }),
    cli: Some("OCI_CLI_PROFILE"),
    keys: &[],
};
pub(super) const REGION: Name = Name {
    what: "region",
    argument: Some(Argument {
        name: "region",
        setting: |settings| &settings.region,
    }),
    cli: Some("OCI_CLI_REGION"),
    keys: &["region"],
};
pub(super) const SECURITY_TOKEN_FILE: Name = Name {
    what: "session token",
    argument: None,
    cli: Some("OCI_CLI_SECURITY_TOKEN_FILE"),
    keys: &["security_token_file"],
};
pub(super) const TENANCY: Name = Name {
    what: "tenancy",
    argument: Some(Argument {
        name: "tenancy_ocid",
        setting: |settings| &settings.tenancy_ocid,
    }),
    cli: Some("OCI_CLI_TENANCY"),
    keys: &["tenancy"],
};
pub(super) const USER: Name = Name {
    what: "user",
    argument: Some(Argument {
        name: "user_ocid",
        setting: |settings| &settings.user_ocid,
    }),
    cli: Some("OCI_CLI_USER"),
    keys: &["user"],
};

/// The arguments of a token exchange, as Oracle's provider names them.
pub(super) mod exchange {
    use super::{Argument, Name};

    pub(in super::super) const AUTH: Name = Name {
        what: "way to sign in to the identity domain",
        argument: Some(Argument {
            name: "token_exchange_auth",
            setting: |settings| &settings.token_exchange.auth,
        }),
        cli: None,
        keys: &[],
    };
    pub(in super::super) const CLIENT_ID: Name = Name {
        what: "client id",
        argument: Some(Argument {
            name: "token_exchange_client_id",
            setting: |settings| &settings.token_exchange.client_id,
        }),
        cli: None,
        keys: &[],
    };
    pub(in super::super) const CLIENT_SECRET: Name = Name {
        what: "client secret",
        argument: Some(Argument {
            name: "token_exchange_client_secret",
            setting: |settings| &settings.token_exchange.client_secret,
        }),
        cli: None,
        keys: &[],
    };
    pub(in super::super) const DOMAIN_URL: Name = Name {
        what: "identity domain",
        argument: Some(Argument {
            name: "token_exchange_domain_url",
            setting: |settings| &settings.token_exchange.domain_url,
        }),
        cli: None,
        keys: &[],
    };
    pub(in super::super) const REQUESTED_TOKEN_TYPE: Name = Name {
        what: "requested token type",
        argument: Some(Argument {
            name: "token_exchange_requested_token_type",
            setting: |settings| &settings.token_exchange.requested_token_type,
        }),
        cli: None,
        keys: &[],
    };
    pub(in super::super) const RESOURCE_TYPE: Name = Name {
        what: "resource type",
        argument: Some(Argument {
            name: "token_exchange_resource_type",
            setting: |settings| &settings.token_exchange.resource_type,
        }),
        cli: None,
        keys: &[],
    };
    pub(in super::super) const RPST_EXPIRATION: Name = Name {
        what: "expiration",
        argument: Some(Argument {
            name: "token_exchange_rpst_exp",
            setting: |settings| &settings.token_exchange.rpst_expiration,
        }),
        cli: None,
        keys: &[],
    };
    pub(in super::super) const SUBJECT_TOKEN_TYPE: Name = Name {
        what: "subject token type",
        argument: Some(Argument {
            name: "token_exchange_subject_token_type",
            setting: |settings| &settings.token_exchange.subject_token_type,
        }),
        cli: None,
        keys: &[],
    };
    pub(in super::super) const TOKEN_PATH: Name = Name {
        what: "token of the workload",
        argument: Some(Argument {
            name: "workload_identity_token_path",
            setting: |settings| &settings.token_exchange.workload_identity_token_path,
        }),
        cli: None,
        keys: &[],
    };
}

impl Name {
    /// The argument, for a message.
    pub(super) fn argument(&self) -> &'static str {
        self.argument.as_ref().map_or("", |argument| argument.name)
    }

    fn variables(&self) -> [Option<String>; 3] {
        let argument = self.argument.as_ref().map(|argument| argument.name);
        [
            argument.map(|name| format!("TF_VAR_{name}")),
            argument.map(|name| format!("OCI_{}", name.to_ascii_uppercase())),
            self.cli.map(str::to_owned),
        ]
    }

    /// Where the value may stand outside of the configuration file.
    pub(super) fn places(&self) -> Vec<String> {
        let argument = self.argument.as_ref();
        let argument = argument.map(|argument| format!("the argument {}", argument.name));
        argument
            .into_iter()
            .chain(self.variables().into_iter().flatten())
            .collect()
    }
}

/// Where a value stands.
#[derive(Clone)]
pub(super) enum Origin {
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
#[derive(Clone)]
pub(super) struct Found {
    pub(super) value: String,
    pub(super) origin: Origin,
}

/// The private key, itself or by path.
#[derive(Clone)]
pub(super) enum Key {
    Content(Found),
    File(Found),
}

impl Key {
    pub(super) fn found(&self) -> &Found {
        match self {
            Key::Content(found) | Key::File(found) => found,
        }
    }
}

/// Everything outside of the configuration file.
pub(super) struct Search<'a> {
    pub(super) settings: &'a Settings,
    pub(super) environment: &'a Environment,
}

impl Search<'_> {
    /// A value outside of the configuration file.
    pub(super) fn outside(&self, name: &Name) -> Option<Found> {
        self.levels(name).into_iter().flatten().next()
    }

    /// The key outside of the file. On each level the key itself goes before a
    /// path, but no key goes before the path of a higher level.
    pub(super) fn key_outside(&self) -> Option<Key> {
        let contents = self.levels(&KEY).into_iter();
        contents
            .zip(self.levels(&KEY_PATH))
            .find_map(|(content, path)| content.map(Key::Content).or_else(|| path.map(Key::File)))
    }

    /// A passphrase as it is written: blanks may belong to it, the line break
    /// that a file ends with does not.
    pub(super) fn passphrase_outside(&self) -> Option<Found> {
        let [argument, variables @ ..] = self.raw_levels(&PASSPHRASE);
        let found = |(value, origin): (&str, Origin)| {
            let value = value.trim_end_matches(['\r', '\n']);
            (!value.is_empty()).then(|| Found {
                value: value.to_owned(),
                origin,
            })
        };
        [argument]
            .into_iter()
            .chain(variables)
            .flatten()
            .find_map(found)
    }

    /// A setting of Oracle's provider that is no argument: `TF_VAR_x`, `OCI_x`
    /// and `x`, in lower case.
    pub(super) fn setting(&self, name: &str) -> Option<Found> {
        setting_variables(name)
            .into_iter()
            .find_map(|name| self.variable(name))
    }

    /// A variable by its whole name.
    pub(super) fn variable(&self, name: String) -> Option<Found> {
        let value = self.environment.get(&name)?.trim();
        (!value.is_empty()).then(|| Found {
            value: value.to_owned(),
            origin: Origin::Variable(name),
        })
    }

    /// What argument and variables say, in order.
    fn levels(&self, name: &Name) -> [Option<Found>; 4] {
        self.raw_levels(name).map(|level| {
            let (value, origin) = level?;
            let value = value.trim();
            (!value.is_empty()).then(|| Found {
                value: value.to_owned(),
                origin,
            })
        })
    }

    fn raw_levels(&self, name: &Name) -> [Option<(&str, Origin)>; 4] {
        let argument = name.argument.as_ref().and_then(|argument| {
            let value = (argument.setting)(self.settings).as_deref()?;
            Some((value, Origin::Argument(argument.name)))
        });
        let [terraform, provider, cli] = name.variables().map(|variable| {
            let variable = variable?;
            let value = self.environment.get(&variable)?;
            Some((value, Origin::Variable(variable)))
        });
        [argument, terraform, provider, cli]
    }

    pub(super) fn locate(&self) -> Result<Location, Error> {
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

    /// The key, and where it is for messages. The passphrase may be a needless one.
    pub(super) fn read_key(
        &self,
        key: &Key,
        passphrase: Option<&Found>,
        passphrase_places: &[String],
    ) -> Result<(SigningKey, String), Error> {
        let (text, key_from) = match key {
            Key::Content(found) => (found.value.clone(), found.origin.to_string()),
            Key::File(found) => {
                let path = self.expand(found)?;
                let text = read_file(&path).map_err(|source| {
                    let named_by = found.origin.to_string();
                    if looks_like_a_key(&found.value) {
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
        match private_key::read(&text, passphrase.map(|found| &*found.value)) {
            Ok(key) => Ok((key, key_from)),
            Err(problem) => Err(key_error(
                problem,
                key_from,
                passphrase.map(|found| found.origin.to_string()),
                &listed(passphrase_places, "or"),
            )),
        }
    }

    /// The path of a file with a token.
    pub(super) fn token_path(&self, found: &Found) -> Result<PathBuf, Error> {
        if looks_like_a_token(&found.value) {
            return Err(Error::TokenAsPath {
                named_by: found.origin.to_string(),
            });
        }
        self.expand(found)
    }

    /// A path, with `~` for the home directory.
    pub(super) fn expand(&self, found: &Found) -> Result<PathBuf, Error> {
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
pub(super) enum Location {
    Named { path: PathBuf, named_by: String },
    Default(PathBuf),
    Nowhere(Vec<PathBuf>),
}

impl Location {
    pub(super) fn read(&self) -> Result<Option<Content>, Error> {
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
pub(super) struct Content {
    pub(super) path: String,
    pub(super) content: ConfigFile,
}

/// A profile of it.
#[derive(Clone, Copy)]
pub(super) struct Inside<'a> {
    pub(super) file: &'a Content,
    pub(super) profile: &'a str,
}

impl Inside<'_> {
    /// A value, by any of its names, from the profile or else from `DEFAULT`.
    pub(super) fn get(&self, name: &Name) -> Option<Found> {
        name.keys.iter().find_map(|key| self.key(key))
    }

    pub(super) fn key(&self, key: &'static str) -> Option<Found> {
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

    /// A value of a way to sign in that has no user, such as a session's. One
    /// that is inherited from `DEFAULT` is not meant for a profile with a user
    /// of its own.
    pub(super) fn key_without_user(&self, key: &'static str) -> Option<Found> {
        let (_, from) = self.file.content.get(self.profile, key)?;
        let user = self.file.content.get(self.profile, "user");
        if from != self.profile && user.is_some_and(|(_, of)| of == self.profile) {
            return None;
        }
        self.key(key)
    }

    /// Whether the profile itself says something, not `DEFAULT` for it.
    pub(super) fn own(&self, key: &str) -> bool {
        let found = self.file.content.get(self.profile, key);
        found.is_some_and(|(_, from)| from == self.profile)
    }

    /// For a message: "`user` in profile DEFAULT of PATH".
    pub(super) fn place(&self, name: &Name) -> Option<String> {
        let key = name.keys.first()?;
        Some(format!("`{key}` in {}", self.name()))
    }

    /// For a message: "profile DEFAULT of PATH".
    pub(super) fn name(&self) -> String {
        let profiles = if self.profile == super::config_file::DEFAULT {
            format!("profile {}", self.profile)
        } else {
            format!(
                "the profiles {} and {}",
                self.profile,
                super::config_file::DEFAULT
            )
        };
        format!("{profiles} of {}", self.file.path)
    }

    pub(super) fn check_no_key_content(&self) -> Result<(), Error> {
        match self.key("key_content") {
            None => Ok(()),
            Some(_) => Err(Error::KeyContent {
                profile: self.profile.to_owned(),
                path: self.file.path.clone(),
            }),
        }
    }
}

/// The names of [`Search::setting`].
pub(super) fn setting_variables(name: &str) -> [String; 3] {
    [
        format!("TF_VAR_{name}"),
        format!("OCI_{name}"),
        name.to_owned(),
    ]
}

/// No path is that long, and a key must not be shown.
pub(super) fn looks_like_a_key(path: &str) -> bool {
    path.contains("-----BEGIN") || path.len() > 500
}

/// The same for a token.
fn looks_like_a_token(path: &str) -> bool {
    path.len() > 500 || Claims::of(path).is_some()
}

/// What is wrong with a key, with the places that a passphrase has.
pub(super) fn key_error(
    problem: KeyProblem,
    key_from: String,
    passphrase_from: Option<String>,
    passphrase_places: &str,
) -> Error {
    match (problem, passphrase_from) {
        (KeyProblem::Encrypted, _) => Error::NoPassphrase {
            key_from,
            places: passphrase_places.to_owned(),
        },
        (KeyProblem::WrongPassphrase, Some(passphrase_from)) => Error::WrongPassphrase {
            key_from,
            passphrase_from,
        },
        (problem, _) => Error::PrivateKey { key_from, problem },
    }
}

/// "a, b and c".
pub(super) fn listed(items: &[String], last: &str) -> String {
    match items {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., end] => format!("{} {last} {end}", first.join(", ")),
    }
}

/// Reads a small file. A pipe or a device, which may have nothing to say for ever,
/// is refused.
pub(super) fn read_file(path: &Path) -> std::io::Result<Vec<u8>> {
    let kind = std::fs::metadata(path)?.file_type();
    if !kind.is_file() && !kind.is_dir() {
        let problem = "it is a pipe or a device, and no file";
        return Err(std::io::Error::new(
            std::io::ErrorKind::InvalidInput,
            problem,
        ));
    }
    let mut content = Vec::new();
    File::open(path)?.take(MAX_FILE).read_to_end(&mut content)?;
    Ok(content)
}

const MAX_FILE: u64 = 1 << 20;

/// Under the home directory, the newer one first.
const DEFAULT_FILES: [&str; 2] = [".oci/config", ".oraclebmc/config"];
