//! The documentation pages are what the schema and the examples say today, in the form that
//! the registries show and their tooling writes.
//!
//! `UPDATE_EXPECT=1 cargo test --test it docs` rewrites them, as `make docs` does. The guides
//! and the READMEs are written by hand; what holds them to the truth is in the modules below.

mod markdown;
mod readme;
mod rules;
mod snippets;
mod stories;
mod summaries;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use ocir::{
    cty::Type,
    framework::{Attribute, Block, Kind, Mode, NestedBlock, Nesting, Schema},
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
    /// What an import block may give in place of an id.
    identity: Option<&'a Schema>,
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
    /// The word that its blocks begin with.
    fn keyword(self) -> &'static str {
        match self {
            PageKind::Resource => "resource",
            PageKind::DataSource => "data",
            PageKind::EphemeralResource => "ephemeral",
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

/// Every type has an example folder, every resource shows each way to import it, and there
/// is nothing that belongs to nothing.
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
            let begins = format!("{} \"{name}\" \"", page.kind.keyword());
            assert!(
                text.contains(&begins),
                "{} does not show {name}",
                example.display()
            );
            let mut files = BTreeSet::from([page.kind.example()]);
            if page.kind == PageKind::Resource {
                files.extend([IMPORT_BLOCK, IMPORT_COMMAND]);
                files.extend(page.identity.map(|_| IMPORT_IDENTITY));
            }
            let found: BTreeSet<String> = fs::read_dir(&folder)?
                .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
                .collect::<anyhow::Result<_>>()?;
            assert!(
                found.iter().map(String::as_str).eq(files.iter().copied()),
                "{} holds {found:?}, and has to hold {files:?}",
                folder.display()
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
    let identities: BTreeMap<_, _> = server.identity_schemas().into_iter().collect();
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
                identity: identities
                    .get(name)
                    .copied()
                    .filter(|_| kind == PageKind::Resource),
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
    // A registry shows no subcategory for the first page, and its tooling refuses one there.
    let mut text = front_matter("ocir Provider", None, &schema.block.description)?;
    writeln!(text, "# ocir Provider\n\n{}\n", schema.block.description)?;
    let file = Path::new("provider/provider.tf");
    writeln!(text, "## Example Usage\n\n{}\n", code("terraform", file)?)?;
    writeln!(text, "## Guides\n")?;
    for guide in guides()? {
        writeln!(
            text,
            "- [{}](guides/{}.md): {}",
            guide.title, guide.stem, guide.description
        )?;
    }
    writeln!(text, "\n{}", schema_section(&schema.block)?)?;
    Ok(text)
}

/// A page that is written by hand.
struct Guide {
    stem: String,
    title: String,
    description: String,
}

/// The guides, as the first page lists them.
fn guides() -> anyhow::Result<Vec<Guide>> {
    let mut guides = Vec::new();
    for entry in fs::read_dir(root().join("docs/guides"))? {
        let path = entry?.path();
        let page = markdown::Page::read(&path)?;
        let title = page.front_matter("page_title").unwrap_or_default();
        guides.push(Guide {
            stem: path
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
            title: title.trim_end_matches(" - ocir").to_owned(),
            description: page.front_matter("description").unwrap_or_default(),
        });
    }
    // Who begins, begins there; the others are in the order of their file names.
    let first = |guide: &Guide| !guide.stem.starts_with("getting-started");
    guides.sort_by(|one, other| (first(one), &one.stem).cmp(&(first(other), &other.stem)));
    Ok(guides)
}

fn render(page: &Page<'_>) -> anyhow::Result<String> {
    let name = page.names[0];
    let title = page.kind.title();
    let mut text = front_matter(
        &format!("{name} {title} - ocir"),
        Some(""),
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
    for (index, name) in page.names.iter().enumerate() {
        if index > 0 {
            writeln!(text, "The same, as `{name}`:\n")?;
        }
        let file = folder(page, name).join(page.kind.example());
        writeln!(text, "{}\n", code("terraform", &file)?)?;
    }
    text.push_str(&schema_section(&page.schema.block)?);
    if page.kind == PageKind::Resource {
        text.push_str(&import_section(page)?);
    }
    Ok(text)
}

/// The ways to import, under each name, the newest way last, as the registries' tooling orders them.
fn import_section(page: &Page<'_>) -> anyhow::Result<String> {
    let each = |remark: &str, language: &str, file: &str| -> anyhow::Result<String> {
        let blocks = page.names.iter().map(|name| {
            let code = code(language, &folder(page, name).join(file))?;
            Ok(format!("{remark}{code}"))
        });
        Ok(blocks.collect::<anyhow::Result<Vec<_>>>()?.join("\n\n"))
    };
    let mut text = "\n## Import\n\n".to_owned();
    writeln!(
        text,
        "From Terraform 1.5 and OpenTofu 1.6 on, an [`import` block](https://developer.hashicorp.com/terraform/language/import) takes the \
         `id`, and the plan shows what the import would do:\n\n{}\n",
        each("", "terraform", IMPORT_BLOCK)?
    )?;
    if let Some(identity) = page.identity {
        writeln!(
            text,
            "From Terraform and OpenTofu 1.12 on, it takes the `identity` instead:\n\n{}\n",
            each("<!-- needs 1.12 -->\n", "terraform", IMPORT_IDENTITY)?
        )?;
        writeln!(text, "### Identity Schema")?;
        for (title, mode) in [("Required", Mode::Required), ("Optional", Mode::Optional)] {
            let mut lines = identity
                .block
                .attributes
                .iter()
                .filter(|attribute| attribute.mode == mode)
                .map(|attribute| {
                    let ty = type_name(&attribute.ty());
                    format!(
                        "- `{}` ({ty}) {}",
                        attribute.name,
                        one_line(&attribute.description)
                    )
                })
                .peekable();
            if lines.peek().is_some() {
                writeln!(
                    text,
                    "\n#### {title}\n\n{}",
                    lines.collect::<Vec<_>>().join("\n")
                )?;
            }
        }
        text.push('\n');
    }
    writeln!(
        text,
        "The [command `import`](https://developer.hashicorp.com/terraform/cli/commands/import) takes the `id` as well:\n\n{}",
        each("", "shell", IMPORT_COMMAND)?
    )?;
    Ok(text)
}

// The registries' tooling looks for them under these names.
const IMPORT_BLOCK: &str = "import-by-string-id.tf";
const IMPORT_COMMAND: &str = "import.sh";
const IMPORT_IDENTITY: &str = "import-by-identity.tf";

fn folder(page: &Page<'_>, name: &str) -> PathBuf {
    Path::new(page.kind.folder()).join(name)
}

/// An example, in a fence.
fn code(language: &str, file: &Path) -> anyhow::Result<String> {
    let path = root().join("examples").join(file);
    let text = fs::read_to_string(&path)
        .map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))?;
    Ok(format!("```{language}\n{text}```"))
}

fn front_matter(
    title: &str,
    subcategory: Option<&str>,
    description: &str,
) -> anyhow::Result<String> {
    let first = description.split("\n\n").next().unwrap_or_default();
    // Plain text, as it is shown in lists and found by searches.
    let first = one_line(first).replace('`', "");
    let mut text = format!("---\npage_title: \"{title}\"\n");
    if let Some(subcategory) = subcategory {
        writeln!(text, "subcategory: \"{subcategory}\"")?;
    }
    writeln!(text, "description: |-\n  {first}\n---\n")?;
    Ok(text)
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn schema_section(block: &Block) -> anyhow::Result<String> {
    let mut text = "## Schema\n".to_owned();
    let mut nested = Vec::new();
    attributes(&mut text, &mut nested, &block.attributes, &block.blocks, "")?;
    let mut nested = VecDeque::from(nested);
    while let Some(next) = nested.pop_front() {
        writeln!(
            text,
            "\n<a id=\"{}\"></a>\n### Nested Schema for `{}`",
            next.anchor, next.path
        )?;
        let mut inner = Vec::new();
        attributes(
            &mut text,
            &mut inner,
            &next.attributes,
            &next.blocks,
            &format!("{}.", next.path),
        )?;
        // What is in it comes before what is beside it.
        for deeper in inner.into_iter().rev() {
            nested.push_front(deeper);
        }
    }
    Ok(text)
}

/// A heading and the attributes that stand under it.
type Group = (&'static str, fn(Mode) -> bool);

/// Something with a section of its own further down.
struct Nested {
    path: String,
    anchor: String,
    attributes: Vec<Attribute>,
    blocks: Vec<NestedBlock>,
}

fn attributes(
    text: &mut String,
    nested: &mut Vec<Nested>,
    all: &[Attribute],
    blocks: &[NestedBlock],
    prefix: &str,
) -> anyhow::Result<()> {
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
            let anchor = format!("nestedatt--{}", path.replace('.', "--"));
            let mut line = line(attribute)?;
            if let Kind::Nested(_, inner) = &attribute.kind {
                write!(line, " (see [below for nested schema](#{anchor}))")?;
                nested.push(Nested {
                    path,
                    anchor,
                    attributes: inner.clone(),
                    blocks: Vec::new(),
                });
            }
            lines.push(line);
        }
        if title == "Optional" {
            for inner in blocks {
                let path = format!("{prefix}{}", inner.name);
                let anchor = format!("nestedblock--{}", path.replace('.', "--"));
                lines.push(format!(
                    "- `{}` ({}) {} (see [below for nested schema](#{anchor}))",
                    inner.name,
                    block_name(inner.nesting),
                    one_line(&inner.block.description),
                ));
                nested.push(Nested {
                    path,
                    anchor,
                    attributes: inner.block.attributes.clone(),
                    blocks: inner.block.blocks.clone(),
                });
            }
        }
        if !lines.is_empty() {
            let title = match prefix.is_empty() {
                true => format!("### {title}"),
                false => format!("{title}:"),
            };
            writeln!(text, "\n{title}\n\n{}", lines.join("\n"))?;
        }
    }
    Ok(())
}

/// An attribute's line, without where its own attributes are.
fn line(attribute: &Attribute) -> anyhow::Result<String> {
    let kind = match &attribute.kind {
        Kind::Plain(ty) => type_name(ty),
        Kind::Nested(nesting, _) => nesting_name(*nesting).to_owned(),
    };
    let mut line = format!("- `{}` ({kind}", attribute.name);
    for (flag, word) in [
        (attribute.sensitive, "Sensitive"),
        (attribute.deprecated.is_some(), "Deprecated"),
        (attribute.write_only, WRITE_ONLY),
    ] {
        if flag {
            write!(line, ", {word}")?;
        }
    }
    write!(line, ") {}", one_line(&attribute.description))?;
    if let Some(default) = &attribute.default {
        write!(line, " Default: `{}`.", default_text(default))?;
    }
    if attribute.replace {
        line.push_str(" A change requires replacement.");
    }
    if let Some(instead) = &attribute.deprecated {
        write!(line, " Deprecated: {instead}")?;
    }
    Ok(line)
}

const WRITE_ONLY: &str = "[Write-only](https://developer.hashicorp.com/terraform/language/resources/ephemeral#write-only-arguments)";

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
        Nesting::List => "Attributes List",
        Nesting::Map => "Attributes Map",
        Nesting::Set => "Attributes Set",
    }
}

fn block_name(nesting: Nesting) -> &'static str {
    match nesting {
        Nesting::Single => "Block, Optional",
        Nesting::List => "Block List",
        Nesting::Map => "Block Map",
        Nesting::Set => "Block Set",
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
