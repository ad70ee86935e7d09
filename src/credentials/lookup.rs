//! The search: who signs in, and what is said when there is nobody.
//!
//! [`look`] decides by arguments, variables and files alone. What comes out is
//! a [`Way`], of which the last step makes a source; only when nothing says how
//! to sign in does that step ask the surroundings, a cluster and then an
//! instance, whether they know this program.

use std::{path::Path, sync::Arc};

use super::{
    CredentialSource, Environment, Error, Network, Resolved, Settings, TokenExchange,
    api_key::ApiKey,
    config_file::DEFAULT,
    instance::{self, DelegationToken},
    metadata::Metadata,
    resource_principal, session, token_exchange,
    token_pair::Place,
    values::{
        AUTH, Content, FINGERPRINT, Found, Inside, KEY, KEY_PATH, Key, Location, Name, Origin,
        PASSPHRASE, PROFILE, REGION, SECURITY_TOKEN_FILE, Search, TENANCY, USER, exchange, listed,
        looks_like_a_key, read_file, setting_variables,
    },
    workload,
};
use crate::region::{Directory, InvalidDescription, Region, Sources};

/// A value that is nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingValue {
    /// What it is, for example "user".
    pub what: &'static str,
    /// Where it was looked for, in order.
    pub looked_at: Vec<String>,
}

/// A way to sign in that was passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    /// For example "resource principal".
    pub way: &'static str,
    /// Why not this one.
    pub reason: String,
}

pub(super) async fn resolve(
    settings: &Settings,
    environment: &Environment,
    network: &Network,
) -> Result<Resolved, Error> {
    let search = Search {
        settings,
        environment,
    };
    let Looked { way, region } = look(&search, Path::new(DELEGATION_TOKEN))?;
    let regions = directory(environment)?;
    let mut region = match region {
        Some(found) => Some(regions.find(&found.value)?),
        None => None,
    };
    let way = match way {
        Ok(way) => way,
        Err(tried) => ask(tried, environment, network).await?,
    };
    tracing::debug!(way = way.name(), "chose how to sign in");
    let source: Arc<dyn CredentialSource> = match way {
        Way::ApiKey(parts) => Arc::new(parts.source(&search)?),
        Way::Session(parts) => session::source(parts)?,
        Way::ResourcePrincipal(parts) => resource_principal::source(parts)?,
        Way::Workload => workload::source(environment, network)?,
        Way::Instance(delegation) => {
            instance(environment, network, &regions, &mut region, delegation).await?
        }
        Way::TokenExchange {
            settings,
            signed_by_instance,
        } => {
            let signer = if signed_by_instance {
                Some(instance(environment, network, &regions, &mut region, None).await?)
            } else {
                None
            };
            token_exchange::source(&settings, signer, network)?
        }
    };
    Ok(Resolved {
        source,
        region,
        regions,
    })
}

/// The instance, whose region is asked for when nothing names one.
async fn instance(
    environment: &Environment,
    network: &Network,
    regions: &Directory,
    region: &mut Option<Region>,
    delegation: Option<DelegationToken>,
) -> Result<Arc<dyn CredentialSource>, Error> {
    let metadata = Metadata::new(environment, network)?;
    let here = match region.take() {
        Some(region) => region,
        None => metadata.region(regions).await?,
    };
    instance::source(&metadata, region.insert(here), delegation, network)
}

/// Asks the surroundings, each with a short time-out.
async fn ask(
    mut tried: Vec<Tried>,
    environment: &Environment,
    network: &Network,
) -> Result<Way, Error> {
    match workload::probe(environment).await {
        Ok(()) => return Ok(Way::Workload),
        Err(reason) => pass(&mut tried, "OKE workload identity", reason),
    }
    match Metadata::new(environment, network)?.probe().await {
        Ok(()) => return Ok(Way::Instance(None)),
        Err(reason) => pass(&mut tried, "instance principal", reason),
    }
    Err(Error::Nobody { tried })
}

fn pass(tried: &mut Vec<Tried>, way: &'static str, reason: String) {
    tracing::debug!(way, reason, "passed over a way to sign in");
    tried.push(Tried { way, reason });
}

