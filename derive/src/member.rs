//! A member of a model and its options.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote};
use syn::{
    Attribute, Error, Expr, Field, GenericArgument, Ident, Lit, LitStr, Path, PathArguments,
    Result, Type, ext::IdentExt, meta::ParseNestedMeta, spanned::Spanned,
};

use crate::docs;

const OPTIONS: &str = "`required`, `optional`, `computed`, `default`, `replace`, `keep`, \
                       `sensitive`, `write_only`, `deprecated`, `validate`, `nested`, `block` or \
                       `name`";

/// A member, checked.
pub(crate) struct Member {
    pub(crate) ident: Ident,
    pub(crate) name: String,
    inner: Type,
    description: String,
    options: Options,
}

/// The options as written; a flag holds its place for messages.
#[derive(Default)]
struct Options {
    required: Option<Span>,
    optional: Option<Span>,
    computed: Option<Span>,
    default: Option<(Span, Expr)>,
    replace: Option<Span>,
    keep: Option<Span>,
    sensitive: Option<Span>,
    write_only: Option<Span>,
    deprecated: Option<(Span, LitStr)>,
    validate: Vec<(Span, Path)>,
    nested: Option<Span>,
    block: Option<Span>,
    name: Option<(Span, LitStr)>,
}

impl Member {
    pub(crate) fn parse(field: &Field) -> Result<Self> {
        let ident = field
            .ident
            .clone()
            .ok_or_else(|| Error::new(field.span(), "the members of a model have names"))?;
        let inner = attr_argument(&field.ty)
            .ok_or_else(|| Error::new(field.ty.span(), "the members of a model are `Attr<..>`"))?;
        let description = docs::markdown(&field.attrs).ok_or_else(|| {
            Error::new(
                ident.span(),
                format!("`{ident}` needs a doc comment: it is what users read"),
            )
        })?;
        let mut options = Options::default();
        for attribute in &field.attrs {
            if attribute.path().is_ident("tf") {
                attribute.parse_nested_meta(|meta| options.read(&meta))?;
            }
        }
        options.check(field)?;
        let name = match &options.name {
            Some((_, name)) => name.value(),
            None => ident.unraw().to_string(),
        };
        if !is_name(&name) {
            let span = options
                .name
                .as_ref()
                .map_or(ident.span(), |(_, name)| name.span());
            return Err(Error::new(
                span,
                "a name is made of lower-case letters, digits and underscores, and begins with a \
                 letter",
            ));
        }
        Ok(Self {
            ident,
            name,
            inner,
            description,
            options,
        })
    }

