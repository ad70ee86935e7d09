//! What a host says in the environment, and the line that answers it.

use std::{ops::RangeInclusive, path::PathBuf};

use base64::Engine;
use rustls_pki_types::{CertificateDer, pem::PemObject};

use super::Lookup;

/// What makes a plugin this plugin.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// The name of the program.
    pub name: &'static str,
    /// The programs that start it, as a person knows them.
    pub hosts: &'static str,
    /// The variable, and the value it has when a host starts the plugin. Not a
    /// secret: it only tells a host from a person.
    pub cookie: (&'static str, &'static str),
    /// Protocol versions that the service speaks.
    pub versions: &'static [u32],
}

/// Why a plugin does not serve. The text is for the person who started it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address could not be bound or prepared.
    #[error("cannot listen on {address}")]
    Bind {
        /// Path or port range.
        address: String,
        /// Why.
        source: std::io::Error,
    },
    /// A variable of the host holds something unexpected.
    #[error("the host set {variable} to something unexpected: {reason}")]
    Environment {
        /// Its name.
        variable: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A person started the plugin.
    #[error(
        "{name} is a plugin: {hosts} start it by themselves, and it does nothing when it is \
         started by hand.\n\nTo attach it to a debugger, start it with:\n\n    {name} --debug"
    )]
    NotAHost {
        /// The name of the program.
        name: &'static str,
        /// The programs that start it.
        hosts: &'static str,
    },
    /// The operating system refused something.
    #[error("cannot {what}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The certificate could not be made, or the host's is unusable.
    #[error("cannot set up mutual TLS")]
    Tls(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Host and plugin have no protocol version in common.
    #[error(
        "{name} speaks plugin protocol {ours}, but the program that started it offers only \
         {theirs}. Use a newer version of {hosts}"
    )]
    Version {
        /// The name of the program.
        name: &'static str,
        /// The programs that start it.
        hosts: &'static str,
        /// Versions of the plugin.
        ours: String,
        /// Versions of the host.
        theirs: String,
    },
}

/// What the host wants.
#[derive(Debug)]
pub(super) struct Host {
    /// The newest protocol version that both speak.
    pub(super) version: u32,
    /// The only certificate that may connect; none: without TLS.
    pub(super) certificate: Option<CertificateDer<'static>>,
    /// Where to listen.
    pub(super) place: Place,
    /// Whether the host understands a seventh part of the line.
    pub(super) multiplex: bool,
}

/// Where to listen.
#[derive(Clone, Debug)]
#[cfg_attr(not(unix), expect(dead_code, reason = "only for unix sockets"))]
pub(super) struct Place {
    /// The folder of the unix socket; none: the folder for temporary files.
    pub(super) dir: Option<PathBuf>,
    /// The group that may use the unix socket, by name or number.
    pub(super) group: Option<String>,
    /// The ports to try where there are no unix sockets.
    #[cfg_attr(
        unix,
        expect(dead_code, reason = "only for systems without unix sockets")
    )]
    pub(super) ports: RangeInclusive<u16>,
}

impl Host {
    /// Reads what the host says.
    pub(super) fn read(config: &Config, env: Lookup) -> Result<Self, Error> {
        let (cookie, value) = config.cookie;
        if env(cookie).as_deref() != Some(value) {
            return Err(Error::NotAHost {
                name: config.name,
                hosts: config.hosts,
            });
        }
        Ok(Self {
            version: negotiate(config, env("PLUGIN_PROTOCOL_VERSIONS").as_deref())?,
            certificate: said(env, "PLUGIN_CLIENT_CERT")
                .map(|pem| certificate(&pem))
                .transpose()?,
            place: Place::read(env)?,
            multiplex: said(env, "PLUGIN_MULTIPLEX_GRPC").is_some(),
        })
    }
}

impl Place {
    /// Reads where to listen.
    pub(super) fn read(env: Lookup) -> Result<Self, Error> {
        let port = |variable, default| match said(env, variable) {
            None => Ok(default),
            Some(text) => text.parse().map_err(|_| Error::Environment {
                variable,
                reason: format!("\"{text}\" is not a port"),
            }),
        };
        Ok(Self {
            dir: said(env, "PLUGIN_UNIX_SOCKET_DIR").map(PathBuf::from),
            group: said(env, "PLUGIN_UNIX_SOCKET_GROUP"),
            ports: port("PLUGIN_MIN_PORT", 10_000)?..=port("PLUGIN_MAX_PORT", 25_000)?,
        })
    }
}

/// The line that tells the host how to connect, without its end.
///
/// Version 1 is that of the line itself. Older hosts count the parts, so the
/// seventh (whether the broker multiplexes: no) is there only when asked for.
pub(super) fn line(
    host: &Host,
    network: &str,
    address: &str,
    certificate: Option<&CertificateDer>,
) -> String {
    let certificate = certificate
        .map(|der| base64::engine::general_purpose::STANDARD_NO_PAD.encode(der))
        .unwrap_or_default();
    let seventh = if host.multiplex { "|false" } else { "" };
    format!(
        "1|{}|{network}|{address}|grpc|{certificate}{seventh}",
        host.version
    )
}

fn said(env: Lookup, variable: &str) -> Option<String> {
    env(variable).filter(|value| !value.is_empty())
}

