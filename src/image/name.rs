//! Names of images in registries.

use std::fmt;

use super::Digest;

/// `HOST/NAME:TAG` or `HOST/NAME@DIGEST` as users of Docker write it: a name
/// without a host is one of Docker Hub, and one without a tag means `latest`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageName {
    text: String,
    host: String,
    repository: String,
    tag: String,
    digest: Option<Digest>,
}

impl ImageName {
    /// Reads a name; the error is what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (name, digest) = match text.split_once('@') {
            None => (text, None),
            Some((name, digest)) => {
                let digest = digest.parse().map_err(|_| {
                    "what follows the @ is not sha256: and 64 hexadecimal digits".to_owned()
                })?;
                (name, Some(digest))
            }
        };
        let is_host = |first: &str| first.contains(['.', ':']) || first == "localhost";
        let (host, path) = match name.split_once('/') {
            Some((first, path)) if is_host(first) => (first, path),
            _ => (HUB, name),
        };
        validate_host(host).map_err(|problem| format!("its host {problem}"))?;
        // A colon in the path can only be the tag's: ports are behind us.
        let (repository, tag) = match path.split_once(':') {
            None => (path, "latest"),
            Some((repository, tag)) => (repository, tag),
        };
        let host = match host {
            "index.docker.io" | "registry-1.docker.io" => HUB,
            host => host,
        };
        let repository = match host == HUB && !repository.contains('/') && !repository.is_empty() {
            true => format!("library/{repository}"),
            false => repository.to_owned(),
        };
        validate_repository(&repository).map_err(|problem| format!("its name {problem}"))?;
        validate_tag(tag).map_err(|problem| format!("its tag {problem}"))?;
        Ok(Self {
            text: text.to_owned(),
            host: host.to_owned(),
            repository,
            tag: tag.to_owned(),
            digest,
        })
    }

    /// Host, with a port when it is not the default one; `docker.io` for Docker Hub.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Path of the repository.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The digest, if one is named. It decides, whatever the tag says.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// What the registry is asked for: the digest, or else the tag.
    pub fn reference(&self) -> &str {
        match &self.digest {
            Some(digest) => digest.as_str(),
            None => &self.tag,
        }
    }
}

impl fmt::Display for ImageName {
    /// As it was written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What Docker Hub is called in names.
const HUB: &str = "docker.io";

/// Why a text is not a registry's host with an optional port, in the same form
/// as [`validate_repository`].
pub fn validate_host(host: &str) -> Result<(), String> {
    let problem = || Err("must be a host name or address, with :PORT if need be".to_owned());
    let Ok(url) = url::Url::parse(&format!("http://{host}/")) else {
        return problem();
    };
    // What the parser took for something else than a host and a port.
    let plain = !host.is_empty()
        && !host.contains(['/', '\\', '?', '#', '@', '%'])
        && !host.contains(char::is_whitespace)
        && !host.ends_with(':')
        && url.path() == "/"
        && url.has_host();
    if plain { Ok(()) } else { problem() }
}

/// Why a repository name is not one, as a sentence for users that begins after
/// the argument's name: "must …".
///
/// The rules are those of the distribution specification, which OCIR shares:
/// <https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests>.
pub fn validate_repository(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("must not be empty".into());
    }
    if name.len() > 255 {
        return Err(format!(
            "must have at most 255 characters, not {}",
            name.len()
        ));
    }
    if let Some(c) = name
        .chars()
        .find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '.' | '_' | '-' | '/'))
    {
        return Err(if c.is_ascii_uppercase() {
            format!("must be in lower case, but has {c:?}")
        } else {
            format!(
                "must consist of lower-case letters, digits and the characters . _ - /, but has {c:?}"
            )
        });
    }
    for part in name.split('/') {
        if part.is_empty() {
            return Err("must not begin or end with a slash or have two in a row".into());
        }
        let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        if !ends(part.chars().next()) || !ends(part.chars().next_back()) {
            return Err(format!(
                "must have a letter or digit at both ends of each part between slashes, unlike {part:?}"
            ));
        }
        // Between letters and digits: one dot, one or two underscores, or hyphens.
        for separator in part.split(|c: char| c.is_ascii_alphanumeric()) {
            let fine = matches!(separator, "" | "." | "_" | "__")
                || separator.bytes().all(|byte| byte == b'-');
            if !fine {
                return Err(format!(
                    "must separate letters and digits by one dot, one or two underscores, or hyphens, not by {separator:?}"
                ));
            }
        }
    }
    Ok(())
}

