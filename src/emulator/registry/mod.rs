//! The registry: the distribution API, with the habits of OCIR.

mod blobs;
mod manifests;
mod token;

use std::{collections::HashMap, sync::Arc};

use http::{HeaderValue, Method, StatusCode, header};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use super::{
    Permission, control_plane,
    identity::Caller,
    refusal::Refusal,
    server::{Answer, Call, Shared, json_answer},
    state::{Repository, State},
};

/// The token endpoint has the registry's way of talking, and a path of its own.
pub(super) const TOKEN_PATH: &str = "/20180419/docker/token";

/// Unfinished uploads by id. They are not kept over a restart.
pub(super) type Uploads =
    std::sync::Mutex<HashMap<String, Arc<tokio::sync::Mutex<blobs::Session>>>>;

/// What a request to the registry is about.
#[derive(Debug)]
pub(super) enum Route {
    Token,
    Ping,
    Catalog,
    Manifest {
        method: Verb,
        name: Name,
        reference: String,
    },
    Blob {
        method: Verb,
        name: Name,
        digest: String,
    },
    StartUpload {
        name: Name,
    },
    Upload {
        method: UploadVerb,
        name: Name,
        id: String,
    },
    Tags {
        name: Name,
    },
    Referrers {
        name: Name,
        digest: String,
    },
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Verb {
    Head,
    Get,
    Put,
    Delete,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum UploadVerb {
    Get,
    Patch,
    Put,
    Delete,
}

/// `namespace/repository`.
#[derive(Clone, Debug)]
pub(super) struct Name {
    namespace: String,
    repository: String,
}

impl std::fmt::Display for Name {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}/{}", self.namespace, self.repository)
    }
}

/// Names of all operations of the registry.
pub(super) const NAMES: &[&str] = &[
    "GetRegistryToken",
    "Ping",
    "GetCatalog",
    "HeadManifest",
    "GetManifest",
    "PutManifest",
    "DeleteManifest",
    "HeadBlob",
    "GetBlob",
    "DeleteBlob",
    "PostBlobUpload",
    "GetBlobUpload",
    "PatchBlobUpload",
    "PutBlobUpload",
    "DeleteBlobUpload",
    "ListTags",
    "GetReferrers",
];

impl Route {
    pub(super) fn operation(&self) -> &'static str {
        match self {
            Self::Token => "GetRegistryToken",
            Self::Ping => "Ping",
            Self::Catalog => "GetCatalog",
            Self::Manifest {
                method: Verb::Head, ..
            } => "HeadManifest",
            Self::Manifest {
                method: Verb::Get, ..
            } => "GetManifest",
            Self::Manifest {
                method: Verb::Put, ..
            } => "PutManifest",
            Self::Manifest {
                method: Verb::Delete,
                ..
            } => "DeleteManifest",
            Self::Blob {
                method: Verb::Head, ..
            } => "HeadBlob",
            Self::Blob {
                method: Verb::Delete,
                ..
            } => "DeleteBlob",
            Self::Blob { .. } => "GetBlob",
            Self::StartUpload { .. } => "PostBlobUpload",
            Self::Upload {
                method: UploadVerb::Get,
                ..
            } => "GetBlobUpload",
            Self::Upload {
                method: UploadVerb::Patch,
                ..
            } => "PatchBlobUpload",
            Self::Upload {
                method: UploadVerb::Put,
                ..
            } => "PutBlobUpload",
            Self::Upload {
                method: UploadVerb::Delete,
                ..
            } => "DeleteBlobUpload",
            Self::Tags { .. } => "ListTags",
            Self::Referrers { .. } => "GetReferrers",
        }
    }
}

