//! Addresses of services, as they are configured and as they are sent to.

use std::collections::BTreeMap;

use url::Url;

use super::Error;
use crate::region::Service;

/// Reads `CLIENT_HOST_OVERRIDES`, with which Oracle's provider sends single
/// clients elsewhere: `oci_artifacts.ArtifactsClient=https://…;…`. Gives what
/// [`Config::host_overrides`](super::Config) takes. Clients of services that
/// are not used here are left out.
pub fn parse_host_overrides(text: &str) -> Result<BTreeMap<&'static str, String>, Error> {
    let mut overrides = BTreeMap::new();
    for entry in text.split(';').map(str::trim) {
        if entry.is_empty() {
            continue;
        }
        let Some((client, address)) = entry.split_once('=') else {
            return Err(Error::Configuration(format!(
                "CLIENT_HOST_OVERRIDES has the entry \"{}\", and an entry has to be a client and its address: \
                 oci_identity.IdentityClient=https://identity.example",
                harmless(entry)
            )));
        };
        let (client, address) = (client.trim(), address.trim());
        let Some((_, service)) = CLIENTS.iter().find(|(name, _)| *name == client) else {
            tracing::debug!(
                client,
                "CLIENT_HOST_OVERRIDES names a client that is not used here"
            );
            continue;
        };
        // Oracle's SDK takes a host without a scheme for one that speaks HTTPS.
        let address = match address.contains("://") {
            true => address.to_owned(),
            false => format!("https://{address}"),
        };
        parse_address(&address).map_err(|error| {
            Error::Configuration(format!("{client} in CLIENT_HOST_OVERRIDES: {error}"))
        })?;
        overrides.insert(service.name(), address);
    }
    Ok(overrides)
}

/// Names in `CLIENT_HOST_OVERRIDES` that are no client used here, and look like one
/// that was meant: each with that one. What they were to lead elsewhere goes to
/// Oracle's own address.
pub fn misspelt_host_overrides(text: &str) -> Vec<(String, &'static str)> {
    let entries = text.split(';').filter_map(|entry| entry.split_once('='));
    let names = entries.map(|(name, _)| name.trim());
    names
        .filter(|name| CLIENTS.iter().all(|(known, _)| known != name))
        .filter_map(|name| {
            let meant = CLIENTS.iter().find(|(known, _)| is_like(name, known))?.0;
            Some((name.to_owned(), meant))
        })
        .collect()
}

/// Whether somebody who wrote the one may have meant the other.
fn is_like(written: &str, known: &str) -> bool {
    let letters = |text: &str| -> Vec<char> {
        let letters = text.chars().filter(|letter| letter.is_alphanumeric());
        letters.flat_map(char::to_lowercase).take(100).collect()
    };
    let package = |name: &str| name.split('.').next().map(str::to_owned);
    package(written) == package(known)
        || distance(&letters(written), &letters(known)) <= MOST_MISTAKES
}

/// More are another word.
const MOST_MISTAKES: usize = 3;

