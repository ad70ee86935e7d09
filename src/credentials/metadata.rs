//! The metadata service of an instance.
//!
//! <https://docs.oracle.com/en-us/iaas/Content/Compute/Tasks/gettingmetadata.htm>
//!
//! It is at a link-local address, which other clouds use too, and which leads
//! nowhere on a laptop. It is never asked through a proxy.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::stream::{FuturesUnordered, StreamExt};
use http::{HeaderMap, HeaderValue, Method, header};
use url::Url;

use super::{
    Environment, Error, ExchangeError, Network,
    exchange::{Answer, Ask, Channel, Failure},
};
use crate::{
    region::{Directory, Region},
    transport::{self, Again, RetryPolicy},
};

/// A client of the metadata service; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Metadata {
    channel: Channel,
    /// Where it may be.
    bases: Arc<[Url]>,
    /// Which of them answered last.
    preferred: Arc<AtomicUsize>,
    /// Where the environment says that the federation service is.
    pub(super) federation: Option<Url>,
}

impl Metadata {
    /// Contacts nobody.
    pub(super) fn new(environment: &Environment, network: &Network) -> Result<Self, Error> {
        let bases = match environment.get(BASE_URL) {
            Some(_) => vec![address(environment, BASE_URL)?],
            None => USUAL_BASES
                .iter()
                .map(|base| Url::parse(base).expect("both are addresses, as a test checks"))
                .collect(),
        };
        let federation = FEDERATION_URLS
            .into_iter()
            .find(|name| environment.get(name).is_some())
            .map(|name| address(environment, name))
            .transpose()?;
        let options = transport::Options {
            direct: true,
            connect_timeout: Some(CONNECT_TIMEOUT),
            ..network.http.clone()
        };
        let retry = RetryPolicy {
            max_attempts: network.retry.max_attempts.min(8),
            max_elapsed: network.retry.max_elapsed.min(Duration::from_secs(180)),
            ..network.retry.clone()
        };
        Ok(Self {
            channel: Channel::new(&options, &retry).map_err(|source| ExchangeError::Http {
                wanted: "the instance's metadata",
                source,
            })?,
            bases: bases.into(),
            preferred: Arc::default(),
            federation,
        })
    }

    /// Whether there is one: asked once, with a short time-out, so that it
    /// costs a laptop next to nothing. `Err` holds why not, for the log and for
    /// the message that lists what was tried.
    pub(super) async fn probe(&self) -> Result<(), String> {
        // Both families at the same time.
        let mut probes: FuturesUnordered<_> = (0..self.bases.len())
            .map(|index| async move { (index, self.probe_base(index).await) })
            .collect();
        let mut reasons = vec![None; self.bases.len()];
        let answered = async {
            while let Some((index, outcome)) = probes.next().await {
                match outcome {
                    Ok(()) => return Some(index),
                    Err(reason) => reasons[index] = Some(reason),
                }
            }
            None
        };
        if let Ok(Some(index)) = tokio::time::timeout(PROBE_TIMEOUT, answered).await {
            self.preferred.store(index, Ordering::Relaxed);
            return Ok(());
        }
        Err(reasons.swap_remove(0).unwrap_or_else(|| {
            format!(
                "no answer from {} within {} seconds",
                crate::transport::authority(&self.bases[0]),
                PROBE_TIMEOUT.as_secs()
            )
        }))
    }

    async fn probe_base(&self, index: usize) -> Result<(), String> {
        let failure = match self.once(index, "/instance/region", REGION).await {
            Ok(answer) if region_text(&answer).is_ok() => return Ok(()),
            Ok(_) => return Err(self.other_cloud(index, "with no region")),
            Err(failure) => failure.error,
        };
        Err(match &failure {
            ExchangeError::Refused { status, .. } => self.other_cloud(index, &status.to_string()),
            ExchangeError::NoAnswer { host, reason, .. } => {
                format!("no answer from {host} ({reason})")
            }
            other => other.to_string(),
        })
    }

    fn other_cloud(&self, index: usize, how: &str) -> String {
        format!(
            "{} answered {how}, not as the metadata service of Oracle's instances does",
            crate::transport::authority(&self.bases[index])
        )
    }

