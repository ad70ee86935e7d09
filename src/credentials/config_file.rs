//! The configuration file of Oracle's CLI: profiles of `key=value` lines.
//!
//! <https://docs.oracle.com/en-us/iaas/Content/API/Concepts/sdkconfig.htm>
//!
//! Read as the Python SDK and the CLI read it: a value ends with its line and
//! may contain `=` and `#`, comments have lines of their own, and every profile
//! inherits from `DEFAULT`.

use std::collections::BTreeMap;

/// Profiles of a file, in its order.
#[derive(Default)]
pub(super) struct ConfigFile {
    profiles: Vec<(String, BTreeMap<String, String>)>,
}

/// What is wrong with which line. Does not quote it, for it may hold a secret.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) line: usize,
    pub(super) problem: String,
}

impl ConfigFile {
    pub(super) fn parse(text: &str) -> Result<Self, Problem> {
        let mut file = Self::default();
        let mut first_lines: BTreeMap<String, usize> = BTreeMap::new();
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for (index, line) in text.lines().enumerate() {
            let problem = |problem: String| Problem {
                line: index + 1,
                problem,
            };
            let line = line.trim();
            if line.is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            if let Some(header) = line.strip_prefix('[') {
                let name = header
                    .strip_suffix(']')
                    .map(str::trim)
                    .filter(|name| !name.is_empty())
                    .ok_or_else(|| problem("a profile is written [NAME]".to_owned()))?;
                if let Some(first) = first_lines.insert(name.to_owned(), index + 1) {
                    return Err(problem(format!(
                        "profile [{name}] is already there, in line {first}"
                    )));
                }
                file.profiles.push((name.to_owned(), BTreeMap::new()));
                continue;
            }
            let (key, value) = line
                .find(['=', ':'])
                .map(|at| (line[..at].trim(), line[at + 1..].trim()))
                .filter(|(key, _)| !key.is_empty())
                .ok_or_else(|| {
                    problem("neither a profile, [NAME], nor a setting, key=value".to_owned())
                })?;
            let (profile, settings) = file
                .profiles
                .last_mut()
                .ok_or_else(|| problem("a setting before the first profile, [NAME]".to_owned()))?;
            let key = key.to_ascii_lowercase();
            if settings.contains_key(&key) {
                return Err(problem(format!("`{key}` is set twice in [{profile}]")));
            }
            settings.insert(key, value.to_owned());
        }
        Ok(file)
    }

    /// A setting of a profile, inherited from `DEFAULT` when it has none of its
    /// own, and the name of the profile it comes from. An empty one is none.
    pub(super) fn get(&self, profile: &str, key: &str) -> Option<(&str, &str)> {
        [profile, DEFAULT].into_iter().find_map(|wanted| {
            let (name, settings) = self.profiles.iter().find(|(name, _)| name == wanted)?;
            let value = settings.get(key).filter(|value| !value.is_empty())?;
            Some((value.as_str(), name.as_str()))
        })
    }

    pub(super) fn contains(&self, profile: &str) -> bool {
        self.names().any(|name| name == profile)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.profiles.iter().map(|(name, _)| name.as_str())
    }
}

/// The profile that is used when none is named, and inherited from by all.
pub(super) const DEFAULT: &str = "DEFAULT";

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn parse(text: &str) -> anyhow::Result<ConfigFile> {
        ConfigFile::parse(text).map_err(|problem| anyhow::anyhow!("{problem:?}"))
    }

    /// A file that went through a Windows editor and many hands.
    #[test]
    fn reads_what_the_cli_reads() -> anyhow::Result<()> {
        let file = parse(
            "\u{feff}# Made by hand.\r\n\
             [DEFAULT]\r\n\
             User = ocid1.user.oc1..a\r\n\
             ; key_file=/old.pem\r\n\
             key_file=/keys/a=b.pem # not a comment\r\n\
             pass_phrase=\r\n\
             \r\n\
             [ team a ]\r\n\
             \tregion : eu-frankfurt-1\r\n\
             pass_phrase=se=cr:et\r\n",
        )?;
        assert_eq!(file.names().collect::<Vec<_>>(), ["DEFAULT", "team a"]);
        let get = |profile, key| file.get(profile, key);
        assert_eq!(
            get("DEFAULT", "user"),
            Some(("ocid1.user.oc1..a", "DEFAULT"))
        );
        assert_eq!(
            get("DEFAULT", "key_file"),
            Some(("/keys/a=b.pem # not a comment", "DEFAULT"))
        );
        assert_eq!(get("DEFAULT", "pass_phrase"), None, "empty is unset");
        assert_eq!(
            get("team a", "user"),
            Some(("ocid1.user.oc1..a", "DEFAULT")),
            "inherited"
        );
        assert_eq!(get("team a", "region"), Some(("eu-frankfurt-1", "team a")));
        assert_eq!(get("team a", "pass_phrase"), Some(("se=cr:et", "team a")));
        assert_eq!(get("DEFAULT", "region"), None);
        assert!(file.contains("team a") && !file.contains("default"));
        Ok(())
    }

    /// Every mistake is found with its line, and no message quotes the line.
    #[test]
    fn mistakes_have_a_line() {
        let message = |text: &str| match ConfigFile::parse(text) {
            Err(Problem { line, problem }) => format!("line {line}: {problem}"),
            Ok(_) => "no problem".to_owned(),
        };
        expect!["line 1: a setting before the first profile, [NAME]"]
            .assert_eq(&message("user=secret\n"));
        expect!["line 3: neither a profile, [NAME], nor a setting, key=value"]
            .assert_eq(&message("[DEFAULT]\n\nsecret words\n"));
        expect!["line 2: neither a profile, [NAME], nor a setting, key=value"]
            .assert_eq(&message("[DEFAULT]\n=secret\n"));
        expect!["line 1: a profile is written [NAME]"].assert_eq(&message("[DEFAULT\n"));
        expect!["line 1: a profile is written [NAME]"].assert_eq(&message("[]\n"));
        expect!["line 3: profile [a] is already there, in line 1"]
            .assert_eq(&message("[a]\nuser=x\n[a]\n"));
        expect!["line 3: `user` is set twice in [a]"]
            .assert_eq(&message("[a]\nuser=secret\nUSER=secret\n"));
    }

    proptest::proptest! {
        /// Whatever stands in a file, each profile and each setting is one of its words, or
        /// the line that is wrong is in it.
        #[test]
        fn any_file(text in crate::spoilt::text(&[
            "[DEFAULT]\nuser=ocid1.user.oc1..aaaa\nkey_file = ~/.oci/key.pem\n\n# a comment\n[ci]\nregion: gru\n",
            "\u{feff}; a comment\r\n[DEFAULT]\r\npass_phrase=a=b#c\r\n[ prod ]\r\n",
        ])) {
            match ConfigFile::parse(&text) {
                Ok(file) => {
                    for (name, settings) in &file.profiles {
                        proptest::prop_assert!(text.contains(name) && file.contains(name));
                        for (key, value) in settings {
                            proptest::prop_assert!(text.contains(value));
                            let found = file.get(name, key).map(|(found, _)| found);
                            proptest::prop_assert!(value.is_empty() || found == Some(value));
                        }
                    }
                }
                Err(Problem { line, .. }) => {
                    proptest::prop_assert!((1..=text.lines().count()).contains(&line));
                }
            }
        }
    }
}