/// Why a tag is not one, in the same form.
pub fn validate_tag(tag: &str) -> Result<(), String> {
    let Some(first) = tag.chars().next() else {
        return Err("must not be empty".into());
    };
    if let Some(c) = tag
        .chars()
        .find(|c| !c.is_ascii_alphanumeric() && !matches!(c, '.' | '_' | '-'))
    {
        return Err(format!(
            "must consist of letters, digits and the characters . _ -, but has {c:?}"
        ));
    }
    if matches!(first, '.' | '-') {
        return Err(format!(
            "must begin with a letter, a digit or an underscore, not {first:?}"
        ));
    }
    if tag.len() > 128 {
        return Err(format!(
            "must have at most 128 characters, not {}",
            tag.len()
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    /// Names as Docker reads them, in full.
    #[test]
    fn names_are_completed() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        let names = [
            "alpine".to_owned(),
            "alpine:3.20".to_owned(),
            "grafana/grafana".to_owned(),
            "docker.io/alpine".to_owned(),
            "index.docker.io/library/alpine:edge".to_owned(),
            "localhost/web".to_owned(),
            "quay.io/team/web:1".to_owned(),
            "127.0.0.1:5000/web:1".to_owned(),
            format!("gru.ocir.io/ns/web@{digest}"),
            format!("gru.ocir.io/ns/web:1.0@{digest}"),
        ];
        let read: Vec<String> = names
            .iter()
            .map(|text| match ImageName::parse(text) {
                Ok(name) => {
                    assert_eq!(name.to_string(), *text);
                    format!("{} {} {}", name.host(), name.repository(), name.reference())
                }
                Err(problem) => problem,
            })
            .collect();
        expect![[r#"
            docker.io library/alpine latest
            docker.io library/alpine 3.20
            docker.io grafana/grafana latest
            docker.io library/alpine latest
            docker.io library/alpine edge
            localhost web latest
            quay.io team/web 1
            127.0.0.1:5000 web 1
            gru.ocir.io ns/web sha256:0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a
            gru.ocir.io ns/web sha256:0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a"#]].assert_eq(&read.join("\n"));
    }

    /// Each wrong name says what is wrong with it.
    #[test]
    fn wrong_names_are_explained() {
        let problems: Vec<String> = [
            "",
            "quay.io/",
            "quay.io/Team/web",
            "quay.io/web:",
            "quay.io/web:a b",
            "user@quay.io/web",
            "quay.io:x/web",
            "quay.io/web@sha256:12",
            "quay.io/web@latest",
        ]
        .iter()
        .map(|text| ImageName::parse(text).err().unwrap_or_default())
        .collect();
        expect![[r#"
            its name must not be empty
            its name must not be empty
            its name must be in lower case, but has 'T'
            its tag must not be empty
            its tag must consist of letters, digits and the characters . _ -, but has ' '
            what follows the @ is not sha256: and 64 hexadecimal digits
            its host must be a host name or address, with :PORT if need be
            what follows the @ is not sha256: and 64 hexadecimal digits
            what follows the @ is not sha256: and 64 hexadecimal digits"#]]
        .assert_eq(&problems.join("\n"));
    }

    proptest::proptest! {
        /// Whatever is written is a name, and printed back, or is refused.
        #[test]
        fn any_text(text in "([a-zA-Z0-9.:/@_-]|sha256:|docker\\.io/|\\PC){0,40}") {
            if let Ok(name) = ImageName::parse(&text) {
                proptest::prop_assert_eq!(name.to_string(), text);
                proptest::prop_assert_eq!(validate_repository(name.repository()), Ok(()));
                proptest::prop_assert_eq!(validate_host(name.host()), Ok(()));
            }
        }
    }

    /// Names that registries accept, and the sentence for each that they do not.
    #[test]
    fn repositories_are_validated() {
        for name in ["web", "team/web", "a.b_c__d---e/f0", "0", &"a".repeat(255)] {
            assert_eq!(validate_repository(name), Ok(()), "{name}");
        }
        let problems: Vec<String> = [
            "",
            "Team/web",
            "team web",
            "/web",
            "web/",
            "a//b",
            "-web",
            "web.",
            "a..b",
            "a.-b",
            "a___b",
            &"a".repeat(256),
        ]
        .iter()
        .map(|name| validate_repository(name).unwrap_err())
        .collect();
        expect![[r#"
            must not be empty
            must be in lower case, but has 'T'
            must consist of lower-case letters, digits and the characters . _ - /, but has ' '
            must not begin or end with a slash or have two in a row
            must not begin or end with a slash or have two in a row
            must not begin or end with a slash or have two in a row
            must have a letter or digit at both ends of each part between slashes, unlike "-web"
            must have a letter or digit at both ends of each part between slashes, unlike "web."
            must separate letters and digits by one dot, one or two underscores, or hyphens, not by ".."
            must separate letters and digits by one dot, one or two underscores, or hyphens, not by ".-"
            must separate letters and digits by one dot, one or two underscores, or hyphens, not by "___"
            must have at most 255 characters, not 256"#]]
        .assert_eq(&problems.join("\n"));
    }

    /// The same for tags.
    #[test]
    fn tags_are_validated() {
        for tag in ["latest", "1.0.0", "_x", "A-b", &"a".repeat(128)] {
            assert_eq!(validate_tag(tag), Ok(()), "{tag}");
        }
        let problems: Vec<String> = ["", "a:b", "ü", ".a", "-a", &"a".repeat(129)]
            .iter()
            .map(|tag| validate_tag(tag).unwrap_err())
            .collect();
        expect![[r#"
            must not be empty
            must consist of letters, digits and the characters . _ -, but has ':'
            must consist of letters, digits and the characters . _ -, but has 'ü'
            must begin with a letter, a digit or an underscore, not '.'
            must begin with a letter, a digit or an underscore, not '-'
            must have at most 128 characters, not 129"#]]
        .assert_eq(&problems.join("\n"));
    }
}