/// Finds what a method and a path mean.
pub(super) fn route(method: &Method, path: &str) -> Result<Route, Refusal> {
    let unsupported = || {
        Refusal::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "UNSUPPORTED",
            "The operation is unsupported.",
        )
    };
    if path == TOKEN_PATH {
        return match *method {
            Method::GET => Ok(Route::Token),
            // The OAuth2 form of Docker's token protocol.
            Method::POST => Err(Refusal::new(StatusCode::FORBIDDEN, "DENIED", "Forbidden")),
            _ => Err(unsupported()),
        };
    }
    let reading = *method == Method::GET || *method == Method::HEAD;
    let rest = match path {
        "/v2" | "/v2/" if reading => return Ok(Route::Ping),
        "/v2/_catalog" if reading => return Ok(Route::Catalog),
        path => path.strip_prefix("/v2/").ok_or_else(unsupported)?,
    };
    let decoded = percent_decode_str(rest)
        .decode_utf8()
        .map_err(|_| invalid_name(rest))?
        .into_owned();
    let parts: Vec<&str> = decoded.split('/').collect();
    let named = |end: usize| name(parts.get(..end).unwrap_or_default());
    let count = parts.len();
    match parts.as_slice() {
        [.., "manifests", reference] => Ok(Route::Manifest {
            method: match *method {
                Method::HEAD => Verb::Head,
                Method::GET => Verb::Get,
                Method::PUT => Verb::Put,
                Method::DELETE => Verb::Delete,
                _ => return Err(unsupported()),
            },
            name: named(count - 2)?,
            reference: (*reference).to_owned(),
        }),
        [.., "blobs", "uploads"] | [.., "blobs", "uploads", ""] if *method == Method::POST => {
            let end = if parts.ends_with(&[""]) {
                count - 3
            } else {
                count - 2
            };
            Ok(Route::StartUpload { name: named(end)? })
        }
        [.., "blobs", "uploads", id] if !id.is_empty() => Ok(Route::Upload {
            method: match *method {
                Method::GET => UploadVerb::Get,
                Method::PATCH => UploadVerb::Patch,
                Method::PUT => UploadVerb::Put,
                Method::DELETE => UploadVerb::Delete,
                _ => return Err(unsupported()),
            },
            name: named(count - 3)?,
            id: (*id).to_owned(),
        }),
        [.., "blobs", digest] if *digest != "uploads" => Ok(Route::Blob {
            method: match *method {
                Method::HEAD => Verb::Head,
                Method::GET => Verb::Get,
                Method::DELETE => Verb::Delete,
                _ => return Err(unsupported()),
            },
            name: named(count - 2)?,
            digest: (*digest).to_owned(),
        }),
        [.., "tags", "list"] if reading => Ok(Route::Tags {
            name: named(count - 2)?,
        }),
        [.., "referrers", digest] if reading => Ok(Route::Referrers {
            name: named(count - 2)?,
            digest: (*digest).to_owned(),
        }),
        _ => Err(unsupported()),
    }
}

fn name(parts: &[&str]) -> Result<Name, Refusal> {
    let text = parts.join("/");
    match parts.split_first() {
        Some((namespace, rest))
            if !namespace.is_empty() && control_plane::is_name(&rest.join("/")) =>
        {
            Ok(Name {
                namespace: (*namespace).to_owned(),
                repository: rest.join("/"),
            })
        }
        _ => Err(invalid_name(&text)),
    }
}

fn invalid_name(name: &str) -> Refusal {
    Refusal::new(
        StatusCode::BAD_REQUEST,
        "NAME_INVALID",
        format!("Invalid repository name: {name}"),
    )
}

/// A request whose sender is known.
pub(super) struct Visit<'a> {
    shared: &'a Shared,
    call: &'a mut Call,
    caller: Caller,
}

/// Signs the caller in, and does what was asked for.
pub(super) async fn answer(
    shared: &Shared,
    call: &mut Call,
    route: Route,
) -> Result<Answer, Refusal> {
    if let Route::Token = route {
        return token::answer(shared, call);
    }
    let caller = sign_in(shared, call)?;
    call.caller = caller.print();
    let mut visit = Visit {
        shared,
        call,
        caller,
    };
    let mut answer = match route {
        Route::Token | Route::Ping => Ok(json_answer(StatusCode::OK, &serde_json::json!({}))),
        Route::Catalog => Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "DENIED",
            "Listing repositories is not supported",
        )),
        Route::Manifest {
            method,
            name,
            reference,
        } => visit.manifest(method, &name, &reference).await,
        Route::Blob {
            method,
            name,
            digest,
        } => visit.blob(method, &name, &digest).await,
        Route::StartUpload { name } => visit.start_upload(&name).await,
        Route::Upload { method, name, id } => visit.upload(method, &name, &id).await,
        Route::Tags { name } => visit.tags(&name),
        Route::Referrers { name, digest } => visit.referrers(&name, &digest),
    }?;
    answer.headers_mut().insert(
        "docker-distribution-api-version",
        HeaderValue::from_static("registry/2.0"),
    );
    Ok(answer)
}

fn sign_in(shared: &Shared, call: &Call) -> Result<Caller, Refusal> {
    call.header("authorization")
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .and_then(|(_, token)| shared.bearer(token.trim()))
        .ok_or_else(|| challenge(shared, call))
}