/// The regions that are known here. Files are read from the home directory only.
fn directory(environment: &Environment) -> Result<Directory, Error> {
    let file = environment
        .home
        .as_ref()
        .map(|home| read_file(&home.join(REGIONS_CONFIG)));
    let text = match file {
        Some(Ok(bytes)) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        Some(Err(error)) if !is_absent(&error) => {
            return Err(InvalidDescription {
                origin: "~/.oci/regions-config.json",
                problem: error.to_string(),
            }
            .into());
        }
        _ => None,
    };
    Ok(Directory::new(&Sources {
        regions_config: text.as_deref(),
        region_metadata: environment.get("OCI_REGION_METADATA"),
        default_realm: environment.get("OCI_DEFAULT_REALM"),
    })?)
}

/// No file, or no directory for it to be in.
fn is_absent(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
    )
}

/// What the search found.
struct Looked {
    /// How to sign in, or what was passed over.
    way: Result<Way, Vec<Tried>>,
    region: Option<Found>,
}

/// A way to sign in, with all that it needs.
enum Way {
    ApiKey(ApiKeyParts),
    Session(session::Parts),
    ResourcePrincipal(resource_principal::Parts),
    /// A pod of a cluster.
    Workload,
    /// An instance, or the user who delegated to it.
    Instance(Option<DelegationToken>),
    TokenExchange {
        settings: TokenExchange,
        signed_by_instance: bool,
    },
}

impl Way {
    fn name(&self) -> &'static str {
        match self {
            Way::ApiKey(_) => "API key",
            Way::Session(_) => "session token",
            Way::ResourcePrincipal(_) => "resource principal",
            Way::Workload => "OKE workload identity",
            Way::Instance(None) => "instance principal",
            Way::Instance(Some(_)) => "delegation token",
            Way::TokenExchange { .. } => "token exchange",
        }
    }
}

/// What an API key is made of.
struct ApiKeyParts {
    tenancy: Found,
    user: Found,
    fingerprint: Option<Found>,
    key: Key,
    passphrase: Option<Found>,
    passphrase_places: Vec<String>,
    profile: String,
}

impl ApiKeyParts {
    fn source(&self, search: &Search<'_>) -> Result<ApiKey, Error> {
        let (signing_key, key_from) =
            search.read_key(&self.key, self.passphrase.as_ref(), &self.passphrase_places)?;
        if let Some(found) = &self.fingerprint
            && !found.value.eq_ignore_ascii_case(signing_key.fingerprint())
        {
            return Err(Error::FingerprintMismatch {
                configured: found.value.clone(),
                fingerprint_from: found.origin.to_string(),
                computed: signing_key.fingerprint().to_owned(),
                key_from,
            });
        }
        let origin = match &self.key.found().origin {
            Origin::Argument(name) => format!("argument {name}"),
            Origin::Variable(name) => name.clone(),
            Origin::Profile { .. } => format!("profile {}", self.profile),
        };
        Ok(ApiKey::new(
            &self.tenancy.value,
            &self.user.value,
            signing_key,
            &origin,
        ))
    }
}

/// The ways to sign in that `auth` and `authentication_type` can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Auth {
    ApiKey,
    CloudShell,
    InstancePrincipal,
    ResourcePrincipal,
    SecurityToken,
    TokenExchange,
    Workload,
}

impl Auth {
    /// Oracle's provider says ApiKey, its CLI api_key.
    fn parse(found: &Found) -> Result<Self, Error> {
        match found.value.replace('_', "").to_ascii_lowercase().as_str() {
            "apikey" => Ok(Auth::ApiKey),
            "cloudshell" | "instanceobouser" => Ok(Auth::CloudShell),
            "instanceprincipal" => Ok(Auth::InstancePrincipal),
            "resourceprincipal" => Ok(Auth::ResourcePrincipal),
            "securitytoken" => Ok(Auth::SecurityToken),
            "workloadidentityfederation" => Ok(Auth::TokenExchange),
            "okeworkloadidentity" => Ok(Auth::Workload),
            _ => Err(Error::UnknownAuth {
                value: found.value.clone(),
                named_by: found.origin.to_string(),
            }),
        }
    }
}

