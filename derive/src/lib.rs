//! `#[derive(Model)]`: one annotated struct is schema, decoder and encoder.
//!
//! The documentation for authors is at `ocir::framework::Model`. What is
//! generated stays small: a row for each attribute and calls into
//! `ocir::framework::model`, where the work is done by ordinary functions.

mod docs;
mod member;

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput, Error, Fields, Result, parse_macro_input, spanned::Spanned};

use member::Member;

/// Implements `ocir::framework::Model` for a struct whose members are `Attr`s.
#[proc_macro_derive(Model, attributes(tf))]
pub fn model(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    expand(&input)
        .unwrap_or_else(Error::into_compile_error)
        .into()
}

fn expand(input: &DeriveInput) -> Result<TokenStream> {
    let Data::Struct(data) = &input.data else {
        return Err(Error::new(input.ident.span(), "a model is a struct"));
    };
    let Fields::Named(fields) = &data.fields else {
        return Err(Error::new(
            data.fields.span(),
            "the members of a model have names",
        ));
    };
    if !input.generics.params.is_empty() {
        return Err(Error::new(
            input.generics.span(),
            "a model has no type parameters",
        ));
    }
    let description = docs::markdown(&input.attrs).ok_or_else(|| {
        Error::new(
            input.ident.span(),
            "a model needs a doc comment: it is what users read",
        )
    })?;
    let deprecated = member::optional_text(member::struct_deprecated(&input.attrs)?.as_ref());

    let mut members = Vec::new();
    let mut errors: Option<Error> = None;
    for field in &fields.named {
        match Member::parse(field) {
            Ok(member) => members.push(member),
            Err(error) => match &mut errors {
                Some(errors) => errors.combine(error),
                None => errors = Some(error),
            },
        }
    }
    for (index, member) in members.iter().enumerate() {
        if members[..index]
            .iter()
            .any(|other| other.name == member.name)
        {
            let error = Error::new(
                member.ident.span(),
                format!("the name `{}` is taken", member.name),
            );
            match &mut errors {
                Some(errors) => errors.combine(error),
                None => errors = Some(error),
            }
        }
    }
    if let Some(errors) = errors {
        return Err(errors);
    }

    let ident = &input.ident;
    let attributes = members.iter().filter_map(Member::attribute);
    let blocks = members.iter().filter_map(Member::block);
    let idents: Vec<_> = members.iter().map(|member| &member.ident).collect();
    let names: Vec<_> = members.iter().map(|member| &member.name).collect();
    Ok(quote! {
        // A default is converted whether it has the member's type already or not.
        #[allow(clippy::useless_conversion)]
        #[automatically_derived]
        impl ::ocir::framework::Model for #ident {
            fn block() -> ::ocir::framework::Block {
                ::ocir::framework::Block {
                    attributes: ::std::vec![#(#attributes),*],
                    blocks: ::std::vec![#(#blocks),*],
                    description: ::std::string::String::from(#description),
                    deprecated: #deprecated,
                }
            }
            fn from_object(
                value: &::ocir::cty::Value,
            ) -> ::core::result::Result<Self, ::ocir::cty::Error> {
                ::core::result::Result::Ok(Self {
                    #(#idents: ::ocir::framework::model::member(value, #names)?,)*
                })
            }
            fn encode(&self) -> ::ocir::cty::Value {
                ::ocir::framework::model::object([
                    #((#names, ::ocir::framework::model::encode(&self.#idents)),)*
                ])
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(input: &str) -> String {
        let input: DeriveInput = syn::parse_str(input).expect("the test's own input parses");
        match expand(&input) {
            Ok(_) => "accepted".to_owned(),
            Err(errors) => errors
                .into_iter()
                .map(|error| {
                    let line = error.span().start().line;
                    format!("{line}: {error}")
                })
                .collect::<Vec<_>>()
                .join("\n"),
        }
    }

    fn member(attributes: &str, ty: &str) -> String {
        refusal(&format!(
            "/// A model.\nstruct S {{\n/// A member.\n#[tf({attributes})]\nmember: {ty},\n}}"
        ))
    }

    /// What contradicts itself is refused, with a message that says what to
    /// write instead, at the line of the option.
    #[test]
    fn contradictions() {
        let cases = [
            (
                "required, optional",
                "4: `required` and `optional` contradict each other",
            ),
            (
                "required, computed",
                "4: `required` and `computed` contradict each other",
            ),
            (
                "required, default = 1",
                "4: `required` and `default` contradict each other: an argument with a default may be left out",
            ),
            (
                "computed, default = 1",
                "4: a default makes an attribute optional and computed: leave out `computed`, or write `optional` too",
            ),
            ("optional, keep", "4: `keep` is for computed attributes"),
            (
                "default = 1, keep",
                "4: `keep` and `default` contradict each other: a default is never unknown",
            ),
            (
                "computed, replace",
                "4: `replace` is for arguments: what only the provider sets is planned by its resource",
            ),
            (
                "optional, computed, replace",
                "4: `replace` on an `optional, computed` attribute needs `keep`: without it every update would replace the object",
            ),
            (
                "computed, validate = f",
                "4: `validate` is for arguments: nobody but the provider sets this attribute",
            ),
            (
                "computed, write_only",
                "4: `write_only` is for arguments without a default: nothing may be stored",
            ),
            (
                "default = 1, write_only",
                "4: `write_only` is for arguments without a default: nothing may be stored",
            ),
            (
                "sensitive",
                "5: say who sets this attribute: `required`, `optional`, `computed`, `optional, computed` or `default = ..`",
            ),
            ("block, required", "4: `required` is not for blocks"),
            ("block, replace", "4: `replace` is not for blocks"),
            ("block, nested", "4: `nested` is not for blocks"),
            ("optional, optional", "4: `optional` is written twice"),
            (
                "optional, colour = 1",
                "4: unknown option `colour`: expected `required`, `optional`, `computed`, `default`, `replace`, `keep`, `sensitive`, `write_only`, `deprecated`, `validate`, `nested`, `block` or `name`",
            ),
            (
                "optional, name = \"Upper\"",
                "4: a name is made of lower-case letters, digits and underscores, and begins with a letter",
            ),
        ];
        for (attributes, message) in cases {
            assert_eq!(member(attributes, "Attr<i64>"), message, "{attributes}");
        }
    }

    /// Everything the documentation of `Model` lists is accepted.
    #[test]
    fn accepted() {
        for attributes in [
            "required",
            "optional",
            "computed",
            "optional, computed",
            "default = 5",
            "optional, default = 5",
            "optional, computed, default = 5",
            "required, replace",
            "default = 5, replace",
            "computed, keep",
            "optional, computed, keep, replace",
            "required, sensitive",
            "required, write_only",
            "optional, deprecated = \"Use `other`.\"",
            "optional, validate = check, validate = module::check",
            "optional, nested",
            "optional, name = \"type\"",
            "block",
            "block, deprecated = \"Use `other`.\", name = \"other_name\"",
        ] {
            assert_eq!(member(attributes, "Attr<i64>"), "accepted", "{attributes}");
        }
    }

    /// Members that are no attributes, or that users could not read about.
    #[test]
    fn members() {
        assert_eq!(
            member("optional", "String"),
            "5: the members of a model are `Attr<..>`"
        );
        assert_eq!(
            refusal(
                "/// M.\nstruct S {\n#[tf(optional)] a: Attr<i64>,\n#[tf(computed)] b: Attr<i64>\n}"
            ),
            "3: `a` needs a doc comment: it is what users read\n4: `b` needs a doc comment: it is what users read"
        );
        assert_eq!(
            refusal("/// M.\nstruct S {\n/// A.\na: Attr<i64>,\n}"),
            "4: say who sets this attribute: `required`, `optional`, `computed`, `optional, computed` or `default = ..`"
        );
        assert_eq!(
            refusal(
                "/// M.\nstruct S {\n/// A.\n#[tf(optional)] a: Attr<i64>,\n/// A.\n#[tf(optional, name = \"a\")] b: Attr<i64>,\n}"
            ),
            "6: the name `a` is taken"
        );
    }

    /// Things that are no models at all.
    #[test]
    fn not_a_model() {
        assert_eq!(
            refusal("/// M.\nstruct S<T> { a: Attr<T> }"),
            "2: a model has no type parameters"
        );
        assert_eq!(
            refusal("/// M.\nstruct S(Attr<i64>);"),
            "2: the members of a model have names"
        );
        assert_eq!(refusal("/// M.\nenum S { A }"), "2: a model is a struct");
        assert_eq!(
            refusal("struct S { }"),
            "1: a model needs a doc comment: it is what users read"
        );
    }
}
