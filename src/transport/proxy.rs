//! The environment's proxies.

use reqwest::{NoProxy, Proxy};

use super::Error;

/// The proxies that the usual variables name. Loopback is reached without
/// one, as most tools but the HTTP library have it.
pub(super) fn from_environment(
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Vec<Proxy>, Error> {
    let first = |names: &[&'static str]| {
        names.iter().find_map(|name| {
            let value = variable(name)?;
            let value = value.trim();
            (!value.is_empty()).then(|| (*name, value.to_owned()))
        })
    };
    let exceptions = first(&["no_proxy", "NO_PROXY"]).map_or_else(String::new, |(_, list)| list);
    let exceptions = NoProxy::from_string(&format!("{LOOPBACK},{exceptions}"));
    let mut proxies = Vec::new();
    // `HTTP_PROXY` in capitals is not read for plain HTTP: to a program that a
    // web server starts, it is a header of the request.
    let families: [(&[&'static str], Constructor); 3] = [
        (&["http_proxy"], Proxy::http),
        (&["https_proxy", "HTTPS_PROXY"], Proxy::https),
        (&["all_proxy", "ALL_PROXY"], Proxy::all),
    ];
    for (names, constructor) in families {
        if let Some((name, address)) = first(names) {
            let proxy = constructor(address).map_err(|_| Error::Proxy { variable: name })?;
            proxies.push(proxy.no_proxy(exceptions.clone()));
        }
    }
    Ok(proxies)
}

type Constructor = fn(String) -> reqwest::Result<Proxy>;

const LOOPBACK: &str = "localhost,127.0.0.0/8,::1";

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        /// Whatever the variables say, there are proxies or an error that names the variable and
        /// not its value, which may hold a password.
        #[test]
        fn any_environment(
            address in crate::spoilt::text(&[
                "http://user:hunter2hunter2@proxy.example:3128", "socks5://127.0.0.1:1080", "proxy.example",
            ]),
            exceptions in crate::spoilt::text(&["localhost,.example.com,10.0.0.0/8,[::1],*", "::1/129,10.0.0.0/99"]),
        ) {
            let found = from_environment(|name| {
                match name {
                    "no_proxy" | "NO_PROXY" => Some(exceptions.clone()),
                    "https_proxy" | "http_proxy" | "all_proxy" => Some(address.clone()),
                    _ => None,
                }
            });
            if let Err(error) = found {
                proptest::prop_assert!(!format!("{error} {error:?}").contains("hunter2"), "{}", error);
            }
        }
    }
}