/// Decides how to sign in, by arguments, variables and files.
/// `delegation_token` is where Cloud Shell has its token.
fn look(search: &Search<'_>, delegation_token: &Path) -> Result<Looked, Error> {
    let auth = match search.outside(&AUTH) {
        Some(found) => Some(Auth::parse(&found)?),
        None => None,
    };
    // What is known without the file.
    let outside = Outside {
        tenancy: search.outside(&TENANCY),
        user: search.outside(&USER),
        fingerprint: search.outside(&FINGERPRINT),
        key: search.key_outside(),
        passphrase: search.passphrase_outside(),
        region: search.outside(&REGION),
        token_file: search.outside(&SECURITY_TOKEN_FILE),
    };
    let location = search.locate()?;
    // `DEFAULT` needs no section to be there, and naming it changes nothing.
    let profile = search
        .outside(&PROFILE)
        .filter(|found| found.value != DEFAULT);
    // A file or a profile that somebody named has to be there; the default one
    // is read when something is missing, so that a broken one is no obstacle to
    // those who do not need it.
    let named = profile.is_some() || matches!(location, Location::Named { .. });
    let file = if named || outside.wants_file(auth, search, delegation_token) {
        location.read()?
    } else {
        None
    };
    let profile_name = profile.as_ref().map_or(DEFAULT, |found| &found.value);
    if let Some(found) = &profile {
        check_profile(found, file.as_ref(), &location)?;
    }
    let hunt = Hunt {
        search,
        outside,
        location: &location,
        inside: file.as_ref().map(|file| Inside {
            file,
            profile: profile_name,
        }),
        profile: profile_name,
        delegation_token,
    };
    let way = match auth {
        Some(auth) => Ok(hunt.named(auth)?),
        None => hunt.detect()?,
    };
    let region = hunt.region(way.as_ref().ok());
    Ok(Looked { way, region })
}

/// A profile that was asked for by name has to be there.
fn check_profile(found: &Found, file: Option<&Content>, location: &Location) -> Result<(), Error> {
    let named_by = found.origin.to_string();
    let Some(file) = file else {
        return Err(Error::NoConfigFile {
            profile: found.value.clone(),
            named_by,
            looked_at: location.to_string(),
        });
    };
    if file.content.contains(&found.value) {
        return Ok(());
    }
    Err(Error::NoProfile {
        profile: found.value.clone(),
        named_by,
        path: file.path.clone(),
        profiles: file.content.names().map(str::to_owned).collect(),
    })
}

/// What arguments and variables say.
struct Outside {
    tenancy: Option<Found>,
    user: Option<Found>,
    fingerprint: Option<Found>,
    key: Option<Key>,
    passphrase: Option<Found>,
    region: Option<Found>,
    token_file: Option<Found>,
}

impl Outside {
    /// Whether a file that nobody named is needed all the same.
    fn wants_file(&self, auth: Option<Auth>, search: &Search<'_>, delegation_token: &Path) -> bool {
        let api_key = self.tenancy.is_some() && self.user.is_some() && self.key.is_some();
        let session = self.token_file.is_some() && self.key.is_some();
        let complete = match auth {
            Some(Auth::ApiKey) => api_key,
            None => api_key || session || wants_token_exchange(search),
            Some(Auth::SecurityToken) => session,
            Some(Auth::TokenExchange) => true,
            Some(Auth::ResourcePrincipal | Auth::Workload) => {
                return self.region.is_none() && resource_region(search).is_none();
            }
            // An instance knows where it is.
            Some(Auth::InstancePrincipal) => return false,
            Some(Auth::CloudShell) => {
                return delegation_outside(search).is_none() && !delegation_token.exists();
            }
        };
        !complete || self.region.is_none()
    }
}

/// All that is known before anything is chosen.
struct Hunt<'a> {
    search: &'a Search<'a>,
    outside: Outside,
    location: &'a Location,
    inside: Option<Inside<'a>>,
    profile: &'a str,
    delegation_token: &'a Path,
}