/// Tells a client where tokens are to be had. The scope is empty, as OCIR's is.
fn challenge(shared: &Shared, call: &Call) -> Refusal {
    let host = call.host();
    Refusal::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "Unauthorized").with(
        header::WWW_AUTHENTICATE,
        format!(
            r#"Bearer realm="{}://{host}{}{TOKEN_PATH}",service="{host}",scope="""#,
            shared.settings.scheme, call.prefix
        ),
    )
}

/// What the registry says with a status when nothing else is known.
pub(super) fn usual_refusal(shared: &Shared, call: &Call, status: StatusCode) -> Refusal {
    let (code, message) = match status.as_u16() {
        401 if call.path != TOKEN_PATH => return challenge(shared, call),
        401 => ("UNAUTHORIZED", "Unauthorized"),
        403 => return denied(),
        404 => ("NAME_UNKNOWN", "Repository name not known to registry"),
        405 => ("UNSUPPORTED", "The operation is unsupported."),
        413 => (
            "SIZE_INVALID",
            "Provided length did not match content length",
        ),
        416 => ("BLOB_UPLOAD_INVALID", "Blob upload invalid"),
        429 => ("TOOMANYREQUESTS", "Too many requests"),
        _ => ("UNKNOWN", "Unknown error"),
    };
    Refusal::new(status, code, message)
}

impl Visit<'_> {
    /// A repository that may be read. Without signing in, that is a public one.
    fn readable<'s>(&self, state: &'s State, name: &Name) -> Result<&'s Repository, Refusal> {
        self.check_namespace(name)?;
        let repository = state.repository_named(self.call.region.identifier, &name.repository);
        match (&self.caller, repository) {
            (_, Some(repository)) if repository.is_public => Ok(repository),
            // Whether it exists is nobody's business.
            (Caller::Anonymous, _) => Err(anonymous()),
            (Caller::Principal(_), Some(repository))
                if self.shared.allows(Permission::RepositoryRead) =>
            {
                Ok(repository)
            }
            // Missing or not permitted: the answer does not tell.
            (Caller::Principal(_), _) => Err(unknown_name(name)),
        }
    }

    /// A repository that may be written to, with that permission besides reading.
    fn writable<'s>(
        &self,
        state: &'s State,
        name: &Name,
        permission: Permission,
    ) -> Result<&'s Repository, Refusal> {
        if self.caller == Caller::Anonymous {
            return Err(anonymous());
        }
        let repository = self.readable(state, name)?;
        if self.shared.allows(Permission::RepositoryRead) && self.shared.allows(permission) {
            Ok(repository)
        } else {
            Err(denied())
        }
    }

    fn check_namespace(&self, name: &Name) -> Result<(), Refusal> {
        if name.namespace == self.shared.tenancy.seed.namespace {
            Ok(())
        } else {
            Err(unknown_tenant(StatusCode::NOT_FOUND, &name.namespace))
        }
    }

    fn caller_id(&self) -> String {
        match &self.caller {
            Caller::Principal(principal) => principal.id.clone(),
            Caller::Anonymous => "anonymous".into(),
        }
    }

    /// Changes a repository that is there, by its OCID.
    fn change<T>(
        &self,
        repository_id: &str,
        change: impl FnOnce(&mut State) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        self.shared.store.change(|state| {
            if state.repositories.contains_key(repository_id) {
                change(state)
            } else {
                Err(Refusal::new(
                    StatusCode::NOT_FOUND,
                    "NAME_UNKNOWN",
                    "The repository was deleted in the meantime",
                ))
            }
        })
    }

    /// An address below a repository, as clients are told it.
    fn location(&self, name: &Name, rest: &str) -> String {
        format!("{}/v2/{name}/{rest}", self.call.prefix)
    }

    fn tags(&self, name: &Name) -> Result<Answer, Refusal> {
        let all: Vec<String> = self.shared.store.read(|state| {
            let repository = self.readable(state, name)?;
            Ok(state.tags(&repository.id).into_keys().collect())
        })?;
        let limit = match self.call.query("n") {
            None => usize::MAX,
            Some(text) => text.parse().map_err(|_| {
                Refusal::new(
                    StatusCode::BAD_REQUEST,
                    "PAGINATION_NUMBER_INVALID",
                    format!("Invalid number of results: {text}"),
                )
            })?,
        };
        let last = self.call.query("last").unwrap_or_default();
        let mut rest = all.iter().filter(|tag| tag.as_str() > last).peekable();
        let tags: Vec<&String> = rest.by_ref().take(limit).collect();
        let body = serde_json::json!({ "name": name.to_string(), "tags": tags });
        let mut answer = json_answer(StatusCode::OK, &body);
        if let (Some(last), Some(_)) = (tags.last(), rest.peek()) {
            let last = utf8_percent_encode(last, QUERY);
            let link = format!(
                r#"<{}?n={limit}&last={last}>; rel="next""#,
                self.location(name, "tags/list")
            );
            insert(&mut answer, header::LINK, &link);
        }
        Ok(answer)
    }
}

