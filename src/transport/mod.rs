//! How HTTP is spoken: the client's construction and the retry policy. Knows
//! neither Oracle nor registries.
//!
//! A client costs next to nothing until it connects: the system's certificates
//! are read at the first TLS handshake (Terraform starts a provider several
//! times for one plan, mostly to be told that there is nothing to do), and a
//! machine without certificates can still speak plain HTTP to an emulator.

mod page;
mod proxy;
mod retry;
mod scrub;
mod tls;

use std::time::Duration;

pub use page::{excerpt, words};
pub use retry::{
    Again, Progress, RetryPolicy, Stopped, Verdict, is_transient_status, repeat, retry, retry_after,
};
pub use scrub::Secrets;
pub use tls::is_certificate_error;

/// What a client is built from.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// PEM certificates to trust beside the system's.
    pub ca_certificates: Option<Vec<u8>>,
    /// Trust nothing but `ca_certificates`: a cluster's own authority.
    pub only_these: bool,
    /// Never through a proxy: a link-local address, a cluster's own service.
    pub direct: bool,
    /// Instead of [`CONNECT_TIMEOUT`]: for an address that may not exist.
    pub connect_timeout: Option<Duration>,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The PEM text of the extra certificates.
    #[error("cannot read the CA certificates: {0}")]
    Certificates(String),
    /// The HTTP library.
    #[error("cannot set up HTTP")]
    Client(#[source] reqwest::Error),
    /// A variable that names a proxy. Its value may hold a password and is not shown.
    #[error("the environment variable {variable} is no address of a proxy")]
    Proxy {
        /// Name of the variable.
        variable: &'static str,
    },
    /// The TLS library.
    #[error("cannot set up TLS")]
    Tls(#[source] rustls::Error),
}

/// Host of an address and, when it is not the default one, port: what its Host
/// header says.
pub fn authority(url: &url::Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// A client with our time-outs, no redirects followed, HTTP/1.1 only, and the
/// environment's proxies, which are not asked for loopback addresses.
///
/// Connecting may take [`CONNECT_TIMEOUT`] if the options say no other; there is no time-out in total.
/// Neither is there one for reading: the library's own starts when a request
/// begins and covers the sending of its body, so it would end every upload
/// that takes longer. Whoever sends a request bounds the wait for its answer,
/// with [`READ_TIMEOUT`]. A peer that is gone is noticed below HTTP.
pub fn http_client(options: &Options) -> Result<reqwest::Client, Error> {
    client(options, |name| std::env::var(name).ok())
}

/// How long a connection may take, TLS included.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a peer may be silent when it is its turn.
pub const READ_TIMEOUT: Duration = Duration::from_secs(60);

fn client(
    options: &Options,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<reqwest::Client, Error> {
    let mut builder = reqwest::Client::builder()
        .user_agent(USER_AGENT)
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .http1_only()
        // What is sent again is decided here, and signed anew.
        .retry(reqwest::retry::never())
        .connect_timeout(options.connect_timeout.unwrap_or(CONNECT_TIMEOUT))
        .pool_idle_timeout(Duration::from_secs(30))
        .tcp_keepalive(Duration::from_secs(30))
        .tcp_keepalive_interval(Duration::from_secs(10))
        .tcp_keepalive_retries(3)
        .tls_backend_preconfigured(tls::config(options)?)
        .no_proxy();
    #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
    {
        builder = builder.tcp_user_timeout(READ_TIMEOUT);
    }
    if !options.direct {
        for proxy in proxy::from_environment(variable)? {
            builder = builder.proxy(proxy);
        }
    }
    builder.build().map_err(Error::Client)
}

const USER_AGENT: &str = concat!("terraform-provider-ocir/", env!("CARGO_PKG_VERSION"));

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    /// Answers one request and gives its head back.
    async fn serve_one(listener: TcpListener, answer: &str) -> anyhow::Result<String> {
        let (mut stream, _) = listener.accept().await?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        stream.write_all(answer.as_bytes()).await?;
        Ok(String::from_utf8(head)?)
    }

    /// A redirect is an answer like any other, and the server learns who asks.
    #[tokio::test]
    async fn redirects_are_not_followed() -> anyhow::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let client = http_client(&Options::default())?;
        let url = format!("http://{address}/here");
        let (answer, head) = tokio::join!(
            client.get(url).send(),
            serve_one(
                listener,
                "HTTP/1.1 302 Found\r\nlocation: /there\r\ncontent-length: 0\r\n\r\n"
            ),
        );
        assert_eq!(answer?.status(), 302);
        let head = head?;
        let first = head.lines().next().unwrap_or_default();
        expect!["GET /here HTTP/1.1"].assert_eq(first);
        assert!(
            head.contains(&format!("user-agent: {USER_AGENT}\r\n")),
            "{head}"
        );
        Ok(())
    }

    /// The proxy of the environment is asked for hosts elsewhere, and left
    /// alone for loopback, where emulators and tests are.
    #[tokio::test]
    async fn proxy_is_for_hosts_elsewhere() -> anyhow::Result<()> {
        let proxy = TcpListener::bind("127.0.0.1:0").await?;
        let direct = TcpListener::bind("127.0.0.1:0").await?;
        let address = proxy.local_addr()?;
        let client = client(&Options::default(), |name| {
            (name == "http_proxy").then(|| format!("http://user:secret@{address}"))
        })?;
        let ok = "HTTP/1.1 204 No Content\r\n\r\n";

        let (answer, head) = tokio::join!(
            client.get("http://registry.example/v2/").send(),
            serve_one(proxy, ok),
        );
        assert_eq!(answer?.status(), 204);
        let head = head?;
        assert!(
            head.starts_with("GET http://registry.example/v2/ HTTP/1.1\r\n"),
            "{head}"
        );
        assert!(head.contains("proxy-authorization: Basic "), "{head}");

        let url = format!("http://{}/v2/", direct.local_addr()?);
        let (answer, head) = tokio::join!(client.get(url).send(), serve_one(direct, ok));
        assert_eq!(answer?.status(), 204);
        assert!(head?.starts_with("GET /v2/ HTTP/1.1\r\n"));
        Ok(())
    }

    /// Who wants no proxy gets none, be it one that is no address.
    #[tokio::test]
    async fn direct_client_asks_no_proxy() -> anyhow::Result<()> {
        let proxy = TcpListener::bind("127.0.0.1:0").await?;
        let direct = TcpListener::bind("127.0.0.1:0").await?;
        let address = proxy.local_addr()?;
        // This machine, by an address that is not among the exceptions.
        let url = format!("http://0.0.0.0:{}/v2/", direct.local_addr()?.port());
        let variable = |name: &str| match name {
            "http_proxy" => Some(format!("http://{address}")),
            "HTTPS_PROXY" => Some("http://user@[::".to_owned()),
            _ => None,
        };
        let options = Options {
            direct: true,
            ..Options::default()
        };
        let client = client(&options, variable)?;
        let ok = "HTTP/1.1 204 No Content\r\n\r\n";
        tokio::select! {
            biased;
            _ = proxy.accept() => anyhow::bail!("the proxy was asked"),
            (answer, head) = async {
                tokio::join!(client.get(&url).send(), serve_one(direct, ok))
            } => {
                assert_eq!(answer?.status(), 204);
                assert!(head?.starts_with("GET /v2/ HTTP/1.1\r\n"));
            }
        }
        Ok(())
    }

    /// Connecting to an address where nothing is ends when it is said to.
    #[tokio::test]
    async fn connecting_is_bounded() -> anyhow::Result<()> {
        // A backlog of one that is full: the system drops what comes then.
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.bind("127.0.0.1:0".parse()?)?;
        let listener = socket.listen(1)?;
        let address = listener.local_addr()?;
        let mut fillers = tokio::task::JoinSet::new();
        for _ in 0..8 {
            fillers.spawn(tokio::net::TcpStream::connect(address));
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        let client = http_client(&Options {
            connect_timeout: Some(std::time::Duration::from_millis(300)),
            ..Options::default()
        })?;
        let start = std::time::Instant::now();
        let error = client.get(format!("http://{address}/")).send().await;
        let error = error
            .err()
            .ok_or_else(|| anyhow::anyhow!("somebody answered"))?;
        assert!(error.is_connect() && error.is_timeout(), "{error:?}");
        assert!(start.elapsed() < CONNECT_TIMEOUT / 2);
        Ok(())
    }

    /// A proxy that is no address is an error that does not show its password.
    #[test]
    fn wrong_proxy_is_named() {
        let error = client(&Options::default(), |name| {
            (name == "HTTPS_PROXY").then(|| "http://user:secret@[::".to_owned())
        })
        .err()
        .map(|error| format!("{error} {error:?}"));
        expect![[r#"Some("the environment variable HTTPS_PROXY is no address of a proxy Proxy { variable: \"HTTPS_PROXY\" }")"#]]
            .assert_eq(&format!("{error:?}"));
    }
}