impl Hunt<'_> {
    /// The way that `auth` names.
    fn named(&self, auth: Auth) -> Result<Way, Error> {
        match auth {
            Auth::ApiKey => self.api_key(),
            Auth::CloudShell => self.cloud_shell(),
            // Cloud Shell names this one to Terraform, and says with variables
            // that there is a user behind the instance.
            Auth::InstancePrincipal if self.uses_delegation() => self.cloud_shell(),
            Auth::InstancePrincipal => Ok(Way::Instance(None)),
            Auth::ResourcePrincipal => match resource_principal::look(self.search.environment)? {
                Ok(parts) => Ok(Way::ResourcePrincipal(parts)),
                Err(reason) => Err(Error::NoResourcePrincipal { reason }),
            },
            Auth::SecurityToken => self.session(),
            Auth::TokenExchange => self.token_exchange(),
            Auth::Workload => Ok(Way::Workload),
        }
    }

    /// Finds out. Explicit values first, then a profile, then what the machine
    /// offers.
    fn detect(&self) -> Result<Result<Way, Vec<Tried>>, Error> {
        let mut tried = Vec::new();
        // Whoever gives user and key elsewhere has not asked for the profile's
        // way to sign in; its region and tenancy are welcome all the same.
        if self.outside.user.is_some() && self.outside.key.is_some() {
            return Ok(Ok(self.api_key()?));
        }
        pass(&mut tried, "API key", self.no_api_key());
        if self.outside.token_file.is_some() {
            return Ok(Ok(self.session()?));
        }
        if wants_token_exchange(self.search) {
            return Ok(Ok(self.token_exchange()?));
        }
        let [path, url] = [&exchange::TOKEN_PATH, &exchange::DOMAIN_URL].map(Name::argument);
        pass(
            &mut tried,
            "token exchange",
            format!("neither {path} nor {url} is set"),
        );
        match self.of_profile()? {
            Some(auth) => return Ok(Ok(self.named(auth)?)),
            // Half of an API key is the mistake of somebody who means one.
            None if self.has_half_an_api_key() => return Ok(Ok(self.api_key()?)),
            None => pass(&mut tried, "profile", self.no_profile()),
        }
        if self.is_cloud_shell() {
            return Ok(Ok(self.cloud_shell()?));
        }
        pass(
            &mut tried,
            "Cloud Shell",
            format!(
                "neither OCI_CLI_CLOUD_SHELL nor OCI_obo_token_path is set, and there is no {}",
                self.delegation_token.display()
            ),
        );
        match resource_principal::look(self.search.environment)? {
            Ok(parts) => return Ok(Ok(Way::ResourcePrincipal(parts))),
            Err(reason) => pass(&mut tried, "resource principal", reason),
        }
        Ok(Err(tried))
    }

    /// The way that the profile is for.
    fn of_profile(&self) -> Result<Option<Auth>, Error> {
        let Some(inside) = &self.inside else {
            return Ok(None);
        };
        if inside.key_without_user("security_token_file").is_some() {
            return Ok(Some(Auth::SecurityToken));
        }
        let delegated = inside.key_without_user("delegation_token_file").is_some();
        if let Some(found) = inside.key_without_user("authentication_type") {
            return match Auth::parse(&found)? {
                Auth::InstancePrincipal if delegated => Ok(Some(Auth::CloudShell)),
                auth => Ok(Some(auth)),
            };
        }
        if delegated {
            return Ok(Some(Auth::CloudShell));
        }
        let is_api_key = ["user", "fingerprint", "key_file", "key_content"]
            .iter()
            .any(|key| inside.key(key).is_some());
        Ok(is_api_key.then_some(Auth::ApiKey))
    }

    fn has_half_an_api_key(&self) -> bool {
        let Outside {
            user,
            fingerprint,
            key,
            ..
        } = &self.outside;
        user.is_some() || fingerprint.is_some() || key.is_some()
    }

    fn api_key(&self) -> Result<Way, Error> {
        let Outside {
            tenancy,
            user,
            fingerprint,
            key,
            ..
        } = &self.outside;
        let tenancy = tenancy.clone().or_else(|| self.inside(&TENANCY));
        let user = user.clone().or_else(|| self.inside(&USER));
        let fingerprint = fingerprint.clone().or_else(|| self.inside(&FINGERPRINT));
        let key = key
            .clone()
            .or_else(|| self.inside(&KEY_PATH).map(Key::File));
        if let (None, Some(inside)) = (&key, &self.inside) {
            inside.check_no_key_content()?;
        }
        let mut values = Vec::new();
        if tenancy.is_none() {
            values.push(self.missing(&TENANCY));
        }
        if user.is_none() {
            values.push(self.missing(&USER));
        }
        if key.is_none() {
            values.push(self.missing_key());
        }
        let (Some(tenancy), Some(user), Some(key)) = (tenancy, user, key) else {
            return Err(self.incomplete(None, values));
        };
        Ok(Way::ApiKey(ApiKeyParts {
            tenancy,
            user,
            fingerprint,
            key,
            passphrase: self.passphrase(),
            passphrase_places: self.places(&PASSPHRASE),
            profile: self.profile.to_owned(),
        }))
    }

    fn session(&self) -> Result<Way, Error> {
        let token = self.outside.token_file.clone();
        let of_profile = token.is_none();
        let token = token.or_else(|| self.inside(&SECURITY_TOKEN_FILE));
        let inside = self.inside(&KEY_PATH).map(Key::File);
        let outside = self.outside.key.clone();
        // A token and its key belong together, so the key is looked for first
        // where the token is; another one may be meant for an API key.
        let key = if of_profile {
            inside.or(outside)
        } else {
            outside.or(inside)
        };
        let mut values = Vec::new();
        if token.is_none() {
            values.push(self.missing(&SECURITY_TOKEN_FILE));
        }
        if key.is_none() {
            values.push(self.missing_key());
        }
        let (Some(token), Some(key)) = (token, key) else {
            return Err(self.incomplete(Some("with a session token"), values));
        };
        let key = match key {
            Key::Content(found) => here(found),
            Key::File(found) if looks_like_a_key(&found.value) => {
                return Err(Error::KeyAsPath {
                    named_by: found.origin.to_string(),
                });
            }
            Key::File(found) => self.file(&found)?,
        };
        let passphrase_places = self.places(&PASSPHRASE);
        Ok(Way::Session(session::Parts {
            token: self.file(&token)?,
            key,
            passphrase: self.passphrase().map(here),
            passphrase_places: listed(&passphrase_places, "or"),
            profile: match &token.origin {
                Origin::Profile { profile, .. } => Some(profile.clone()),
                _ => None,
            },
            region: self.configured_region().map(|found| found.value),
            tenancy_id: self
                .outside
                .tenancy
                .clone()
                .or_else(|| self.inside(&TENANCY))
                .map(|found| found.value),
        }))
    }

    fn token_exchange(&self) -> Result<Way, Error> {
        let value = |name: &Name| self.search.outside(name);
        let auth = match value(&exchange::AUTH) {
            None => CLIENT_CREDENTIALS,
            Some(found) => {
                let known = [CLIENT_CREDENTIALS, INSTANCE_PRINCIPAL];
                let plain = found.value.replace('_', "");
                known
                    .into_iter()
                    .find(|known| known.eq_ignore_ascii_case(&plain))
                    .ok_or_else(|| Error::UnknownTokenExchangeAuth {
                        value: found.value.clone(),
                        named_by: found.origin.to_string(),
                    })?
            }
        };
        let requested = value(&exchange::REQUESTED_TOKEN_TYPE).map(|found| found.value);
        let mut needed = vec![&exchange::TOKEN_PATH, &exchange::DOMAIN_URL];
        if auth == CLIENT_CREDENTIALS {
            needed.extend([&exchange::CLIENT_ID, &exchange::CLIENT_SECRET]);
        }
        if requested
            .as_ref()
            .is_some_and(|kind| kind.ends_with("rpst"))
        {
            needed.push(&exchange::RESOURCE_TYPE);
        }
        let missing: Vec<_> = needed
            .into_iter()
            .filter(|name| value(name).is_none())
            .map(|name| self.missing(name))
            .collect();
        if !missing.is_empty() {
            return Err(Error::Missing {
                how: Some("with a token exchange"),
                values: missing,
                note: format!("token_exchange_auth is \"{auth}\""),
            });
        }
        let text = |name: &Name| value(name).map(|found| found.value);
        let token_path = match value(&exchange::TOKEN_PATH) {
            Some(found) => Some(self.search.expand(&found)?.display().to_string()),
            None => None,
        };
        Ok(Way::TokenExchange {
            settings: TokenExchange {
                workload_identity_token_path: token_path,
                domain_url: text(&exchange::DOMAIN_URL),
                auth: Some(auth.to_owned()),
                client_id: text(&exchange::CLIENT_ID),
                client_secret: text(&exchange::CLIENT_SECRET),
                requested_token_type: requested,
                subject_token_type: text(&exchange::SUBJECT_TOKEN_TYPE),
                resource_type: text(&exchange::RESOURCE_TYPE),
                rpst_expiration: text(&exchange::RPST_EXPIRATION),
            },
            signed_by_instance: auth == INSTANCE_PRINCIPAL,
        })
    }

    /// The user behind this machine.
    fn cloud_shell(&self) -> Result<Way, Error> {
        let file = |found: &Found| -> Result<Way, Error> {
            Ok(Way::Instance(Some(DelegationToken::File {
                path: self.search.expand(found)?,
                named_by: found.origin.to_string(),
            })))
        };
        match delegation_outside(self.search) {
            Some(Delegation::Text(found)) => {
                return Ok(Way::Instance(Some(DelegationToken::Text {
                    token: found.value,
                    named_by: found.origin.to_string(),
                })));
            }
            Some(Delegation::File(found)) => return file(&found),
            None => {}
        }
        let inside = self.inside.as_ref();
        if let Some(found) = inside.and_then(|inside| inside.key("delegation_token_file")) {
            return file(&found);
        }
        if self.delegation_token.exists() {
            return Ok(Way::Instance(Some(DelegationToken::File {
                path: self.delegation_token.to_owned(),
                named_by: "Cloud Shell".to_owned(),
            })));
        }
        let mut looked_at = vec!["OCI_CLI_DELEGATION_TOKEN_FILE".to_owned()];
        looked_at.extend(setting_variables("obo_token"));
        looked_at.extend(setting_variables("obo_token_path"));
        looked_at
            .extend(inside.map(|inside| format!("`delegation_token_file` in {}", inside.name())));
        looked_at.push(self.delegation_token.display().to_string());
        let value = MissingValue {
            what: "delegation token",
            looked_at,
        };
        Err(self.incomplete(Some("as the user of Cloud Shell"), vec![value]))
    }

    /// Whether variables say that there is a user behind the instance.
    fn uses_delegation(&self) -> bool {
        let found = self.search.setting("use_obo_token");
        found.is_some_and(|found| is_true(&found.value))
    }

    fn is_cloud_shell(&self) -> bool {
        match self.search.setting("use_obo_token") {
            Some(found) => is_true(&found.value),
            None => {
                let environment = self.search.environment;
                environment.get("OCI_CLI_CLOUD_SHELL").is_some_and(is_true)
                    || delegation_outside(self.search).is_some()
                    || self.delegation_token.exists()
            }
        }
    }

    /// The region: as configured, and else where the variables of a resource say.
    fn region(&self, way: Option<&Way>) -> Option<Found> {
        self.configured_region().or_else(|| match way {
            // Nothing is chosen yet, and it may be a pod of a cluster.
            Some(Way::ResourcePrincipal(_) | Way::Workload) | None => resource_region(self.search),
            _ => None,
        })
    }

    fn configured_region(&self) -> Option<Found> {
        let outside = self.outside.region.clone();
        outside.or_else(|| self.inside(&REGION))
    }

    fn passphrase(&self) -> Option<Found> {
        let outside = self.outside.passphrase.clone();
        outside.or_else(|| self.inside(&PASSPHRASE))
    }

    fn inside(&self, name: &Name) -> Option<Found> {
        self.inside.as_ref()?.get(name)
    }

    fn file(&self, found: &Found) -> Result<Place, Error> {
        Ok(Place::File {
            path: self.search.expand(found)?,
            named_by: found.origin.to_string(),
        })
    }

    /// Where a value may stand.
    fn places(&self, name: &Name) -> Vec<String> {
        let mut places = name.places();
        places.extend(self.inside.as_ref().and_then(|inside| inside.place(name)));
        places
    }

    fn missing(&self, name: &Name) -> MissingValue {
        MissingValue {
            what: name.what,
            looked_at: self.places(name),
        }
    }

    fn missing_key(&self) -> MissingValue {
        let mut looked_at: Vec<String> = KEY
            .places()
            .into_iter()
            .zip(KEY_PATH.places())
            .flat_map(|(content, path)| [content, path])
            .collect();
        let inside = self.inside.as_ref();
        looked_at.extend(inside.and_then(|inside| inside.place(&KEY_PATH)));
        MissingValue {
            what: KEY.what,
            looked_at,
        }
    }

    /// The error about values that are nowhere.
    fn incomplete(&self, how: Option<&'static str>, values: Vec<MissingValue>) -> Error {
        let mut note = match &self.inside {
            Some(Inside { file, .. }) => {
                let names: Vec<String> = file.content.names().map(str::to_owned).collect();
                format!("In {}, {}", file.path, profiles_text(&names))
            }
            None => self.no_file(),
        };
        let session = self
            .inside
            .and_then(|inside| inside.key("security_token_file"));
        if let (None, Some(found)) = (how, session) {
            note.push_str(&format!(
                ". There is a session, {}, which auth = \"SecurityToken\" uses",
                found.origin
            ));
        }
        Error::Missing { how, values, note }
    }

    /// Why there is no file to look at.
    fn no_file(&self) -> String {
        match self.location {
            Location::Nowhere(_) => format!("There is no configuration file: {}", self.location),
            // Nobody named it, and it has nothing that this way needs.
            _ => format!("The configuration file {} was not looked at", self.location),
        }
    }

    fn no_api_key(&self) -> String {
        let mut missing = Vec::new();
        if self.outside.user.is_none() {
            missing.push("user_ocid");
        }
        if self.outside.key.is_none() {
            missing.push("private_key");
        }
        match missing[..] {
            [one] => format!("{one} is neither an argument nor a variable"),
            _ => format!(
                "neither {} is an argument or a variable",
                missing.join(" nor ")
            ),
        }
    }

    fn no_profile(&self) -> String {
        match &self.inside {
            Some(inside) => format!(
                "{} has neither `user`, `key_file`, `security_token_file` nor `authentication_type`",
                inside.name()
            ),
            None => format!("there is no configuration file: {}", self.location),
        }
    }
}

