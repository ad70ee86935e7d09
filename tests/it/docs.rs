//! The documentation pages are what the schema and the examples say today.
//!
//! `UPDATE_EXPECT=1 cargo test --test it docs` rewrites them, as `make docs` does.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use ocir::{
    cty::Type,
    framework::{Attribute, Block, Kind, Mode, Nesting, Schema},
};

use crate::support::provider as support;

/// A thing that has a page: one schema under one or two names.
struct Page<'a> {
    kind: PageKind,
    /// The page's file name: the type's name without the provider's prefix.
    stem: String,
    /// The names, the one that needs no `provider = ocir` first.
    names: Vec<&'static str>,
    schema: &'a Schema,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum PageKind {
    Resource,
    DataSource,
    EphemeralResource,
}

const KINDS: [PageKind; 3] = [
    PageKind::Resource,
    PageKind::DataSource,
    PageKind::EphemeralResource,
];

impl PageKind {
    fn title(self) -> &'static str {
        match self {
            PageKind::Resource => "Resource",
            PageKind::DataSource => "Data Source",
            PageKind::EphemeralResource => "Ephemeral Resource",
        }
    }
    fn folder(self) -> &'static str {
        match self {
            PageKind::Resource => "resources",
            PageKind::DataSource => "data-sources",
            PageKind::EphemeralResource => "ephemeral-resources",
        }
    }
    fn example(self) -> &'static str {
        match self {
            PageKind::Resource => "resource.tf",
            PageKind::DataSource => "data-source.tf",
            PageKind::EphemeralResource => "ephemeral-resource.tf",
        }
    }
}

/// Every page is current, and there is no page that belongs to nothing.
#[test]
fn pages_are_current() -> anyhow::Result<()> {
    let server = support::server();
    let root = root();
    let mut expected = BTreeMap::new();
    expected.insert(root.join("docs/index.md"), index(server.provider_schema())?);
    for page in pages(&server) {
        let path = root
            .join("docs")
            .join(page.kind.folder())
            .join(format!("{}.md", page.stem));
        expected.insert(path, render(&page)?);
    }
    for (path, text) in &expected {
        support::expect_file(path, text)?;
    }
    for kind in KINDS {
        for entry in fs::read_dir(root.join("docs").join(kind.folder()))? {
            let path = entry?.path();
            assert!(
                expected.contains_key(&path),
                "{} belongs to nothing the provider serves",
                path.display()
            );
        }
    }
    Ok(())
}

/// Every type has an example folder, and there is no folder that belongs to nothing.
#[test]
fn every_type_has_an_example() -> anyhow::Result<()> {
    let server = support::server();
    let mut expected = BTreeSet::new();
    for page in pages(&server) {
        for name in &page.names {
            let folder = root().join("examples").join(page.kind.folder()).join(name);
            let example = folder.join(page.kind.example());
            let text = fs::read_to_string(&example)
                .map_err(|error| anyhow::anyhow!("{}: {error}", example.display()))?;
            assert!(
                text.contains(&format!("\"{name}\"")),
                "{} does not show {name}",
                example.display()
            );
            expected.insert(folder);
        }
    }
    for kind in KINDS {
        for entry in fs::read_dir(root().join("examples").join(kind.folder()))? {
            let path = entry?.path();
            assert!(
                expected.contains(&path),
                "{} belongs to nothing the provider serves",
                path.display()
            );
        }
    }
    Ok(())
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The registry strips the provider's prefix from a type's name, so a thing with
/// two names has one page that shows both.
fn pages(server: &ocir::framework::Server) -> Vec<Page<'_>> {
    let kinds = [
        (PageKind::Resource, server.resource_schemas()),
        (PageKind::DataSource, server.data_source_schemas()),
        (PageKind::EphemeralResource, server.ephemeral_schemas()),
    ];
    let mut pages: BTreeMap<(PageKind, String), Page<'_>> = BTreeMap::new();
    for (kind, schemas) in kinds {
        for (name, schema) in schemas {
            let stem = name
                .strip_prefix("ocir_")
                .or(name.strip_prefix("oci_"))
                .unwrap_or(name)
                .to_owned();
            let page = pages.entry((kind, stem.clone())).or_insert_with(|| Page {
                kind,
                stem,
                names: Vec::new(),
                schema,
            });
            assert_eq!(
                page.schema, schema,
                "{name} and {:?} share a page and differ",
                page.names
            );
            page.names.push(name);
            page.names.sort_by_key(|name| !name.starts_with("ocir_"));
        }
    }
    pages.into_values().collect()
}

fn index(schema: &Schema) -> anyhow::Result<String> {
    let mut text = front_matter("ocir Provider", &schema.block.description)?;
    writeln!(text, "# ocir Provider\n\n{}\n", schema.block.description)?;
    writeln!(
        text,
        "## Example Usage\n\n```terraform\n{}```\n",
        example(Path::new("provider/provider.tf"))?
    )?;
    text.push_str(&schema_section(&schema.block)?);
    Ok(text)
}

fn render(page: &Page<'_>) -> anyhow::Result<String> {
    let name = page.names[0];
    let title = page.kind.title();
    let mut text = front_matter(
        &format!("{name} {title} - ocir"),
        &page.schema.block.description,
    )?;
    writeln!(
        text,
        "# {name} ({title})\n\n{}\n",
        page.schema.block.description
    )?;
    for other in &page.names[1..] {
        writeln!(
            text,
            "~> `{other}` is the same under another name, and permanent. Terraform takes the first word of a type for the name of its \
             provider, so `{other}` needs `provider = ocir` in its block. `{name}` does not.\n"
        )?;
    }
    writeln!(text, "## Example Usage\n")?;
    for name in &page.names {
        let file = Path::new(page.kind.folder())
            .join(name)
            .join(page.kind.example());
        writeln!(text, "```terraform\n{}```\n", example(&file)?)?;
    }
    text.push_str(&schema_section(&page.schema.block)?);
    if page.kind == PageKind::Resource {
        let file = Path::new(page.kind.folder()).join(name).join("import.sh");
        if root().join("examples").join(&file).exists() {
            writeln!(text, "\n## Import\n\n```shell\n{}```", example(&file)?)?;
        }
    }
    Ok(text)
}