/// Hosts from before negotiation say nothing and take what they get.
fn negotiate(config: &Config, theirs: Option<&str>) -> Result<u32, Error> {
    let common = config
        .versions
        .iter()
        .filter(|ours| match theirs {
            None | Some("") => true,
            Some(theirs) => theirs
                .split(',')
                .any(|version| version.trim().parse() == Ok(**ours)),
        })
        .max();
    common.copied().ok_or_else(|| Error::Version {
        name: config.name,
        hosts: config.hosts,
        ours: config
            .versions
            .iter()
            .map(u32::to_string)
            .collect::<Vec<_>>()
            .join(", "),
        theirs: theirs.unwrap_or_default().to_owned(),
    })
}

fn certificate(pem: &str) -> Result<CertificateDer<'static>, Error> {
    CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| Error::Environment {
        variable: "PLUGIN_CLIENT_CERT",
        reason: "it is not a certificate in PEM form".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    const CONFIG: Config = Config {
        name: "terraform-provider-example",
        hosts: "Terraform and OpenTofu",
        cookie: ("COOKIE", "yes"),
        versions: &[6],
    };

    #[track_caller]
    fn read(variables: &[(&str, &str)]) -> Result<Host, Error> {
        Host::read(&CONFIG, &|name| {
            let found = variables.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    /// Started from a shell, the program says what it is.
    #[test]
    fn a_person_gets_an_explanation() {
        let error = read(&[("COOKIE", "no")]).unwrap_err();
        expect![[r#"
            terraform-provider-example is a plugin: Terraform and OpenTofu start it by themselves, and it does nothing when it is started by hand.

            To attach it to a debugger, start it with:

                terraform-provider-example --debug"#]]
        .assert_eq(&error.to_string());
    }

    /// Hosts list their versions in any order.
    #[test]
    fn versions_are_negotiated() {
        for theirs in ["5,6", "6,5", " 6 ", ""] {
            let host = read(&[("COOKIE", "yes"), ("PLUGIN_PROTOCOL_VERSIONS", theirs)]);
            assert_eq!(host.unwrap().version, 6, "{theirs:?}");
        }
        let error = read(&[("COOKIE", "yes"), ("PLUGIN_PROTOCOL_VERSIONS", "4,5")]).unwrap_err();
        expect!["terraform-provider-example speaks plugin protocol 6, but the program that started it offers only 4,5. Use a newer version of Terraform and OpenTofu"]
            .assert_eq(&error.to_string());
    }

    /// A certificate that is none must not lead to a server without TLS.
    #[test]
    fn a_broken_certificate_is_refused() {
        let error = read(&[("COOKIE", "yes"), ("PLUGIN_CLIENT_CERT", "nonsense")]).unwrap_err();
        expect!["the host set PLUGIN_CLIENT_CERT to something unexpected: it is not a certificate in PEM form"]
            .assert_eq(&error.to_string());
        let error = read(&[("COOKIE", "yes"), ("PLUGIN_MIN_PORT", "70000")]).unwrap_err();
        expect![[r#"the host set PLUGIN_MIN_PORT to something unexpected: "70000" is not a port"#]]
            .assert_eq(&error.to_string());
    }

    /// Six parts, the last one empty without TLS; a seventh only when asked for.
    #[test]
    fn the_line_has_the_parts_that_the_host_counts() {
        let host = read(&[("COOKIE", "yes")]).unwrap();
        expect!["1|6|unix|/tmp/x|grpc|"].assert_eq(&line(&host, "unix", "/tmp/x", None));

        let host = read(&[("COOKIE", "yes"), ("PLUGIN_MULTIPLEX_GRPC", "true")]).unwrap();
        let certificate = CertificateDer::from(vec![1, 2, 3, 4]);
        expect!["1|6|unix|/tmp/x|grpc|AQIDBA|false"].assert_eq(&line(
            &host,
            "unix",
            "/tmp/x",
            Some(&certificate),
        ));
    }

    proptest::proptest! {
        /// Whatever a host sets: there is a version that both speak and a place to listen, or an
        /// error. A certificate that was set is never left out.
        #[test]
        fn any_environment(
            // Most hosts say what is usual, so that what is odd elsewhere is looked at.
            versions in proptest::option::weighted(0.3, crate::spoilt::text(&["5,6", " 6 ", "6,6,4294967302"])),
            port in proptest::option::weighted(0.3, crate::spoilt::text(&["10000", "65535", "0"])),
            pem in proptest::option::of(crate::spoilt::text(&["nonsense", include_str!("../../tests/fixtures/instance-certificate.pem")])),
        ) {
            let mut variables = vec![
                ("COOKIE", "yes"),
                ("PLUGIN_PROTOCOL_VERSIONS", versions.as_deref().unwrap_or("5,6")),
                ("PLUGIN_MAX_PORT", port.as_deref().unwrap_or("25000")),
            ];
            variables.extend(pem.as_deref().map(|pem| ("PLUGIN_CLIENT_CERT", pem)));
            match read(&variables) {
                Ok(host) => {
                    proptest::prop_assert_eq!(host.version, 6);
                    let is_set = pem.is_some_and(|pem| !pem.is_empty());
                    proptest::prop_assert_eq!(host.certificate.is_some(), is_set);
                    let line = line(&host, "unix", "/tmp/x", host.certificate.as_ref());
                    proptest::prop_assert!(line.split('|').count() == 6 && !line.contains('\n'));
                }
                Err(error) => proptest::prop_assert!(!error.to_string().contains("BEGIN CERTIFICATE")),
            }
        }
    }
}
