//! Where an answer sends us: `Location` and `Link` headers.

use reqwest::header::{HeaderMap, LOCATION};
use url::Url;

use crate::transport::authority;

/// The URL that `Location` means; the error continues "was redirected …".
pub(super) fn location(request: &Url, headers: &HeaderMap) -> Result<Url, String> {
    let value = headers.get(LOCATION).ok_or("without a Location")?;
    let text = value
        .to_str()
        .map_err(|_| "to a Location that is no text".to_owned())?;
    resolve(request, text)
}

/// Whether both URLs have scheme, host and port in common: credentials for the
/// one may be sent to the other.
pub(super) fn same_origin(one: &Url, other: &Url) -> bool {
    one.scheme() == other.scheme()
        && one.host() == other.host()
        && one.port_or_known_default() == other.port_or_known_default()
}

/// Resolves an absolute or relative location against the request it answers.
pub(super) fn resolve(request: &Url, location: &str) -> Result<Url, String> {
    let location = location.trim();
    if location.is_empty() {
        return Err("without a Location".into());
    }
    // Some registries forget the scheme: `registry.example/v2/…`.
    let without_scheme = location
        .strip_prefix(&authority(request))
        .is_some_and(|rest| rest.starts_with('/') || rest.starts_with(":443/"));
    let joined = if without_scheme {
        Url::parse(&format!("{}://{location}", request.scheme()))
    } else {
        request.join(location)
    };
    let mut url = joined.map_err(|_| "to a Location that is not a URL".to_owned())?;
    url.set_fragment(None);
    let shown = || format!("to {}://{}{}", url.scheme(), authority(&url), url.path());
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(format!("{}, which is not HTTP", shown()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(format!("{}, with a user name in it", shown()));
    }
    if request.scheme() == "https" && url.scheme() == "http" {
        if url.host() != request.host() {
            return Err(format!("{}, which is not encrypted", shown()));
        }
        // A registry behind a proxy that ends TLS takes itself for plain HTTP,
        // sometimes as `http://host:443`. The way we came is the way back.
        let fixed = url.set_scheme("https").is_ok() && url.set_port(request.port()).is_ok();
        if !fixed {
            return Err("to a Location that is not a URL".into());
        }
    }
    Ok(url)
}

/// The target of `Link: <…>; rel="next"`, as it stands there.
pub(super) fn next_link(headers: &HeaderMap) -> Option<String> {
    headers
        .get_all("link")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .find_map(|text| {
            let mut rest = text;
            while let Some(start) = rest.find('<') {
                let after = &rest[start + 1..];
                let end = after.find('>')?;
                let (target, parameters) = (&after[..end], &after[end + 1..]);
                // The next link's `<` ends these parameters.
                let own = &parameters[..parameters.find('<').unwrap_or(parameters.len())];
                let is_next = own.split([';', ',']).any(|parameter| {
                    parameter
                        .trim()
                        .split_once('=')
                        .is_some_and(|(key, value)| {
                            key.trim().eq_ignore_ascii_case("rel")
                                && value
                                    .trim()
                                    .trim_matches('"')
                                    .split(' ')
                                    .any(|relation| relation.eq_ignore_ascii_case("next"))
                        })
                });
                if is_next {
                    return Some(target.to_owned());
                }
                rest = parameters;
            }
            None
        })
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn resolved(request: &str, location: &str) -> String {
        match resolve(&Url::parse(request).unwrap(), location) {
            Ok(url) => url.to_string(),
            Err(problem) => format!("error: {problem}"),
        }
    }

    /// Locations as registries send them.
    #[test]
    fn locations_are_resolved() {
        let own = "https://r.example/v2/ns/web/blobs/uploads/";
        let results: Vec<String> = [
            (own, "/v2/ns/web/blobs/uploads/1?_state=a%3Db"),
            (own, "1?state=x"),
            (own, "https://r.example:443/v2/u/1"),
            (own, "http://r.example/v2/u/1"),
            (own, "http://r.example:443/v2/u/1"),
            (own, "r.example/v2/u/1"),
            (own, "r.example:443/v2/u/1"),
            (own, "//other.example/u#x"),
            (own, "https://storage.example/u?signature=secret"),
            (own, "http://storage.example/u?signature=secret"),
            (own, "ftp://r.example/u"),
            (own, "https://user@r.example/u"),
            (own, " "),
            ("https://r.example:8443/v2/", "http://r.example/v2/u/1"),
            ("http://r.example:5000/v2/", "http://r.example:5000/v2/u/1"),
            ("http://r.example:5000/v2/", "r.example:5000/v2/u/1"),
            ("http://r.example:5000/v2/", "https://r.example/v2/u/1"),
        ]
        .iter()
        .map(|(request, location)| resolved(request, location))
        .collect();
        expect![[r#"
            https://r.example/v2/ns/web/blobs/uploads/1?_state=a%3Db
            https://r.example/v2/ns/web/blobs/uploads/1?state=x
            https://r.example/v2/u/1
            https://r.example/v2/u/1
            https://r.example/v2/u/1
            https://r.example/v2/u/1
            https://r.example/v2/u/1
            https://other.example/u
            https://storage.example/u?signature=secret
            error: to http://storage.example/u, which is not encrypted
            error: to ftp://r.example/u, which is not HTTP
            error: to https://r.example/u, with a user name in it
            error: without a Location
            https://r.example:8443/v2/u/1
            http://r.example:5000/v2/u/1
            http://r.example:5000/v2/u/1
            https://r.example/v2/u/1"#]]
        .assert_eq(&results.join("\n"));
    }

    /// Another port or scheme is another origin; a default port is not.
    #[test]
    fn origins_are_compared() {
        let same = |one: &str, other: &str| {
            same_origin(&Url::parse(one).unwrap(), &Url::parse(other).unwrap())
        };
        assert!(same("https://r.example/a", "https://R.example:443/b?c"));
        assert!(!same("https://r.example/", "http://r.example/"));
        assert!(!same("https://r.example/", "https://r.example:444/"));
        assert!(!same("https://r.example/", "https://r.example.evil/"));
    }

    /// The next page is found among several links and spellings.
    #[test]
    fn next_links_are_found() {
        let next = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("link", value.parse().unwrap());
            next_link(&headers)
        };
        assert_eq!(
            next(r#"</v2/x/tags/list?last=b&n=2>; rel="next""#).as_deref(),
            Some("/v2/x/tags/list?last=b&n=2")
        );
        assert_eq!(
            next(r#"</a,b>; rel="prev", </c>; title="x"; REL=next"#).as_deref(),
            Some("/c")
        );
        assert_eq!(next(r#"</a>; rel="prev""#), None);
        assert_eq!(next("</a; rel=next"), None);
    }

    proptest::proptest! {
        /// Wherever an answer sends us, it is over HTTP, without a user name, and encrypted when
        /// the request was; and a `Link` leads to what stands in it.
        #[test]
        fn any_location(
            location in crate::spoilt::text(&[
                "/v2/ns/web/blobs/uploads/1?_state=a%3Db",
                "https://storage.example:8443/u?signature=secret#x",
                "r.example:443/v2/u/1",
                "http://r.example:443/v2/u/1",
                "//other.example/u",
            ]),
            link in crate::spoilt::text(&[
                "</v2/a/tags/list?last=b&n=1000>; rel=\"next\"",
                "<a>; rel=prev, <b>;title=\"x\"; rel=\"last next\"",
            ]),
            is_encrypted in proptest::prelude::any::<bool>(),
        ) {
            let scheme = if is_encrypted { "https" } else { "http" };
            let request = Url::parse(&format!("{scheme}://r.example/v2/ns/web/blobs/uploads/"));
            let request = request.expect("it is one");
            if let Ok(url) = resolve(&request, &location) {
                let schemes = if is_encrypted { &["https"][..] } else { &["http", "https"] };
                proptest::prop_assert!(schemes.contains(&url.scheme()), "{}", url);
                proptest::prop_assert!(url.has_host() && url.fragment().is_none());
                proptest::prop_assert!(url.username().is_empty() && url.password().is_none());
            }
            if let Ok(value) = reqwest::header::HeaderValue::from_str(&link) {
                let headers = HeaderMap::from_iter([(reqwest::header::LINK, value)]);
                if let Some(target) = next_link(&headers) {
                    let link = link.trim();
                    proptest::prop_assert!(link.contains(&format!("<{target}>")), "{}", target);
                }
            }
        }
    }
}