fn example(file: &Path) -> anyhow::Result<String> {
    let path = root().join("examples").join(file);
    fs::read_to_string(&path).map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))
}

fn front_matter(title: &str, description: &str) -> anyhow::Result<String> {
    let first = description
        .split("\n\n")
        .next()
        .unwrap_or_default()
        .replace('\n', " ");
    let mut text = String::new();
    writeln!(
        text,
        "---\npage_title: \"{title}\"\nsubcategory: \"\"\ndescription: |-\n  {first}\n---\n"
    )?;
    Ok(text)
}

fn schema_section(block: &Block) -> anyhow::Result<String> {
    let mut text = "## Schema\n".to_owned();
    let mut nested = Vec::new();
    attributes(&mut text, &mut nested, &block.attributes, block, "")?;
    while let Some((path, kind, attributes_of, block)) =
        (!nested.is_empty()).then(|| nested.remove(0))
    {
        writeln!(
            text,
            "\n<a id=\"nested--{}\"></a>\n### {kind} `{path}`",
            path.replace('.', "--")
        )?;
        attributes(
            &mut text,
            &mut nested,
            &attributes_of,
            &block,
            &format!("{path}."),
        )?;
    }
    Ok(text)
}

/// A heading and the attributes that stand under it.
type Group = (&'static str, fn(Mode) -> bool);

type Nested = (String, &'static str, Vec<Attribute>, Block);

fn attributes(
    text: &mut String,
    nested: &mut Vec<Nested>,
    all: &[Attribute],
    block: &Block,
    prefix: &str,
) -> anyhow::Result<()> {
    let heading = if prefix.is_empty() { "###" } else { "####" };
    let groups: [Group; 3] = [
        ("Required", |mode| mode == Mode::Required),
        ("Optional", |mode| {
            matches!(mode, Mode::Optional | Mode::OptionalComputed)
        }),
        ("Read-Only", |mode| mode == Mode::Computed),
    ];
    for (title, belongs) in groups {
        let mut lines = Vec::new();
        for attribute in all.iter().filter(|attribute| belongs(attribute.mode)) {
            let path = format!("{prefix}{}", attribute.name);
            let (kind, inner) = match &attribute.kind {
                Kind::Plain(ty) => (type_name(ty), None),
                Kind::Nested(nesting, attributes) => {
                    (nesting_name(*nesting).to_owned(), Some(attributes))
                }
            };
            let mut line = format!("- `{}` ({kind}", attribute.name);
            for (flag, word) in [
                (attribute.sensitive, "Sensitive"),
                (attribute.write_only, "Write-only"),
                (attribute.deprecated.is_some(), "Deprecated"),
            ] {
                if flag {
                    write!(line, ", {word}")?;
                }
            }
            write!(
                line,
                ") {}",
                attribute
                    .description
                    .replace("\n\n", " ")
                    .replace('\n', " ")
            )?;
            if let Some(default) = &attribute.default {
                write!(line, " Default: `{}`.", default_text(default))?;
            }
            if attribute.replace {
                line.push_str(" A change requires replacement.");
            }
            if let Some(inner) = inner {
                write!(line, " (see [below](#nested--{}))", path.replace('.', "--"))?;
                nested.push((path, "Nested attribute", inner.clone(), Block::default()));
            }
            lines.push(line);
        }
        if title == "Optional" {
            for inner in &block.blocks {
                let path = format!("{prefix}{}", inner.name);
                lines.push(format!(
                    "- `{}` (Block) {} (see [below](#nested--{}))",
                    inner.name,
                    inner
                        .block
                        .description
                        .replace("\n\n", " ")
                        .replace('\n', " "),
                    path.replace('.', "--")
                ));
                nested.push((
                    path,
                    "Nested block",
                    inner.block.attributes.clone(),
                    inner.block.clone(),
                ));
            }
        }
        if !lines.is_empty() {
            writeln!(text, "\n{heading} {title}\n\n{}", lines.join("\n"))?;
        }
    }
    Ok(())
}

fn type_name(ty: &Type) -> String {
    match ty {
        Type::String => "String".into(),
        Type::Number => "Number".into(),
        Type::Bool => "Boolean".into(),
        Type::Dynamic => "Dynamic".into(),
        Type::List(element) => format!("List of {}", type_name(element)),
        Type::Set(element) => format!("Set of {}", type_name(element)),
        Type::Map(element) => format!("Map of {}", type_name(element)),
        Type::Tuple(_) => "Tuple".into(),
        Type::Object(_) => "Object".into(),
    }
}

fn nesting_name(nesting: Nesting) -> &'static str {
    match nesting {
        Nesting::Single => "Attributes",
        Nesting::List => "List of Attributes",
        Nesting::Map => "Map of Attributes",
        Nesting::Set => "Set of Attributes",
    }
}

fn default_text(value: &ocir::cty::Value) -> String {
    use ocir::cty::Value;
    match value {
        Value::Bool(value) => value.to_string(),
        Value::String(text) => text.clone(),
        other => format!("{other:?}"),
    }
}