    /// The row of the schema, unless this is a block.
    pub(crate) fn attribute(&self) -> Option<TokenStream> {
        let options = &self.options;
        if options.block.is_some() {
            return None;
        }
        let (name, description, inner) = (&self.name, &self.description, &self.inner);
        let mode = match (options.required, options.optional, options.computed) {
            _ if options.default.is_some() => quote!(OptionalComputed),
            (Some(_), _, _) => quote!(Required),
            (_, Some(_), Some(_)) => quote!(OptionalComputed),
            (_, Some(_), None) => quote!(Optional),
            _ => quote!(Computed),
        };
        let base = match options.nested {
            Some(_) => quote!(nested),
            None => quote!(attribute),
        };
        let mut rest = TokenStream::new();
        for (name, flag) in [
            ("replace", options.replace),
            ("keep", options.keep),
            ("sensitive", options.sensitive),
            ("write_only", options.write_only),
        ] {
            if flag.is_some() {
                let name = Ident::new(name, Span::call_site());
                rest.extend(quote!(#name: true,));
            }
        }
        if let Some((_, text)) = &options.deprecated {
            let text = optional_text(Some(text));
            rest.extend(quote!(deprecated: #text,));
        }
        if let Some((span, default)) = &options.default {
            let default = convert(default, inner, *span);
            rest.extend(quote! {
                default: ::core::option::Option::Some(
                    ::ocir::framework::model::default::<#inner>(#default),
                ),
            });
        }
        if !options.validate.is_empty() {
            let validators = options.validate.iter().map(|(_, path)| path);
            rest.extend(quote! {
                validate: ::std::vec![#(#validators as ::ocir::framework::Validator),*],
            });
        }
        Some(quote! {
            ::ocir::framework::Attribute {
                #rest
                ..::ocir::framework::model::#base::<#inner>(
                    #name,
                    #description,
                    ::ocir::framework::Mode::#mode,
                )
            }
        })
    }

    /// The row of the schema, if this is a block.
    pub(crate) fn block(&self) -> Option<TokenStream> {
        self.options.block?;
        let (name, description, inner) = (&self.name, &self.description, &self.inner);
        let deprecated = optional_text(self.options.deprecated.as_ref().map(|(_, text)| text));
        Some(quote! {
            ::ocir::framework::model::block::<#inner>(#name, #description, #deprecated)
        })
    }
}

impl Options {
    fn read(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        let span = meta.path.span();
        let Some(option) = meta.path.get_ident().map(ToString::to_string) else {
            return Err(unknown(&meta.path));
        };
        let flag = match option.as_str() {
            "required" => &mut self.required,
            "optional" => &mut self.optional,
            "computed" => &mut self.computed,
            "replace" => &mut self.replace,
            "keep" => &mut self.keep,
            "sensitive" => &mut self.sensitive,
            "write_only" => &mut self.write_only,
            "nested" => &mut self.nested,
            "block" => &mut self.block,
            "default" => return put(&mut self.default, span, &option, meta.value()?.parse()?),
            "deprecated" => {
                return put(&mut self.deprecated, span, &option, meta.value()?.parse()?);
            }
            "name" => return put(&mut self.name, span, &option, meta.value()?.parse()?),
            "validate" => {
                self.validate.push((span, meta.value()?.parse()?));
                return Ok(());
            }
            _ => return Err(unknown(&meta.path)),
        };
        if flag.replace(span).is_some() {
            return Err(twice(span, &option));
        }
        Ok(())
    }

    fn check(&self, field: &Field) -> Result<()> {
        if self.block.is_some() {
            return self.check_block();
        }
        let default = self.default.as_ref().map(|(span, _)| *span);
        let refuse = |span, message: &str| Err(Error::new(span, message));
        match (self.required, self.optional, self.computed, default) {
            (Some(_), Some(span), _, _) => {
                return refuse(span, "`required` and `optional` contradict each other");
            }
            (Some(_), _, Some(span), _) => {
                return refuse(span, "`required` and `computed` contradict each other");
            }
            (Some(_), _, _, Some(span)) => {
                return refuse(
                    span,
                    "`required` and `default` contradict each other: an argument with a default \
                     may be left out",
                );
            }
            (None, None, Some(span), Some(_)) => {
                return refuse(
                    span,
                    "a default makes an attribute optional and computed: leave out `computed`, or \
                     write `optional` too",
                );
            }
            (None, None, None, None) => {
                return Err(Error::new_spanned(
                    // Not the attributes: the whole member would begin at its documentation.
                    field.ident.to_token_stream(),
                    "say who sets this attribute: `required`, `optional`, `computed`, `optional, \
                     computed` or `default = ..`",
                ));
            }
            _ => {}
        }
        let only_computed = self.computed.is_some() && self.optional.is_none();
        let may_be_computed = self.computed.is_some() && default.is_none();
        match (self.keep, default) {
            (Some(span), Some(_)) => refuse(
                span,
                "`keep` and `default` contradict each other: a default is never unknown",
            ),
            (Some(span), None) if self.computed.is_none() => {
                refuse(span, "`keep` is for computed attributes")
            }
            _ => Ok(()),
        }?;
        match self.replace {
            Some(span) if only_computed => refuse(
                span,
                "`replace` is for arguments: what only the provider sets is planned by its \
                 resource",
            ),
            Some(span) if may_be_computed && self.keep.is_none() => refuse(
                span,
                "`replace` on an `optional, computed` attribute needs `keep`: without it every \
                 update would replace the object",
            ),
            _ => Ok(()),
        }?;
        match self.write_only {
            Some(span) if self.computed.is_some() || default.is_some() => refuse(
                span,
                "`write_only` is for arguments without a default: nothing may be stored",
            ),
            _ => Ok(()),
        }?;
        match self.validate.first() {
            Some((span, _)) if only_computed => refuse(
                *span,
                "`validate` is for arguments: nobody but the provider sets this attribute",
            ),
            _ => Ok(()),
        }
    }

    fn check_block(&self) -> Result<()> {
        let options = [
            ("required", self.required),
            ("optional", self.optional),
            ("computed", self.computed),
            ("default", self.default.as_ref().map(|(span, _)| *span)),
            ("replace", self.replace),
            ("keep", self.keep),
            ("sensitive", self.sensitive),
            ("write_only", self.write_only),
            ("validate", self.validate.first().map(|(span, _)| *span)),
            ("nested", self.nested),
        ];
        match options
            .into_iter()
            .find_map(|(name, span)| span.map(|span| (name, span)))
        {
            Some((name, span)) => Err(Error::new(span, format!("`{name}` is not for blocks"))),
            None => Ok(()),
        }
    }
}

/// `#[tf(deprecated = "..")]` on the struct itself.
pub(crate) fn struct_deprecated(attributes: &[Attribute]) -> Result<Option<LitStr>> {
    let mut deprecated = None;
    for attribute in attributes {
        if attribute.path().is_ident("tf") {
            attribute.parse_nested_meta(|meta| {
                if !meta.path.is_ident("deprecated") {
                    return Err(meta.error("a model as a whole takes only `deprecated`"));
                }
                deprecated = Some(meta.value()?.parse()?);
                Ok(())
            })?;
        }
    }
    Ok(deprecated)
}

/// `Some("..".into())` or `None`, as an expression.
pub(crate) fn optional_text(text: Option<&LitStr>) -> TokenStream {
    match text {
        Some(text) => {
            quote!(::core::option::Option::Some(::std::string::String::from(#text)))
        }
        None => quote!(::core::option::Option::None),
    }
}

/// The default as a value of the member's type. Plain literals are taken as
/// they are, so that `default = 30` is an `i64`; anything else is converted.
fn convert(default: &Expr, inner: &Type, span: Span) -> TokenStream {
    let literal = match default {
        Expr::Unary(unary) => &*unary.expr,
        other => other,
    };
    match literal {
        Expr::Lit(literal) if !matches!(literal.lit, Lit::Str(_)) => quote!(#default),
        _ => quote::quote_spanned!(span=> <#inner as ::core::convert::From<_>>::from(#default)),
    }
}

/// The argument of `Attr<..>`.
fn attr_argument(ty: &Type) -> Option<Type> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last()?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else {
        return None;
    };
    match (&arguments.args.first()?, arguments.args.len()) {
        (GenericArgument::Type(inner), 1) if last.ident == "Attr" => Some(inner.clone()),
        _ => None,
    }
}

fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_lowercase())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

fn put<T>(place: &mut Option<(Span, T)>, span: Span, option: &str, value: T) -> Result<()> {
    match place.replace((span, value)) {
        Some(_) => Err(twice(span, option)),
        None => Ok(()),
    }
}

fn twice(span: Span, option: &str) -> Error {
    Error::new(span, format!("`{option}` is written twice"))
}

fn unknown(path: &Path) -> Error {
    let name = path.to_token_stream();
    Error::new(
        path.span(),
        format!("unknown option `{name}`: expected {OPTIONS}"),
    )
}
