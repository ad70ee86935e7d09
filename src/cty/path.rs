//! Where in a value something is.

use super::Value;

/// Steps from the root of a value to a place in it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Path(pub Vec<Step>);

/// One step of a [`Path`].
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// An attribute or a block of an object.
    Attribute(String),
    /// An element of a map.
    Key(String),
    /// An element of a list or tuple, or a block of a list.
    Index(i64),
    /// An element of a set: the element itself. Not expressible in a
    /// diagnostic, so a path on the wire ends before it.
    Element(Box<Value>),
}

impl Path {
    /// The value itself.
    pub fn root() -> Self {
        Self::default()
    }
    /// One attribute of the root.
    pub fn attribute(name: impl Into<String>) -> Self {
        Self(vec![Step::Attribute(name.into())])
    }
    /// This path and one more step.
    pub fn then(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }
}

impl std::fmt::Display for Path {
    /// As the language writes it: `layers[0].tags["a"]`. An element of a set
    /// has no name there, and is never printed: it may be a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, step) in self.0.iter().enumerate() {
            match step {
                Step::Attribute(name) if index == 0 => f.write_str(name)?,
                Step::Attribute(name) => write!(f, ".{name}")?,
                Step::Key(key) => {
                    let key = key.replace('\\', "\\\\").replace('"', "\\\"");
                    write!(f, "[\"{key}\"]")?;
                }
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Element(_) => f.write_str("[*]")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Paths read as a user writes them in the configuration.
    #[test]
    fn display() {
        let path = Path::attribute("layers")
            .then(Step::Index(0))
            .then(Step::Attribute("tags".to_owned()))
            .then(Step::Key("a \"b\" \\".to_owned()));
        assert_eq!(path.to_string(), r#"layers[0].tags["a \"b\" \\"]"#);
        assert_eq!(Path::root().to_string(), "");
    }

    /// An element of a set may hold a secret, so it is not shown.
    #[test]
    fn elements_are_not_shown() {
        let path = Path::attribute("logins")
            .then(Step::Element(Box::new("hunter2".into())))
            .then(Step::Attribute("password".to_owned()));
        assert_eq!(path.to_string(), "logins[*].password");
    }
}
