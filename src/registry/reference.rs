//! Names of images.

use std::{fmt, str::FromStr};

use super::Error;
use crate::image::{Digest, validate_host, validate_repository, validate_tag};

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

    proptest::proptest! {
        /// Whatever is a reference is printed back in a form that is the same reference.
        #[test]
        fn any_reference(text in crate::spoilt::text(&[
            "gru.ocir.io/ns/team/web:1.0.0",
            "127.0.0.1:5000/a@sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
            "[::1]:5000/a/b",
        ])) {
            if let Ok(reference) = text.parse::<Reference>() {
                let shown = reference.to_string();
                proptest::prop_assert_eq!(shown.parse::<Reference>().ok(), Some(reference));
            }
        }
    }
}