    /// The region that the instance is in, which may be newer than our table.
    pub(super) async fn region(&self, regions: &Directory) -> Result<Region, Error> {
        match self
            .get("/instance/regionInfo", REGION, Missing::Final)
            .await
        {
            Ok(answer) => {
                if let Some(region) = described_region(&answer.body) {
                    return Ok(region);
                }
            }
            // Older than this path.
            Err(error) if error.status() == Some(404) => {}
            Err(error) => return Err(error.into()),
        }
        let answer = self.get("/instance/region", REGION, Missing::Again).await?;
        let region = regions.find(&region_text(&answer)?);
        region.map_err(|unknown| Error::UnknownRegion {
            named_by: "the instance's metadata service".to_owned(),
            unknown,
        })
    }

    /// The instance's certificate, PEM.
    pub(super) async fn certificate(&self) -> Result<String, ExchangeError> {
        self.text("/identity/cert.pem", "the certificate of this instance")
            .await
    }

    /// The private key of that certificate, PEM. A secret.
    pub(super) async fn key(&self) -> Result<String, ExchangeError> {
        self.text("/identity/key.pem", "the private key of this instance")
            .await
    }

    /// Who vouches for the certificate, PEM.
    pub(super) async fn intermediate(&self) -> Result<String, ExchangeError> {
        let wanted = "the certificate of this instance's authority";
        self.text("/identity/intermediate.pem", wanted).await
    }

    async fn text(&self, path: &str, wanted: &'static str) -> Result<String, ExchangeError> {
        let answer = self.get(path, wanted, Missing::Again).await?;
        String::from_utf8(answer.body.to_vec()).map_err(|_| answer.unreadable("is no text"))
    }

    async fn get(
        &self,
        path: &str,
        wanted: &'static str,
        missing: Missing,
    ) -> Result<Answer, ExchangeError> {
        self.channel
            .repeat("GetMetadata", |number| async move {
                self.anywhere(path, wanted)
                    .await
                    .map_err(|failure| judged(failure, number, missing))
            })
            .await
    }

    /// At the address that answered last, or else at the other one.
    async fn anywhere(&self, path: &str, wanted: &'static str) -> Result<Answer, Failure> {
        let preferred = self.preferred.load(Ordering::Relaxed);
        let first = match self.once(preferred, path, wanted).await {
            Err(failure) if failure.unreachable => failure,
            outcome => return outcome,
        };
        for index in (0..self.bases.len()).filter(|index| *index != preferred) {
            match self.once(index, path, wanted).await {
                Err(failure) if failure.unreachable => {}
                outcome => {
                    self.preferred.store(index, Ordering::Relaxed);
                    return outcome;
                }
            }
        }
        Err(first)
    }

    async fn once(
        &self,
        index: usize,
        path: &str,
        wanted: &'static str,
    ) -> Result<Answer, Failure> {
        let mut url = self.bases[index].clone();
        url.set_path(&format!("{}{path}", url.path().trim_end_matches('/')));
        let ask = Ask {
            operation: "GetMetadata",
            wanted,
            method: Method::GET,
            url: &url,
            body: None,
            headers: &|_| {
                let token = HeaderValue::from_static("Bearer Oracle");
                Ok(HeaderMap::from_iter([(header::AUTHORIZATION, token)]))
            },
            secrets: &[],
            advice,
            timeout: TIMEOUT,
        };
        self.channel.once(&ask).await
    }
}

/// What a 404 means.
#[derive(Clone, Copy)]
enum Missing {
    /// Not there yet: certificates and the region appear while an instance boots.
    Again,
    /// Not there.
    Final,
}

/// Whether there is another attempt, which a young instance gets more of.
fn judged(mut failure: Failure, number: u32, missing: Missing) -> Failure {
    match (&failure.error, missing) {
        (ExchangeError::Refused { status: 404, .. }, Missing::Again) => {
            failure.again = Some(Again {
                reason: "status 404".to_owned(),
                after: None,
            });
        }
        // Where nobody listens nobody will: this is no instance.
        (ExchangeError::NoAnswer { .. }, _) if number >= CONNECTIONS => failure.again = None,
        _ => {}
    }
    failure
}

fn advice(status: u16, _: &str) -> &'static str {
    match status {
        0 => {
            "only compute instances of Oracle's cloud have a metadata service; elsewhere, choose another way to sign in with auth"
        }
        401 | 403 => {
            "the metadata service answers the instance itself only, and not through a proxy"
        }
        404 => "this instance has none; the metadata service of version 2 has to be enabled",
        _ => "",
    }
}

/// An address from the environment that paths can be appended to.
fn address(environment: &Environment, name: &str) -> Result<Url, ExchangeError> {
    let value = environment.get(name).unwrap_or_default();
    Url::parse(value.trim())
        .ok()
        .filter(|url| ["http", "https"].contains(&url.scheme()) && url.has_host())
        .ok_or_else(|| {
            ExchangeError::Setting(format!(
                "{name} is no address that begins with http:// or https://; correct it, or unset it"
            ))
        })
}