/// How many letters have to be put in, left out or exchanged.
fn distance(one: &[char], other: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, letter) in one.iter().enumerate() {
        let mut before = index;
        row[0] = index + 1;
        for (column, other) in other.iter().enumerate() {
            let exchanged = before + usize::from(letter != other);
            before = row[column + 1];
            row[column + 1] = exchanged.min(before + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}

/// Names of clients in Oracle's provider. It has none for the token endpoint,
/// which is asked at the registry's own address anyway.
const CLIENTS: &[(&str, Service)] = &[
    ("oci_artifacts.ArtifactsClient", Service::Artifacts),
    ("oci_identity.IdentityClient", Service::Identity),
    (
        "oci_object_storage.ObjectStorageClient",
        Service::ObjectStorage,
    ),
];

/// Reads an address that paths can be appended to.
pub(super) fn parse_address(text: &str) -> Result<Url, Error> {
    let refused = |why: &str| {
        Error::Configuration(format!(
            "\"{}\" is no address of a service: {why}",
            harmless(text)
        ))
    };
    let url = Url::parse(text).map_err(|error| match error {
        url::ParseError::RelativeUrlWithoutBase => {
            refused("it has to begin with https:// or http://")
        }
        error => refused(&error.to_string()),
    })?;
    if !["http", "https"].contains(&url.scheme()) {
        return Err(refused("it has to begin with https:// or http://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refused("it must not have a user name or a password"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(refused("it must not have a query or a fragment"));
    }
    if url.host_str().is_none_or(|host| host.contains(['{', '}']))
        || url.path().contains("%7B")
        || text.contains(['{', '}'])
    {
        return Err(refused("only {service} and {region} are filled in"));
    }
    Ok(url)
}

/// An address without what may be a secret: what stands before an `@`, or in a
/// query.
fn harmless(text: &str) -> &str {
    text.split(['?', '#'])
        .next()
        .and_then(|text| text.rsplit('@').next())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    /// Entries as users write them: with blanks, an empty one at the end, a
    /// host without a scheme, and a client that is not used here.
    #[test]
    fn host_overrides() -> anyhow::Result<()> {
        let read = parse_host_overrides(
            " oci_artifacts.ArtifactsClient = https://artifacts.example:8443/a ;\
             oci_identity.IdentityClient=identity.example;\
             oci_core.ComputeClient=not looked at;\
             oci_object_storage.ObjectStorageClient=http://127.0.0.1:4599;",
        )?;
        expect![[r#"
            {
                "artifacts": "https://artifacts.example:8443/a",
                "identity": "https://identity.example",
                "objectstorage": "http://127.0.0.1:4599",
            }
        "#]]
        .assert_debug_eq(&read);
        assert!(parse_host_overrides("")?.is_empty());
        assert!(parse_host_overrides(" ; ")?.is_empty());
        Ok(())
    }

    /// Names that somebody mistyped are found; those of other services are none.
    #[test]
    fn misspelt() {
        let found = |name: &str| {
            let found = misspelt_host_overrides(&format!("{name}=https://a.example"));
            found.first().map(|(_, meant)| *meant)
        };
        let artifacts = Some("oci_artifacts.ArtifactsClient");
        assert_eq!(found("oci_artifact.ArtifactsClient"), artifacts);
        assert_eq!(found("oci_artifacts.artifactsclient"), artifacts);
        assert_eq!(found("oci_artifacts.ContainerClient"), artifacts);
        assert_eq!(found("ArtifactsClient"), None);
        let storage = Some("oci_object_storage.ObjectStorageClient");
        assert_eq!(found("oci_objectstorage.ObjectStorageClient"), storage);
        for right in [
            "oci_artifacts.ArtifactsClient",
            "oci_core.ComputeClient",
            "oci_identity_domains.IdentityDomainsClient",
            "",
        ] {
            assert_eq!(found(right), None, "{right}");
        }
    }

    /// A broken entry is named, without a password that may stand in it.
    #[test]
    fn broken_host_overrides() {
        let messages: Vec<String> = [
            "oci_identity.IdentityClient",
            "oci_artifacts.ArtifactsClient=https://a.example;oci_identity.IdentityClient=",
            "oci_identity.IdentityClient=ftp://identity.example",
            "oci_identity.IdentityClient=https://me:secret@identity.example",
            "oci_identity.IdentityClient=https://identity.example?key=secret",
        ]
        .into_iter()
        .map(|text| match parse_host_overrides(text) {
            Ok(read) => format!("accepted: {read:?}"),
            Err(error) => error.to_string(),
        })
        .collect();
        expect![[r#"
            CLIENT_HOST_OVERRIDES has the entry "oci_identity.IdentityClient", and an entry has to be a client and its address: oci_identity.IdentityClient=https://identity.example
            oci_identity.IdentityClient in CLIENT_HOST_OVERRIDES: "https://" is no address of a service: empty host
            oci_identity.IdentityClient in CLIENT_HOST_OVERRIDES: "ftp://identity.example" is no address of a service: it has to begin with https:// or http://
            oci_identity.IdentityClient in CLIENT_HOST_OVERRIDES: "identity.example" is no address of a service: it must not have a user name or a password
            oci_identity.IdentityClient in CLIENT_HOST_OVERRIDES: "https://identity.example" is no address of a service: it must not have a query or a fragment"#]].assert_eq(&messages.join("\n"));
    }

    proptest::proptest! {
        /// Whatever the overrides say, each that is taken is an address of HTTP without a user.
        #[test]
        fn any_overrides(text in crate::spoilt::text(&[
            "oci_identity.IdentityClient=https://identity.example; oci_artifacts.ArtifactsClient = 127.0.0.1:1/x;",
            "oci_object_storage.ObjectStorageClient=https://user:hunter2hunter2@h/?x#y",
        ])) {
            match parse_host_overrides(&text) {
                Ok(overrides) => {
                    for address in overrides.values() {
                        let url = parse_address(address);
                        let url = url.map_err(|error| proptest::test_runner::TestCaseError::fail(error.to_string()))?;
                        proptest::prop_assert!(["http", "https"].contains(&url.scheme()) && url.username().is_empty());
                    }
                }
                Err(error) => proptest::prop_assert!(error.to_string().len() < 2 * text.len() + 500),
            }
        }
    }
}
