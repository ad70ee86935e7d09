//! Names of images.

use std::{fmt, str::FromStr};

use super::Error;
use crate::image::Digest;

/// `host/repository:tag` or `host/repository@digest`, in parts.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "named as in the specification")]
pub struct Reference {
    pub host: String,
    pub repository: String,
    pub tag: Option<String>,
    pub digest: Option<Digest>,
}

impl FromStr for Reference {
    type Err = Error;

    /// Reads a reference that names its host; there is no default registry.
    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |problem: String| Error::Name {
            kind: "reference",
            name: text.into(),
            problem,
        };
        let (name, digest) = match text.split_once('@') {
            None => (text, None),
            Some((name, digest)) => {
                let digest = digest.parse().map_err(|_| {
                    wrong("must have sha256: and 64 hexadecimal digits after the @".into())
                })?;
                (name, Some(digest))
            }
        };
        let (host, path) = name
            .split_once('/')
            .filter(|(host, _)| host.contains(['.', ':']) || *host == "localhost")
            .ok_or_else(|| wrong("must begin with the registry's host and a slash".into()))?;
        validate_host(host).map_err(|problem| wrong(format!("names a host that {problem}")))?;
        // A colon in the path can only be the tag's: ports are behind us.
        let (repository, tag) = match path.split_once(':') {
            None => (path, None),
            Some((repository, tag)) => (repository, Some(tag)),
        };
        validate_repository(repository)
            .map_err(|problem| wrong(format!("names a repository that {problem}")))?;
        if let Some(tag) = tag {
            validate_tag(tag).map_err(|problem| wrong(format!("has a tag that {problem}")))?;
        }
        Ok(Self {
            host: host.into(),
            repository: repository.into(),
            tag: tag.map(Into::into),
            digest,
        })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// Why a text is not a registry's host with an optional port, in the same form
/// as [`validate_repository`].
pub(super) fn validate_host(host: &str) -> Result<(), String> {
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

    /// What is read is printed as it was.
    #[test]
    fn references_are_read_and_printed() -> anyhow::Result<()> {
        let digest = format!("sha256:{}", "0a".repeat(32));
        for text in [
            "gru.ocir.io/ns/team/web:1.0.0".to_owned(),
            "localhost/web".to_owned(),
            "127.0.0.1:5000/ns/web".to_owned(),
            "[::1]:5000/ns/web:x".to_owned(),
            format!("gru.ocir.io/ns/web@{digest}"),
            format!("gru.ocir.io/ns/web:latest@{digest}"),
        ] {
            assert_eq!(text.parse::<Reference>()?.to_string(), text);
        }
        let reference: Reference = "localhost:5000/a/b:c".parse()?;
        assert_eq!(reference.host, "localhost:5000");
        assert_eq!(reference.repository, "a/b");
        assert_eq!(reference.tag.as_deref(), Some("c"));
        Ok(())
    }

    /// Each wrong reference says what is wrong with it.
    #[test]
    fn wrong_references_are_explained() {
        let problems: Vec<String> = [
            "web:1.0",
            "ns/web",
            "user@gru.ocir.io/web",
            "a b.c/web",
            "gru.ocir.io/Web",
            "gru.ocir.io/web:",
            "gru.ocir.io/web@sha256:12",
            "gru.ocir.io:/web",
        ]
        .iter()
        .map(|text| text.parse::<Reference>().unwrap_err().to_string())
        .collect();
        expect![[r#"
            reference "web:1.0" must begin with the registry's host and a slash
            reference "ns/web" must begin with the registry's host and a slash
            reference "user@gru.ocir.io/web" must have sha256: and 64 hexadecimal digits after the @
            reference "a b.c/web" names a host that must be a host name or address, with :PORT if need be
            reference "gru.ocir.io/Web" names a repository that must be in lower case, but has 'W'
            reference "gru.ocir.io/web:" has a tag that must not be empty
            reference "gru.ocir.io/web@sha256:12" must have sha256: and 64 hexadecimal digits after the @
            reference "gru.ocir.io:/web" names a host that must be a host name or address, with :PORT if need be"#]]
        .assert_eq(&problems.join("\n"));
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