/// `/instance/region`: an identifier or a key, and nothing that is longer, such
/// as a page for signing in to a network.
fn region_text(answer: &Answer) -> Result<String, ExchangeError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
    std::str::from_utf8(&answer.body)
        .ok()
        .map(str::trim)
        .filter(|text| (1..=64).contains(&text.len()) && text.bytes().all(plain))
        .map(str::to_owned)
        .ok_or_else(|| answer.unreadable("is no region"))
}

/// `/instance/regionInfo`, when it says all that there is to a region. What it says becomes
/// host names that are sent signatures.
fn described_region(body: &[u8]) -> Option<Region> {
    Region::described(&serde_json::from_slice(body).ok()?).ok()
}

const BASE_URL: &str = "OCI_METADATA_BASE_URL";

/// IPv6 is for instances without IPv4.
const USUAL_BASES: [&str; 2] = [
    "http://169.254.169.254/opc/v2",
    "http://[fd00:c1::a9fe:a9fe]/opc/v2",
];

/// Oracle's CLI and Go SDK.
const FEDERATION_URLS: [&str; 2] = [
    "OCI_CLI_FEDERATION_ENDPOINT",
    "OCI_SDK_AUTH_CLIENT_REGION_URL",
];

/// For messages.
const REGION: &str = "the region of this instance";

/// One hop away.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

const TIMEOUT: Duration = Duration::from_secs(10);