/// Where a delegation token is.
enum Delegation {
    Text(Found),
    File(Found),
}

fn delegation_outside(search: &Search<'_>) -> Option<Delegation> {
    let file = search.variable("OCI_CLI_DELEGATION_TOKEN_FILE".to_owned());
    file.map(Delegation::File)
        .or_else(|| search.setting("obo_token").map(Delegation::Text))
        .or_else(|| search.setting("obo_token_path").map(Delegation::File))
}

fn wants_token_exchange(search: &Search<'_>) -> bool {
    [&exchange::TOKEN_PATH, &exchange::DOMAIN_URL]
        .into_iter()
        .any(|name| search.outside(name).is_some())
}

fn resource_region(search: &Search<'_>) -> Option<Found> {
    search.variable(resource_principal::REGION.to_owned())
}

fn here(found: Found) -> Place {
    Place::Here {
        text: found.value,
        named_by: found.origin.to_string(),
    }
}

fn is_true(text: &str) -> bool {
    ["1", "true", "yes"]
        .iter()
        .any(|yes| text.trim().eq_ignore_ascii_case(yes))
}

/// The text of [`Error::Missing`].
pub(super) fn missing_text(how: Option<&str>, values: &[MissingValue], note: &str) -> String {
    let whats: Vec<String> = values
        .iter()
        .map(|value| format!("no {}", value.what))
        .collect();
    let whats = listed(&whats, "and");
    let mut text = match how {
        None => format!("nobody to sign in as: there is {whats}"),
        Some(how) => format!("cannot sign in {how}: there is {whats}"),
    };
    text.push_str(". Looked at, in this order:");
    for value in values {
        text.push_str(&format!(
            "\n    {}: {}",
            value.what,
            value.looked_at.join(", ")
        ));
    }
    text.push_str(&format!("\n{note}"));
    match how {
        None => text.push_str(
            ". Another way to sign in is chosen with the argument auth.\n\n\
             A key and a configuration file are made by:\n    oci setup config",
        ),
        Some("with a session token") => text.push_str(
            ".\n\nA session and a profile for it are made by:\n    oci session authenticate",
        ),
        Some(_) => {}
    }
    text
}

/// The text of [`Error::Nobody`].
pub(super) fn nobody_text(tried: &[Tried]) -> String {
    let mut text = "nobody to sign in as. Tried, in this order:".to_owned();
    for Tried { way, reason } in tried {
        text.push_str(&format!("\n    {way}: {reason}"));
    }
    text.push_str(
        "\n\nA person runs `oci setup config`, which makes a key and a configuration file, or \
         `oci session authenticate`. A pipeline elsewhere sets OCI_CLI_TENANCY, OCI_CLI_USER and \
         OCI_CLI_KEY_CONTENT, or the arguments of a token exchange. A program in Oracle Cloud \
         needs nothing but a policy; the argument auth says which way is meant",
    );
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

/// Under the home directory.
const REGIONS_CONFIG: &str = ".oci/regions-config.json";

/// Where Cloud Shell has the token of its user.
const DELEGATION_TOKEN: &str = "/etc/oci/delegation_token";

/// How a token exchange is signed.
const CLIENT_CREDENTIALS: &str = "OAuthClientCredentials";
const INSTANCE_PRINCIPAL: &str = "InstancePrincipal";
