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
        Some(found) => {
            let region = regions.find(&found.value);
            Some(region.map_err(|unknown| Error::UnknownRegion {
                named_by: found.origin.to_string(),
                unknown,
            })?)
        }
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
            token_named_by,
            signed_by_instance,
        } => {
            let signer = if signed_by_instance {
                Some(instance(environment, network, &regions, &mut region, None).await?)
            } else {
                None
            };
            token_exchange::source(&settings, token_named_by, signer, network)?
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
    ApiKey(Box<ApiKeyParts>),
    Session(session::Parts),
    ResourcePrincipal(resource_principal::Parts),
    /// A pod of a cluster.
    Workload,
    /// An instance, or the user who delegated to it.
    Instance(Option<DelegationToken>),
    TokenExchange {
        settings: TokenExchange,
        /// Who says where the token of the workload is.
        token_named_by: String,
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
        let user = user.clone().or_else(|| self.user_inside());
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
        Ok(Way::ApiKey(Box::new(ApiKeyParts {
            tenancy,
            user,
            fingerprint,
            key,
            passphrase: self.passphrase(),
            passphrase_places: self.places(&PASSPHRASE),
            profile: self.profile.to_owned(),
        })))
    }

    /// The user of the profile. One that is inherited from `DEFAULT` does not have the key of a
    /// session that another profile holds: signing with it would end in a 401 that says nothing.
    fn user_inside(&self) -> Option<Found> {
        let inside = self.inside.as_ref()?;
        let signs_with_its_key = self.outside.key.is_none();
        let is_session = inside.own("security_token_file") && inside.own("key_file");
        if signs_with_its_key && is_session && !inside.own("user") {
            return None;
        }
        inside.get(&USER)
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
            return Err(self.incomplete(Some(WITH_SESSION), values));
        };
        let key = match key {
            Key::Content(found) => here(found),
            Key::File(found) if looks_like_a_key(&found.value) => {
                return Err(Error::KeyAsPath {
                    named_by: found.origin.to_string(),
                });
            }
            Key::File(found) => Place::File {
                path: self.search.expand(&found)?,
                named_by: found.origin.to_string(),
            },
        };
        let passphrase_places = self.places(&PASSPHRASE);
        let (origin, profile) = match &token.origin {
            Origin::Profile { profile, .. } => {
                (format!("profile {profile}"), Some(profile.clone()))
            }
            Origin::Variable(name) => (name.clone(), None),
            Origin::Argument(name) => (format!("argument {name}"), None),
        };
        Ok(Way::Session(session::Parts {
            token: Place::File {
                path: self.search.token_path(&token)?,
                named_by: token.origin.to_string(),
            },
            key,
            passphrase: self.passphrase().map(here),
            passphrase_places: listed(&passphrase_places, "or"),
            origin,
            profile,
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
        let token = value(&exchange::TOKEN_PATH);
        let token_path = match &token {
            Some(found) => Some(self.search.token_path(found)?.display().to_string()),
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
            token_named_by: token.map_or_else(String::new, |found| found.origin.to_string()),
            signed_by_instance: auth == INSTANCE_PRINCIPAL,
        })
    }

    /// The user behind this machine.
    fn cloud_shell(&self) -> Result<Way, Error> {
        let file = |found: &Found| -> Result<Way, Error> {
            Ok(Way::Instance(Some(DelegationToken::File {
                path: self.search.token_path(found)?,
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
                let mut text = format!("In {}, {}", file.path, profiles_text(&names));
                let wants_session = values
                    .iter()
                    .any(|value| value.what == SECURITY_TOKEN_FILE.what);
                if wants_session {
                    let holds = |name: &&String| {
                        let found = file.content.get(name, "security_token_file");
                        found.is_some_and(|(_, of)| of == name.as_str())
                    };
                    let sessions: Vec<String> = names.iter().filter(holds).cloned().collect();
                    if !sessions.is_empty() {
                        text.push_str(&format!(
                            "; a session is in {}, which config_file_profile chooses",
                            listed(&sessions, "and in")
                        ));
                    }
                }
                text
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
            if values.iter().any(|value| value.what == USER.what)
                && let Some(user) = self.inside(&USER)
            {
                note.push_str(&format!("; {} has no part in it", user.origin));
            }
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

/// How somebody with a session is signed in.
const WITH_SESSION: &str = "with a session token";

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
        Some(WITH_SESSION) => text.push_str(
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
        "\n\nHow they are set up:\n    \
         a person: `oci setup config` makes a key and a profile, `oci session authenticate` a session\n    \
         a pipeline elsewhere: OCI_TENANCY_OCID, OCI_USER_OCID and OCI_PRIVATE_KEY, or a token exchange\n    \
         an instance, a function, a pipeline or a pod in Oracle Cloud: a policy that allows it\n\
         The argument auth says which one is meant",
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

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    use expect_test::{Expect, expect};

    use super::*;

    /// A home directory, and what is set around it.
    struct Setup {
        home: tempfile::TempDir,
        settings: Settings,
        environment: Environment,
    }

    impl Setup {
        fn new(variables: &[(&str, &str)]) -> anyhow::Result<Self> {
            let home = tempfile::tempdir()?;
            fs::create_dir(home.path().join(".oci"))?;
            let mut environment = Environment {
                home: Some(home.path().to_owned()),
                ..Environment::default()
            };
            for (name, value) in variables {
                environment
                    .variables
                    .insert((*name).to_owned(), (*value).to_owned());
            }
            Ok(Self {
                home,
                settings: Settings::default(),
                environment,
            })
        }

        fn file(variables: &[(&str, &str)], config: &str) -> anyhow::Result<Self> {
            let setup = Self::new(variables)?;
            fs::write(setup.home.path().join(".oci/config"), config)?;
            Ok(setup)
        }

        fn auth(mut self, auth: &str) -> Self {
            self.settings.auth = Some(auth.to_owned());
            self
        }

        /// Where Cloud Shell would have its token.
        fn token(&self) -> PathBuf {
            self.home.path().join("delegation_token")
        }

        /// What was chosen, or passed over, and the region; or why not.
        fn line(&self) -> String {
            let search = Search {
                settings: &self.settings,
                environment: &self.environment,
            };
            let text = match look(&search, &self.token()) {
                Err(error) => format!("{:#}", anyhow::Error::new(error)),
                Ok(Looked { way, region }) => {
                    let region = region.map_or("unknown".to_owned(), |found| found.value);
                    match way {
                        Ok(way) => format!("{}, region {region}", shown(&way)),
                        Err(tried) => {
                            let tried: Vec<&str> = tried.iter().map(|tried| tried.way).collect();
                            format!("nothing: passed over {}; region {region}", tried.join(", "))
                        }
                    }
                }
            };
            text.replace(&*self.home.path().to_string_lossy(), "HOME")
        }

        #[track_caller]
        fn check(&self, expected: Expect) {
            expected.assert_eq(&self.line());
        }
    }

    fn shown(way: &Way) -> String {
        let place = |place: &Place| match place {
            Place::Here { named_by, .. } => format!("text in {named_by}"),
            Place::File { path, .. } => path.display().to_string(),
        };
        let what = match way {
            Way::ApiKey(parts) => {
                let key = parts.key.found();
                format!(
                    "{} of {} with {} in {}",
                    parts.user.value, parts.tenancy.value, key.value, key.origin
                )
            }
            Way::Session(parts) => format!(
                "{} with {}, {}",
                place(&parts.token),
                place(&parts.key),
                parts.origin
            ),
            Way::ResourcePrincipal(parts) => {
                format!("{} with {}", place(&parts.token), place(&parts.key))
            }
            Way::Workload | Way::Instance(None) => String::new(),
            Way::Instance(Some(DelegationToken::Text { token, named_by })) => {
                format!("{token} in {named_by}")
            }
            Way::Instance(Some(DelegationToken::File { path, named_by })) => {
                format!("{} named by {named_by}", path.display())
            }
            Way::TokenExchange {
                settings,
                signed_by_instance,
                ..
            } => format!("signed by instance {signed_by_instance}, {settings:?}"),
        };
        format!("{} {what}", way.name()).trim_end().to_owned()
    }

    const API_KEY: [(&str, &str); 4] = [
        ("OCI_CLI_TENANCY", "TENANCY"),
        ("OCI_CLI_USER", "USER"),
        ("OCI_CLI_KEY_FILE", "/key.pem"),
        ("OCI_CLI_REGION", "gru"),
    ];
    const EXCHANGE: [(&str, &str); 4] = [
        ("OCI_WORKLOAD_IDENTITY_TOKEN_PATH", "~/token"),
        ("OCI_TOKEN_EXCHANGE_DOMAIN_URL", "https://idcs.example.com"),
        ("OCI_TOKEN_EXCHANGE_CLIENT_ID", "CLIENT"),
        ("OCI_TOKEN_EXCHANGE_CLIENT_SECRET", "SECRET"),
    ];
    const RESOURCE: [(&str, &str); 4] = [
        ("OCI_RESOURCE_PRINCIPAL_VERSION", "2.2"),
        ("OCI_RESOURCE_PRINCIPAL_RPST", "/rpst"),
        ("OCI_RESOURCE_PRINCIPAL_PRIVATE_PEM", "/rpst.pem"),
        ("OCI_RESOURCE_PRINCIPAL_REGION", "us-phoenix-1"),
    ];
    const PROFILE_FILE: &str = "[DEFAULT]\nuser=user\ntenancy=tenancy\nkey_file=/file.pem\nregion=lhr\n\
        [session]\nsecurity_token_file=~/.oci/token\nkey_file=~/.oci/session.pem\nregion=fra\n\
        [shell]\nauthentication_type=instance_principal\ndelegation_token_file=/etc/token\n\
        [machine]\nauthentication_type=InstancePrincipal\n\
        [function]\nauthentication_type=resource_principal\n";

    /// With everything there is set at once, the ways come in their order: what
    /// was chosen is taken away, and uncovers the next.
    #[test]
    fn ways_have_an_order() -> anyhow::Result<()> {
        let session = [("OCI_CLI_SECURITY_TOKEN_FILE", "/token")];
        let shell = [
            ("OCI_CLI_CLOUD_SHELL", "True"),
            ("OCI_obo_token_path", "/etc/oci/delegation_token"),
        ];
        let all: [&[(&str, &str)]; 5] = [&API_KEY, &session, &EXCHANGE, &shell, &RESOURCE];
        let mut lines = Vec::new();
        for first in 0..=all.len() {
            let variables = all[first..].concat();
            // Before Cloud Shell comes the file, which needs no variables.
            if first == 3 {
                lines.push(Setup::file(&variables, PROFILE_FILE)?.line());
            }
            lines.push(Setup::new(&variables)?.line());
        }
        expect![[r#"
            API key USER of TENANCY with /key.pem in the environment variable OCI_CLI_KEY_FILE, region gru
            cannot sign in with a session token: there is no private key. Looked at, in this order:
                private key: the argument private_key, the argument private_key_path, TF_VAR_private_key, TF_VAR_private_key_path, OCI_PRIVATE_KEY, OCI_PRIVATE_KEY_PATH, OCI_CLI_KEY_CONTENT, OCI_CLI_KEY_FILE
            There is no configuration file: neither HOME/.oci/config nor HOME/.oraclebmc/config.

            A session and a profile for it are made by:
                oci session authenticate
            token exchange signed by instance false, TokenExchange { workload_identity_token_path: Some("HOME/token"), domain_url: Some("https://idcs.example.com"), auth: Some("OAuthClientCredentials"), client_id: Some("CLIENT"), client_secret: Some("[redacted]"), requested_token_type: None, subject_token_type: None, resource_type: None, rpst_expiration: None }, region unknown
            API key user of tenancy with /file.pem in `key_file` in profile DEFAULT of HOME/.oci/config, region lhr
            delegation token /etc/oci/delegation_token named by the environment variable OCI_obo_token_path, region unknown
            resource principal /rpst with /rpst.pem, region us-phoenix-1
            nothing: passed over API key, token exchange, profile, Cloud Shell, resource principal; region unknown"#]].assert_eq(&lines.join("\n"));
        Ok(())
    }

    /// Each way by its name, in both spellings and any case, with everything
    /// else set beside it.
    #[test]
    fn ways_have_names() -> anyhow::Result<()> {
        let session = [("OCI_CLI_SECURITY_TOKEN_FILE", "/token")];
        let shell = [("OCI_CLI_DELEGATION_TOKEN_FILE", "~/delegation")];
        let all = [&API_KEY[..], &session, &EXCHANGE, &shell, &RESOURCE].concat();
        let names = [
            ["ApiKey", "api_key"],
            ["SecurityToken", "security_token"],
            ["InstancePrincipal", "instance_principal"],
            ["ResourcePrincipal", "resource_principal"],
            ["OKEWorkloadIdentity", "oke_workload_identity"],
            ["WorkloadIdentityFederation", "workload_identity_federation"],
            ["CloudShell", "instance_obo_user"],
        ];
        let mut lines = Vec::new();
        for [name, other] in names {
            let line = Setup::new(&all)?.auth(name).line();
            for spelling in [other.to_owned(), name.to_uppercase(), name.to_lowercase()] {
                assert_eq!(Setup::new(&all)?.auth(&spelling).line(), line, "{spelling}");
                for variable in ["TF_VAR_auth", "OCI_AUTH", "OCI_CLI_AUTH"] {
                    let mut setup = Setup::new(&all)?;
                    let variables = &mut setup.environment.variables;
                    variables.insert(variable.to_owned(), spelling.clone());
                    assert_eq!(setup.line(), line, "{variable}={spelling}");
                }
            }
            lines.push(line);
        }
        expect![[r#"
            API key USER of TENANCY with /key.pem in the environment variable OCI_CLI_KEY_FILE, region gru
            session token /token with /key.pem, OCI_CLI_SECURITY_TOKEN_FILE, region gru
            instance principal, region gru
            resource principal /rpst with /rpst.pem, region gru
            OKE workload identity, region gru
            token exchange signed by instance false, TokenExchange { workload_identity_token_path: Some("HOME/token"), domain_url: Some("https://idcs.example.com"), auth: Some("OAuthClientCredentials"), client_id: Some("CLIENT"), client_secret: Some("[redacted]"), requested_token_type: None, subject_token_type: None, resource_type: None, rpst_expiration: None }, region gru
            delegation token HOME/delegation named by the environment variable OCI_CLI_DELEGATION_TOKEN_FILE, region gru"#]].assert_eq(&lines.join("\n"));
        for unknown in ["pkcs11", "InstancePrincipalWithCerts", "magic"] {
            let line = Setup::new(&all)?.auth(unknown).line();
            assert!(
                line.contains(&format!(
                    "the argument auth is \"{unknown}\", which is no way to sign in here"
                )),
                "{line}"
            );
        }
        Setup::new(&[("OCI_CLI_AUTH", "pkcs11")])?.check(expect![[r#"the environment variable OCI_CLI_AUTH is "pkcs11", which is no way to sign in here; there are ApiKey, SecurityToken, InstancePrincipal, ResourcePrincipal, OKEWorkloadIdentity, WorkloadIdentityFederation and CloudShell, and left out, it is found out"#]]);
        Ok(())
    }

    /// Every kind of profile says for itself how it signs in, and a variable
    /// names the profile.
    #[test]
    fn profiles_say_how() -> anyhow::Result<()> {
        let mut lines = Vec::new();
        for profile in ["DEFAULT", "session", "shell", "machine", "function"] {
            let mut setup = Setup::file(&RESOURCE, PROFILE_FILE)?;
            setup.settings.config_file_profile = Some(profile.to_owned());
            lines.push(format!("{profile}: {}", setup.line()));
        }
        expect![[r#"
            DEFAULT: API key user of tenancy with /file.pem in `key_file` in profile DEFAULT of HOME/.oci/config, region lhr
            session: session token HOME/.oci/token with HOME/.oci/session.pem, profile session, region fra
            shell: delegation token /etc/token named by `delegation_token_file` in profile shell of HOME/.oci/config, region lhr
            machine: instance principal, region lhr
            function: resource principal /rpst with /rpst.pem, region lhr"#]].assert_eq(&lines.join("\n"));
        let odd = "[DEFAULT]\nauthentication_type=magic\n";
        Setup::file(&[], odd)?.check(expect![[r#"`authentication_type` in profile DEFAULT of HOME/.oci/config is "magic", which is no way to sign in here; there are ApiKey, SecurityToken, InstancePrincipal, ResourcePrincipal, OKEWorkloadIdentity, WorkloadIdentityFederation and CloudShell, and left out, it is found out"#]]);
        // Nothing in it says how, and its region is used all the same.
        let region = "[DEFAULT]\nregion=lhr\n";
        Setup::file(&RESOURCE, region)?.check(expect![
            "resource principal /rpst with /rpst.pem, region lhr"
        ]);
        Setup::file(&[], region)?.check(expect!["nothing: passed over API key, token exchange, profile, Cloud Shell, resource principal; region lhr"]);
        Ok(())
    }

    /// A session and its key come from one place, with a key for something else
    /// lying about.
    #[test]
    fn session_keeps_its_key() -> anyhow::Result<()> {
        let key = [
            ("TF_VAR_private_key_path", "/api.pem"),
            ("TF_VAR_user_ocid", ""),
        ];
        let mut setup = Setup::file(&key, PROFILE_FILE)?;
        setup.settings.config_file_profile = Some("session".to_owned());
        setup.check(expect![
            "session token HOME/.oci/token with HOME/.oci/session.pem, profile session, region fra"
        ]);
        let both = [
            ("OCI_CLI_SECURITY_TOKEN_FILE", "/token"),
            ("OCI_CLI_KEY_FILE", "/cli.pem"),
        ];
        Setup::file(&both, PROFILE_FILE)?.check(expect![
            "session token /token with /cli.pem, OCI_CLI_SECURITY_TOKEN_FILE, region lhr"
        ]);
        let only_token = [("OCI_CLI_SECURITY_TOKEN_FILE", "/token")];
        Setup::file(&only_token, PROFILE_FILE)?.check(expect![
            "session token /token with /file.pem, OCI_CLI_SECURITY_TOKEN_FILE, region lhr"
        ]);
        Setup::new(&only_token)?.check(expect![[r#"
            cannot sign in with a session token: there is no private key. Looked at, in this order:
                private key: the argument private_key, the argument private_key_path, TF_VAR_private_key, TF_VAR_private_key_path, OCI_PRIVATE_KEY, OCI_PRIVATE_KEY_PATH, OCI_CLI_KEY_CONTENT, OCI_CLI_KEY_FILE
            There is no configuration file: neither HOME/.oci/config nor HOME/.oraclebmc/config.

            A session and a profile for it are made by:
                oci session authenticate"#]]);
        Setup::new(&[])?.auth("SecurityToken").check(expect![[r#"
            cannot sign in with a session token: there is no session token and no private key. Looked at, in this order:
                session token: OCI_CLI_SECURITY_TOKEN_FILE
                private key: the argument private_key, the argument private_key_path, TF_VAR_private_key, TF_VAR_private_key_path, OCI_PRIVATE_KEY, OCI_PRIVATE_KEY_PATH, OCI_CLI_KEY_CONTENT, OCI_CLI_KEY_FILE
            There is no configuration file: neither HOME/.oci/config nor HOME/.oraclebmc/config.

            A session and a profile for it are made by:
                oci session authenticate"#]]);
        let content = "-----BEGIN PRIVATE KEY-----";
        Setup::new(&[
            ("OCI_CLI_SECURITY_TOKEN_FILE", "/token"),
            ("OCI_CLI_KEY_FILE", content),
        ])?
        .check(expect!["the environment variable OCI_CLI_KEY_FILE holds something that looks like the key itself, and takes the path of its file; a key belongs into private_key or OCI_CLI_KEY_CONTENT"]);
        Ok(())
    }

    /// A token where the path of its file belongs is not shown.
    #[test]
    fn token_as_path() -> anyhow::Result<()> {
        let token = crate::credentials::jwt::token(&serde_json::json!({ "sub": "a" }));
        for (auth, variable) in [
            ("SecurityToken", "OCI_CLI_SECURITY_TOKEN_FILE"),
            ("CloudShell", "OCI_CLI_DELEGATION_TOKEN_FILE"),
            ("CloudShell", "obo_token_path"),
            (
                "WorkloadIdentityFederation",
                "OCI_WORKLOAD_IDENTITY_TOKEN_PATH",
            ),
        ] {
            let others = [&EXCHANGE[1..], &[("OCI_CLI_KEY_FILE", "/key.pem")]].concat();
            let line = Setup::new(&[&others[..], &[(variable, &token)]].concat())?
                .auth(auth)
                .line();
            assert_eq!(
                line,
                format!(
                    "the environment variable {variable} holds something that looks like the token itself, \
                     and takes the path of a file with it"
                )
            );
        }
        Ok(())
    }

    /// A session's profile does not sign in with an API key, and is mentioned.
    #[test]
    fn api_key_asked_of_a_session() -> anyhow::Result<()> {
        let config = "[DEFAULT]\nsecurity_token_file=/token\nkey_file=/key.pem\ntenancy=tenancy\n";
        Setup::file(&[], config)?.auth("ApiKey").check(expect![[r#"
            nobody to sign in as: there is no user. Looked at, in this order:
                user: the argument user_ocid, TF_VAR_user_ocid, OCI_USER_OCID, OCI_CLI_USER, `user` in profile DEFAULT of HOME/.oci/config
            In HOME/.oci/config, the only profile is DEFAULT. There is a session, `security_token_file` in profile DEFAULT of HOME/.oci/config, which auth = "SecurityToken" uses. Another way to sign in is chosen with the argument auth.

            A key and a configuration file are made by:
                oci setup config"#]]);
        Ok(())
    }

    /// Where Cloud Shell's token is looked for, in order, down to the place it
    /// always has.
    #[test]
    fn delegation_tokens_have_an_order() -> anyhow::Result<()> {
        let all = [
            ("OCI_CLI_DELEGATION_TOKEN_FILE", "~/cli"),
            ("TF_VAR_obo_token", "TEXT1"),
            ("OCI_obo_token", "TEXT2"),
            ("obo_token", "TEXT3"),
            ("TF_VAR_obo_token_path", "/path1"),
            ("OCI_obo_token_path", "/path2"),
            ("obo_token_path", "/path3"),
        ];
        let mut lines = Vec::new();
        for first in 0..=all.len() {
            lines.push(
                Setup::file(&all[first..], "[DEFAULT]\ndelegation_token_file=/file\n")?
                    .auth("CloudShell")
                    .line(),
            );
        }
        let setup = Setup::new(&[])?.auth("CloudShell");
        lines.push(setup.line());
        fs::write(setup.token(), "TOKEN")?;
        lines.push(setup.line());
        expect![[r#"
            delegation token HOME/cli named by the environment variable OCI_CLI_DELEGATION_TOKEN_FILE, region unknown
            delegation token TEXT1 in the environment variable TF_VAR_obo_token, region unknown
            delegation token TEXT2 in the environment variable OCI_obo_token, region unknown
            delegation token TEXT3 in the environment variable obo_token, region unknown
            delegation token /path1 named by the environment variable TF_VAR_obo_token_path, region unknown
            delegation token /path2 named by the environment variable OCI_obo_token_path, region unknown
            delegation token /path3 named by the environment variable obo_token_path, region unknown
            delegation token /file named by `delegation_token_file` in profile DEFAULT of HOME/.oci/config, region unknown
            cannot sign in as the user of Cloud Shell: there is no delegation token. Looked at, in this order:
                delegation token: OCI_CLI_DELEGATION_TOKEN_FILE, TF_VAR_obo_token, OCI_obo_token, obo_token, TF_VAR_obo_token_path, OCI_obo_token_path, obo_token_path, HOME/delegation_token
            There is no configuration file: neither HOME/.oci/config nor HOME/.oraclebmc/config
            delegation token HOME/delegation_token named by Cloud Shell, region unknown"#]].assert_eq(&lines.join("\n"));
        Ok(())
    }

    /// Cloud Shell as it is: it says `InstancePrincipal` to Terraform, and in
    /// other variables that there is a user.
    #[test]
    fn cloud_shell_is_recognised() -> anyhow::Result<()> {
        let with_file = |variables: &[(&str, &str)]| -> anyhow::Result<String> {
            let setup = Setup::new(variables)?;
            fs::write(setup.token(), "TOKEN")?;
            Ok(setup.line())
        };
        let lines = [
            with_file(&[
                ("OCI_AUTH", "InstancePrincipal"),
                ("OCI_use_obo_token", "true"),
                ("OCI_obo_token_path", "/obo"),
                ("OCI_REGION", "gru"),
            ])?,
            with_file(&[("OCI_AUTH", "InstancePrincipal")])?,
            with_file(&[])?,
            with_file(&[("OCI_CLI_CLOUD_SHELL", "True")])?,
            with_file(&[("use_obo_token", "1"), ("obo_token", "TEXT")])?,
            // Somebody who does not want it.
            with_file(&[
                ("OCI_use_obo_token", "false"),
                ("OCI_obo_token_path", "/obo"),
            ])?,
            Setup::new(&[("OCI_CLI_CLOUD_SHELL", "False")])?.line(),
            Setup::new(&[("OCI_CLI_CLOUD_SHELL", "true")])?.line(),
        ];
        expect![[r#"
            delegation token /obo named by the environment variable OCI_obo_token_path, region gru
            instance principal, region unknown
            delegation token HOME/delegation_token named by Cloud Shell, region unknown
            delegation token HOME/delegation_token named by Cloud Shell, region unknown
            delegation token TEXT in the environment variable obo_token, region unknown
            nothing: passed over API key, token exchange, profile, Cloud Shell, resource principal; region unknown
            nothing: passed over API key, token exchange, profile, Cloud Shell, resource principal; region unknown
            cannot sign in as the user of Cloud Shell: there is no delegation token. Looked at, in this order:
                delegation token: OCI_CLI_DELEGATION_TOKEN_FILE, TF_VAR_obo_token, OCI_obo_token, obo_token, TF_VAR_obo_token_path, OCI_obo_token_path, obo_token_path, HOME/delegation_token
            There is no configuration file: neither HOME/.oci/config nor HOME/.oraclebmc/config"#]].assert_eq(&lines.join("\n"));
        Ok(())
    }

    /// An instance by name reads no file, unless somebody names one.
    #[test]
    fn instance_needs_no_file() -> anyhow::Result<()> {
        let broken = "this is no configuration";
        for auth in [
            "InstancePrincipal",
            "OKEWorkloadIdentity",
            "ResourcePrincipal",
        ] {
            let setup = Setup::file(&RESOURCE, broken)?.auth(auth);
            assert!(!setup.line().contains("cannot read"), "{}", setup.line());
            let mut setup = setup;
            setup.settings.config_file = Some("~/.oci/config".to_owned());
            assert!(
                setup.line().contains("cannot read the configuration file"),
                "{}",
                setup.line()
            );
        }
        let mut setup =
            Setup::file(&[("OCI_CLI_PROFILE", "session")], PROFILE_FILE)?.auth("InstancePrincipal");
        setup.check(expect!["instance principal, region fra"]);
        setup.settings.config_file_profile = Some("nobody".to_owned());
        setup.check(expect!["the argument config_file_profile names the profile [nobody], which is not in HOME/.oci/config; the profiles are DEFAULT, session, shell, machine and function"]);
        Ok(())
    }

    /// A resource's own region comes after all that is configured, and belongs
    /// to resources and pods only.
    #[test]
    fn regions_have_an_order() -> anyhow::Result<()> {
        let config = "[DEFAULT]\nregion=lhr\n[ci]\nregion=fra\n";
        let names = ["TF_VAR_region", "OCI_REGION", "OCI_CLI_REGION"];
        let mut lines = Vec::new();
        for auth in [
            "ResourcePrincipal",
            "OKEWorkloadIdentity",
            "InstancePrincipal",
        ] {
            let mut variables = RESOURCE.to_vec();
            variables.extend(names.map(|name| (name, name)));
            let mut setup = Setup::file(&variables, config)?.auth(auth);
            setup.settings.config_file = Some("~/.oci/config".to_owned());
            setup.settings.config_file_profile = Some("ci".to_owned());
            setup.settings.region = Some("argument".to_owned());
            let mut regions = Vec::new();
            let region = |setup: &Setup| {
                let line = setup.line();
                line.rsplit_once("region ")
                    .map(|(_, region)| region.to_owned())
                    .unwrap_or(line)
            };
            regions.push(region(&setup));
            setup.settings.region = None;
            for name in names {
                regions.push(region(&setup));
                setup.environment.variables.remove(name);
            }
            regions.push(region(&setup));
            setup.settings.config_file_profile = None;
            regions.push(region(&setup));
            setup.settings.config_file = None;
            fs::remove_file(setup.home.path().join(".oci/config"))?;
            regions.push(region(&setup));
            lines.push(format!("{auth}: {}", regions.join(", ")));
        }
        expect![[r#"
            ResourcePrincipal: argument, TF_VAR_region, OCI_REGION, OCI_CLI_REGION, fra, lhr, us-phoenix-1
            OKEWorkloadIdentity: argument, TF_VAR_region, OCI_REGION, OCI_CLI_REGION, fra, lhr, us-phoenix-1
            InstancePrincipal: argument, TF_VAR_region, OCI_REGION, OCI_CLI_REGION, fra, lhr, unknown"#]].assert_eq(&lines.join("\n"));
        Ok(())
    }

    /// The arguments of a token exchange, and every one of them that is missing.
    #[test]
    fn token_exchange_is_complete() -> anyhow::Result<()> {
        let auth = "WorkloadIdentityFederation";
        Setup::new(&[])?.auth(auth).check(expect![[r#"
            cannot sign in with a token exchange: there is no token of the workload, no identity domain, no client id and no client secret. Looked at, in this order:
                token of the workload: the argument workload_identity_token_path, TF_VAR_workload_identity_token_path, OCI_WORKLOAD_IDENTITY_TOKEN_PATH
                identity domain: the argument token_exchange_domain_url, TF_VAR_token_exchange_domain_url, OCI_TOKEN_EXCHANGE_DOMAIN_URL
                client id: the argument token_exchange_client_id, TF_VAR_token_exchange_client_id, OCI_TOKEN_EXCHANGE_CLIENT_ID
                client secret: the argument token_exchange_client_secret, TF_VAR_token_exchange_client_secret, OCI_TOKEN_EXCHANGE_CLIENT_SECRET
            token_exchange_auth is "OAuthClientCredentials""#]]);
        Setup::new(&EXCHANGE[..1])?.check(expect![[r#"
            cannot sign in with a token exchange: there is no identity domain, no client id and no client secret. Looked at, in this order:
                identity domain: the argument token_exchange_domain_url, TF_VAR_token_exchange_domain_url, OCI_TOKEN_EXCHANGE_DOMAIN_URL
                client id: the argument token_exchange_client_id, TF_VAR_token_exchange_client_id, OCI_TOKEN_EXCHANGE_CLIENT_ID
                client secret: the argument token_exchange_client_secret, TF_VAR_token_exchange_client_secret, OCI_TOKEN_EXCHANGE_CLIENT_SECRET
            token_exchange_auth is "OAuthClientCredentials""#]]);
        let resource = (
            "TF_VAR_token_exchange_requested_token_type",
            "urn:oci:token-type:oci-rpst",
        );
        Setup::new(&[&EXCHANGE[..], &[resource]].concat())?.check(expect![[r#"
            cannot sign in with a token exchange: there is no resource type. Looked at, in this order:
                resource type: the argument token_exchange_resource_type, TF_VAR_token_exchange_resource_type, OCI_TOKEN_EXCHANGE_RESOURCE_TYPE
            token_exchange_auth is "OAuthClientCredentials""#]]);
        let instance = ("TF_VAR_token_exchange_auth", "instance_principal");
        Setup::new(&[&EXCHANGE[..2], &[instance]].concat())?.check(expect![[r#"token exchange signed by instance true, TokenExchange { workload_identity_token_path: Some("HOME/token"), domain_url: Some("https://idcs.example.com"), auth: Some("InstancePrincipal"), client_id: None, client_secret: None, requested_token_type: None, subject_token_type: None, resource_type: None, rpst_expiration: None }, region unknown"#]]);
        let magic = ("TF_VAR_token_exchange_auth", "magic");
        Setup::new(&[&EXCHANGE[..2], &[magic]].concat())?.check(expect![[r#"the environment variable TF_VAR_token_exchange_auth is "magic"; there are OAuthClientCredentials, with a client id and a client secret, and InstancePrincipal"#]]);
        // All of them, and arguments before variables.
        let names = [
            "TF_VAR_workload_identity_token_path",
            "TF_VAR_token_exchange_domain_url",
            "TF_VAR_token_exchange_client_id",
            "TF_VAR_token_exchange_client_secret",
            "TF_VAR_token_exchange_requested_token_type",
            "TF_VAR_token_exchange_subject_token_type",
            "TF_VAR_token_exchange_resource_type",
            "TF_VAR_token_exchange_rpst_exp",
        ];
        let variables: Vec<(&str, &str)> = names.iter().map(|name| (*name, *name)).collect();
        let mut setup = Setup::new(&[&variables[..], &EXCHANGE].concat())?;
        setup.check(expect![[r#"token exchange signed by instance false, TokenExchange { workload_identity_token_path: Some("TF_VAR_workload_identity_token_path"), domain_url: Some("TF_VAR_token_exchange_domain_url"), auth: Some("OAuthClientCredentials"), client_id: Some("TF_VAR_token_exchange_client_id"), client_secret: Some("[redacted]"), requested_token_type: Some("TF_VAR_token_exchange_requested_token_type"), subject_token_type: Some("TF_VAR_token_exchange_subject_token_type"), resource_type: Some("TF_VAR_token_exchange_resource_type"), rpst_expiration: Some("TF_VAR_token_exchange_rpst_exp") }, region unknown"#]]);
        setup.settings.token_exchange.client_id = Some("argument".to_owned());
        assert!(setup.line().contains(r#"client_id: Some("argument")"#));
        Ok(())
    }

    /// Half of an API key is the mistake of somebody who means one; a tenancy
    /// alone is often set for something else.
    #[test]
    fn half_an_api_key() -> anyhow::Result<()> {
        for [name, _] in [
            ["OCI_CLI_USER", ""],
            ["TF_VAR_fingerprint", ""],
            ["OCI_PRIVATE_KEY_PATH", ""],
            ["OCI_CLI_KEY_CONTENT", ""],
        ] {
            let line = Setup::new(&[&[(name, "x")][..], &RESOURCE].concat())?.line();
            assert!(
                line.starts_with("nobody to sign in as: there is no tenancy"),
                "{name}: {line}"
            );
        }
        Setup::new(&[&[("OCI_CLI_TENANCY", "x")][..], &RESOURCE].concat())?.check(expect![
            "resource principal /rpst with /rpst.pem, region us-phoenix-1"
        ]);
        Setup::new(&[("TF_VAR_user_ocid", "x")])?.check(expect![[r#"
            nobody to sign in as: there is no tenancy and no private key. Looked at, in this order:
                tenancy: the argument tenancy_ocid, TF_VAR_tenancy_ocid, OCI_TENANCY_OCID, OCI_CLI_TENANCY
                private key: the argument private_key, the argument private_key_path, TF_VAR_private_key, TF_VAR_private_key_path, OCI_PRIVATE_KEY, OCI_PRIVATE_KEY_PATH, OCI_CLI_KEY_CONTENT, OCI_CLI_KEY_FILE
            There is no configuration file: neither HOME/.oci/config nor HOME/.oraclebmc/config. Another way to sign in is chosen with the argument auth.

            A key and a configuration file are made by:
                oci setup config"#]]);
        Ok(())
    }

    /// A machine on which nothing is set up: each way, and why not.
    #[test]
    fn nobody() -> anyhow::Result<()> {
        let setup = Setup::new(&[])?;
        let search = Search {
            settings: &setup.settings,
            environment: &setup.environment,
        };
        let Err(mut tried) = look(&search, &setup.token())?.way else {
            anyhow::bail!("something was found");
        };
        pass(
            &mut tried,
            "OKE workload identity",
            "KUBERNETES_SERVICE_HOST is not set".to_owned(),
        );
        pass(
            &mut tried,
            "instance principal",
            "nobody answers at 169.254.169.254".to_owned(),
        );
        let text = Error::Nobody { tried }.to_string();
        expect![[r#"
            nobody to sign in as. Tried, in this order:
                API key: neither user_ocid nor private_key is an argument or a variable
                token exchange: neither workload_identity_token_path nor token_exchange_domain_url is set
                profile: there is no configuration file: neither HOME/.oci/config nor HOME/.oraclebmc/config
                Cloud Shell: neither OCI_CLI_CLOUD_SHELL nor OCI_obo_token_path is set, and there is no HOME/delegation_token
                resource principal: OCI_RESOURCE_PRINCIPAL_VERSION is not set
                OKE workload identity: KUBERNETES_SERVICE_HOST is not set
                instance principal: nobody answers at 169.254.169.254

            How they are set up:
                a person: `oci setup config` makes a key and a profile, `oci session authenticate` a session
                a pipeline elsewhere: OCI_TENANCY_OCID, OCI_USER_OCID and OCI_PRIVATE_KEY, or a token exchange
                an instance, a function, a pipeline or a pod in Oracle Cloud: a policy that allows it
            The argument auth says which one is meant"#]].assert_eq(&text.replace(&*setup.home.path().to_string_lossy(), "HOME"));
        Ok(())
    }

    proptest::proptest! {
        // Each case writes files, and some read a key.
        #![proptest_config(proptest::prelude::ProptestConfig {
            cases: proptest::prelude::ProptestConfig::default().cases.div_ceil(2),
            ..proptest::prelude::ProptestConfig::default()
        })]

        /// Whatever is set, and whatever stands in the files of the home directory: a way to sign
        /// in is found and made ready, or an error says what is missing; no secret is shown, also
        /// where it stands in the place of a path.
        #[test]
        fn any_surroundings(
            variables in proptest::sample::subsequence(VARIABLES.to_vec(), 0..8),
            odd in proptest::option::of((
                proptest::sample::select(VARIABLES.iter().map(|(name, _)| *name).collect::<Vec<_>>()),
                crate::spoilt::text(&["~/.oci/config", "DEFAULT", "api_key", "e30.e30.c2ln", "~"]),
            )),
            auth in proptest::option::weighted(0.3, crate::spoilt::text(&["ApiKey", "security_token", "CloudShell", "InstancePrincipal"])),
            profile in proptest::option::weighted(0.3, crate::spoilt::text(&["DEFAULT", "session", "shell"])),
            config in crate::spoilt::text(&[PROFILE_FILE]),
            regions in proptest::option::weighted(0.3, crate::spoilt::text(&["[]"])),
        ) {
            let fail = |error: anyhow::Error| proptest::test_runner::TestCaseError::fail(format!("{error:#}"));
            let mut variables = variables;
            variables.extend(odd.as_ref().map(|(name, value)| (*name, value.as_str())));
            let mut setup = Setup::file(&variables, &config).map_err(fail)?;
            setup.settings.auth = auth;
            setup.settings.config_file_profile = profile;
            let folder = setup.home.path().join(".oci");
            let files = [("token", "e30.e30.hunter2hunter2"), ("session.pem", PEM)];
            for (name, text) in files.into_iter().chain(regions.as_deref().map(|text| ("regions-config.json", text))) {
                fs::write(folder.join(name), text).map_err(|error| fail(error.into()))?;
            }
            let search = Search { settings: &setup.settings, environment: &setup.environment };
            let ready = look(&search, &setup.token()).and_then(|Looked { way, region }| {
                let regions = directory(&setup.environment)?;
                let _ = region.map(|found| regions.find(&found.value));
                Ok(match way {
                    Ok(Way::ApiKey(parts)) => parts.source(&search)?.describe(),
                    Ok(Way::Session(parts)) => session::source(parts)?.describe(),
                    Ok(Way::ResourcePrincipal(parts)) => resource_principal::source(parts)?.describe(),
                    // Those ask the network.
                    Ok(way) => way.name().to_owned(),
                    Err(tried) => nobody_text(&tried),
                })
            });
            let said = ready.unwrap_or_else(|error| format!("{:#}", anyhow::Error::new(error)));
            proptest::prop_assert!(!said.contains("hunter2"), "{}", said);
            let given = config.len() + variables.iter().map(|(_, value)| value.len()).sum::<usize>();
            proptest::prop_assert!(said.len() < 20 * given + 6000, "{}", said);
        }
    }

    /// No key, and told from others by what stands in it.
    const PEM: &str = "-----BEGIN RSA PRIVATE KEY-----\nhunter2hunter2hunter2hunter2\n-----END RSA PRIVATE KEY-----\n";

    /// What may be set, secrets also where none belongs.
    const VARIABLES: &[(&str, &str)] = &[
        ("OCI_TENANCY_OCID", "ocid1.tenancy.oc1..a"),
        ("OCI_CLI_TENANCY", "ocid1.tenancy.oc1..a"),
        ("TF_VAR_user_ocid", "ocid1.user.oc1..a"),
        ("OCI_CLI_USER", "ocid1.user.oc1..a"),
        ("OCI_FINGERPRINT", "12:34"),
        ("OCI_PRIVATE_KEY", PEM),
        ("OCI_PRIVATE_KEY_PATH", PEM),
        ("OCI_CLI_KEY_CONTENT", PEM),
        ("OCI_CLI_KEY_FILE", "~/.oci/session.pem"),
        ("OCI_PRIVATE_KEY_PASSWORD", "hunter2hunter2"),
        ("OCI_CLI_PASSPHRASE", "hunter2hunter2"),
        ("OCI_CLI_SECURITY_TOKEN_FILE", "~/.oci/token"),
        ("OCI_CLI_DELEGATION_TOKEN_FILE", "e30.e30.hunter2hunter2"),
        ("OCI_CLI_CONFIG_FILE", "~/.oci/config"),
        ("OCI_CLI_PROFILE", "session"),
        ("OCI_CLI_REGION", "gru"),
        ("OCI_CLI_AUTH", "security_token"),
        ("OCI_CLI_CLOUD_SHELL", "True"),
        ("OCI_use_obo_token", "1"),
        ("OCI_obo_token", "e30.e30.hunter2hunter2"),
        ("OCI_obo_token_path", "e30.e30.hunter2hunter2"),
        ("OCI_WORKLOAD_IDENTITY_TOKEN_PATH", "e30.e30.hunter2hunter2"),
        ("OCI_TOKEN_EXCHANGE_DOMAIN_URL", "https://idcs.example.com"),
        ("OCI_TOKEN_EXCHANGE_CLIENT_ID", "CLIENT"),
        ("OCI_TOKEN_EXCHANGE_CLIENT_SECRET", "hunter2hunter2"),
        ("OCI_TOKEN_EXCHANGE_AUTH", "instance_principal"),
        ("OCI_RESOURCE_PRINCIPAL_VERSION", "2.2"),
        ("OCI_RESOURCE_PRINCIPAL_RPST", "e30.e30.hunter2hunter2"),
        ("OCI_RESOURCE_PRINCIPAL_PRIVATE_PEM", PEM),
        ("OCI_RESOURCE_PRINCIPAL_REGION", "us-phoenix-1"),
        ("OCI_REGION_METADATA", "{}"),
        ("OCI_DEFAULT_REALM", "oraclecloud.com"),
    ];
}