const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// How often a connection is tried.
const CONNECTIONS: u32 = 3;

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;
    use tokio::net::TcpListener;

    use super::*;
    use crate::{
        credentials::exchange::testing::{
            Server, Turn, answer, answered, environment, network, text,
        },
        emulator::Emulator,
    };

    fn at(base: &str) -> Result<Metadata, Error> {
        let variables = [(BASE_URL.to_owned(), base.to_owned())];
        Metadata::new(&environment(variables.into()), &network(None))
    }

    /// One that may be at several addresses.
    fn at_one_of(bases: &[&str]) -> anyhow::Result<Metadata> {
        let bases: Result<Vec<Url>, _> = bases.iter().map(|base| Url::parse(base)).collect();
        Ok(Metadata {
            bases: bases?.into(),
            ..at("http://127.0.0.1")?
        })
    }

    /// An address where nobody listens.
    async fn nowhere() -> anyhow::Result<String> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        Ok(format!("http://{}", listener.local_addr()?))
    }

    /// An address where connecting takes for ever: the queue is full.
    async fn unreachable() -> anyhow::Result<(String, TcpListener, tokio::task::JoinSet<()>)> {
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.bind("127.0.0.1:0".parse()?)?;
        let listener = socket.listen(1)?;
        let address = listener.local_addr()?;
        let mut fillers = tokio::task::JoinSet::new();
        for _ in 0..8 {
            fillers.spawn(async move {
                let stream = tokio::net::TcpStream::connect(address).await;
                std::future::pending::<()>().await;
                drop(stream);
            });
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        Ok((format!("http://{address}"), listener, fillers))
    }

    /// The emulator's instance: it is there, says its region, and gives its
    /// certificates; with and without a slash at the end of the address.
    #[tokio::test]
    async fn emulated_instance() -> anyhow::Result<()> {
        let emulator = Emulator::builder().region("eu-frankfurt-1").start().await?;
        for end in ["", "/"] {
            let metadata = at(&format!("{}/opc/v2{end}", emulator.url()))?;
            assert_eq!(metadata.probe().await, Ok(()));
            let region = metadata.region(&Directory::default()).await?;
            assert_eq!(region, Region::parse("fra")?);
            assert!(metadata.certificate().await?.contains("BEGIN CERTIFICATE"));
            assert!(metadata.key().await?.contains("PRIVATE KEY"));
            assert!(metadata.intermediate().await?.contains("BEGIN CERTIFICATE"));
        }
        Ok(())
    }

    /// The request has the header without which nothing is answered, and goes
    /// below the path of the address.
    #[tokio::test]
    async fn what_is_sent() -> anyhow::Result<()> {
        let server = Server::start([answer(200, "fra")]).await?;
        let metadata = at(&format!("{}/base/", server.url))?;
        assert_eq!(metadata.probe().await, Ok(()));
        let requests = server.requests();
        let head = requests[0].to_ascii_lowercase();
        assert!(
            head.starts_with("get /base/instance/region http/1.1\r\n"),
            "{head}"
        );
        assert!(
            head.contains("\r\nauthorization: bearer oracle\r\n"),
            "{head}"
        );
        Ok(())
    }

    /// A region that is newer than our table is taken as the instance describes
    /// it, and one that it only names is looked up, by identifier or by key.
    #[tokio::test]
    async fn regions_described_and_named() -> anyhow::Result<()> {
        let described = json!({
            "realmKey": "OC99",
            "realmDomainComponent": "oraclecloud99.com",
            "regionKey": "XYZ",
            "regionIdentifier": "eu-somewhere-9",
        });
        let server = Server::start([answer(200, &described.to_string())]).await?;
        let region = at(&server.url)?.region(&Directory::default()).await?;
        expect![[r#"
            Region {
                identifier: "eu-somewhere-9",
                key: "xyz",
                realm: "oc99",
                second_level_domain: "oraclecloud99.com",
            }
        "#]]
        .assert_debug_eq(&region);

        for (info, name) in [
            (answer(404, ""), "FRA\n"),
            (answer(200, "{}"), "eu-frankfurt-1"),
            (answer(200, "<html>"), "fra"),
            // What would lead our signatures elsewhere.
            (
                answer(
                    200,
                    &described.to_string().replace("cloud99.com", "cloud99.com/"),
                ),
                "fra",
            ),
        ] {
            let server = Server::start([info, answer(200, name)]).await?;
            let region = at(&server.url)?.region(&Directory::default()).await?;
            assert_eq!(region.identifier, "eu-frankfurt-1");
            assert_eq!(server.requests().len(), 2);
        }

        let server = Server::start([answer(404, ""), answer(200, "mars-1")]).await?;
        let error = at(&server.url)?.region(&Directory::default()).await;
        let error = error.err().ok_or_else(|| anyhow::anyhow!("it is known"))?;
        expect![[r#"unknown region "mars-1": an identifier such as sa-saopaulo-1, or a key such as gru, is expected"#]]
            .assert_eq(&error.to_string());
        Ok(())
    }

    /// While an instance boots, things are missing for a moment; then for good.
    #[tokio::test]
    async fn missing_is_asked_for_again() -> anyhow::Result<()> {
        let turns = [answer(404, ""), answer(503, ""), answer(200, "PEM")];
        let server = Server::start(turns).await?;
        assert_eq!(at(&server.url)?.certificate().await?, "PEM");

        let server = Server::start([answer(404, "")]).await?;
        let error = at(&server.url)?.certificate().await;
        let error = error.err().ok_or_else(|| anyhow::anyhow!("it is there"))?;
        expect!["cannot get the certificate of this instance: HOST answered 404; this instance has none; the metadata service of version 2 has to be enabled"]
            .assert_eq(&text(&error, &[(&server.host, "HOST")]));
        assert_eq!(server.requests().len(), 8);
        Ok(())
    }

    /// An instance without IPv4 is asked over IPv6, and then at once; so is one
    /// whose IPv4 address takes packets and answers none.
    #[tokio::test]
    async fn the_other_address_is_tried() -> anyhow::Result<()> {
        let server = Server::start([answer(200, "PEM")]).await?;
        let nowhere = nowhere().await?;
        let metadata = at_one_of(&[&nowhere, &server.url])?;
        assert_eq!(metadata.certificate().await?, "PEM");
        assert_eq!(metadata.preferred.load(Ordering::Relaxed), 1);
        assert_eq!(metadata.clone().key().await?, "PEM");

        let (silent, _listener, _fillers) = unreachable().await?;
        let metadata = at_one_of(&[&silent, &server.url])?;
        let start = std::time::Instant::now();
        assert_eq!(metadata.certificate().await?, "PEM");
        assert!(start.elapsed() < Duration::from_secs(5));

        let metadata = at_one_of(&[&nowhere, &nowhere])?;
        let error = metadata.certificate().await;
        let error = error.err().ok_or_else(|| anyhow::anyhow!("it answered"))?;
        let host = nowhere.trim_start_matches("http://");
        expect!["cannot get the certificate of this instance: no answer from HOST (Connection refused (os error 111)); only compute instances of Oracle's cloud have a metadata service; elsewhere, choose another way to sign in with auth"]
            .assert_eq(&text(&error, &[(host, "HOST")]));
        Ok(())
    }

    /// A laptop, another cloud and a hotel's network are told apart from an
    /// instance, each within two seconds.
    #[tokio::test]
    async fn probe_says_why_not() -> anyhow::Result<()> {
        let reason = async |base: &str| -> anyhow::Result<String> {
            let start = std::time::Instant::now();
            let reason = at(base)?.probe().await;
            anyhow::ensure!(start.elapsed() < Duration::from_secs(4));
            let host = base.trim_start_matches("http://");
            Ok(reason.err().unwrap_or_default().replace(host, "HOST"))
        };
        expect!["no answer from HOST (Connection refused (os error 111))"]
            .assert_eq(&reason(&nowhere().await?).await?);
        let (silent, _listener, _fillers) = unreachable().await?;
        expect!["no answer from HOST (time-out)"].assert_eq(&reason(&silent).await?);
        let hanging = Server::start([Turn::Hang]).await?;
        expect!["no answer from HOST within 2 seconds"].assert_eq(&reason(&hanging.url).await?);
        let other = Server::start([answer(404, "<html>")]).await?;
        expect!["HOST answered 404, not as the metadata service of Oracle's instances does"]
            .assert_eq(&reason(&other.url).await?);
        assert_eq!(other.requests().len(), 1);
        let hotel = Server::start([answer(200, "<html>Welcome to our hotel")]).await?;
        expect![
            "HOST answered with no region, not as the metadata service of Oracle's instances does"
        ]
        .assert_eq(&reason(&hotel.url).await?);
        Ok(())
    }

    /// Both families are asked at once: the silence of one does not delay the other.
    #[tokio::test]
    async fn probe_asks_both_families() -> anyhow::Result<()> {
        let server = Server::start([answer(200, "fra")]).await?;
        let hanging = Server::start([Turn::Hang]).await?;
        let metadata = at_one_of(&[&hanging.url, &server.url])?;
        let start = std::time::Instant::now();
        assert_eq!(metadata.probe().await, Ok(()));
        assert!(start.elapsed() < Duration::from_secs(1));
        assert_eq!(metadata.preferred.load(Ordering::Relaxed), 1);
        Ok(())
    }

    /// Wrong addresses are found before anything is asked; no others are used.
    #[test]
    fn addresses() -> anyhow::Result<()> {
        for base in USUAL_BASES {
            Url::parse(base)?;
        }
        let usual = Metadata::new(&environment([].into()), &network(None))?;
        assert_eq!(usual.bases.len(), 2);
        assert_eq!(at("http://127.0.0.1:1/opc/v2")?.bases.len(), 1);
        let error = at("169.254.169.254/opc/v2")
            .err()
            .map(|error| error.to_string());
        expect!["OCI_METADATA_BASE_URL is no address that begins with http:// or https://; correct it, or unset it"]
            .assert_eq(&error.unwrap_or_default());
        Ok(())
    }

    proptest::proptest! {
        /// Whatever answers at the address of the metadata service, and whatever is said about
        /// where that is: what becomes a host's name can stand there.
        #[test]
        fn any_metadata(
            info in crate::spoilt::json([
                json!({"realmKey": "OC1", "realmDomainComponent": "oraclecloud.com", "regionKey": "FRA", "regionIdentifier": "eu-frankfurt-1"}),
                json!({"realmKey": "-", "realmDomainComponent": "a..b", "regionKey": ".", "regionIdentifier": "-"}),
            ]),
            text in crate::spoilt::bytes(["eu-frankfurt-1\n", "FRA", "a.b.example", "<html>Welcome"]),
            base in crate::spoilt::text(&["http://169.254.169.254/opc/v2", "https://[::1]:80/x?y", "file:///etc/passwd"]),
        ) {
            let is_label = |label: &str| {
                (1..64).contains(&label.len())
                    && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
                    && !label.starts_with('-')
                    && !label.ends_with('-')
            };
            for body in [info.to_string().into_bytes(), text] {
                let answer = answered(&body);
                let named = region_text(&answer);
                if let Ok(named) = &named {
                    proptest::prop_assert!((1..=64).contains(&named.len()));
                }
                let named = named.ok().and_then(|named| Directory::default().find(&named).ok());
                for region in named.into_iter().chain(described_region(&body)) {
                    let host = region.host(crate::region::Service::Auth);
                    proptest::prop_assert!(host.split('.').all(is_label), "{}", host);
                }
            }
            let environment = environment([(BASE_URL.to_owned(), base)].into());
            if let Ok(url) = address(&environment, BASE_URL) {
                proptest::prop_assert!(["http", "https"].contains(&url.scheme()) && url.has_host());
            }
        }
    }
}