/// What has to be encoded in a value of a query.
const QUERY: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'<')
    .add(b'>')
    .add(b'&')
    .add(b'+')
    .add(b'%');

fn insert(answer: &mut Answer, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers_mut().insert(name, value);
    }
}

fn unknown_name(name: &Name) -> Refusal {
    Refusal::new(
        StatusCode::NOT_FOUND,
        "NAME_UNKNOWN",
        format!("Repository {name} not known to registry"),
    )
}

fn unknown_tenant(status: StatusCode, namespace: &str) -> Refusal {
    Refusal::new(
        status,
        "NAME_UNKNOWN",
        format!("Tenant with name {namespace} not found"),
    )
}

fn denied() -> Refusal {
    Refusal::new(
        StatusCode::FORBIDDEN,
        "DENIED",
        "Requested access to the resource is denied",
    )
}

fn anonymous() -> Refusal {
    Refusal::new(
        StatusCode::FORBIDDEN,
        "DENIED",
        "Anonymous users are only allowed read access on public repos",
    )
}

/// Whether a text is a digest as this registry computes them.
fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(|hex| {
        hex.len() == 64
            && hex
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })
}

fn check_digest(text: &str) -> Result<(), Refusal> {
    if is_digest(text) {
        Ok(())
    } else {
        Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            "DIGEST_INVALID",
            format!("Invalid digest: {text}"),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names with slashes, also with the words of the API in them, are told from what follows them.
    #[test]
    fn routes() {
        let find = |method: Method, path| match route(&method, path) {
            Ok(route) => format!("{}: {route:?}", route.operation()),
            Err(refusal) => format!("{} {}", refusal.status.as_u16(), refusal.code),
        };
        expect_test::expect![[r#"HeadManifest: Manifest { method: Head, name: Name { namespace: "ns", repository: "blobs/tags/web" }, reference: "1.0" }"#]]
            .assert_eq(&find(Method::HEAD, "/v2/ns/blobs/tags/web/manifests/1.0"));
        expect_test::expect![[
            r#"PostBlobUpload: StartUpload { name: Name { namespace: "ns", repository: "web" } }"#
        ]]
        .assert_eq(&find(Method::POST, "/v2/ns/web/blobs/uploads/"));
        expect_test::expect![[r#"PatchBlobUpload: Upload { method: Patch, name: Name { namespace: "ns", repository: "web" }, id: "17" }"#]]
            .assert_eq(&find(Method::PATCH, "/v2/ns/web/blobs/uploads/17"));
        expect_test::expect![[r#"GetBlob: Blob { method: Get, name: Name { namespace: "ns", repository: "web" }, digest: "sha256:0" }"#]]
            .assert_eq(&find(Method::GET, "/v2/ns/web/blobs/sha256%3A0"));
        expect_test::expect!["400 NAME_INVALID"]
            .assert_eq(&find(Method::GET, "/v2/ns/Web/tags/list"));
        expect_test::expect!["400 NAME_INVALID"]
            .assert_eq(&find(Method::GET, "/v2/ns/manifests/1"));
        expect_test::expect!["405 UNSUPPORTED"]
            .assert_eq(&find(Method::POST, "/v2/ns/web/manifests/1"));
        expect_test::expect!["403 DENIED"].assert_eq(&find(Method::POST, TOKEN_PATH));
    }

    /// A digest is lower-case SHA-256.
    #[test]
    fn digests() {
        let hex = "0a".repeat(32);
        assert!(is_digest(&format!("sha256:{hex}")));
        for text in [
            hex.clone(),
            format!("sha256:{}", hex.to_uppercase()),
            "sha256:00".into(),
            format!("sha512:{hex}"),
        ] {
            assert!(!is_digest(&text), "{text}");
        }
    }
}
