//! Doc comments as the Markdown that users read.

use syn::{Attribute, Expr, ExprLit, Lit, Meta};

/// The doc comment, if there is one with text in it.
pub(crate) fn markdown(attributes: &[Attribute]) -> Option<String> {
    let mut lines = Vec::new();
    for attribute in attributes {
        if let Meta::NameValue(pair) = &attribute.meta
            && pair.path.is_ident("doc")
            && let Expr::Lit(ExprLit {
                lit: Lit::Str(text),
                ..
            }) = &pair.value
        {
            // `/** .. */` comments arrive as one text of several lines.
            for line in text.value().split('\n') {
                lines.push(line.strip_prefix(' ').unwrap_or(line).trim_end().to_owned());
            }
        }
    }
    let text = join(&lines);
    (!text.is_empty()).then_some(text)
}

/// Lines of a paragraph become one line, as descriptions are shown in places
/// that know no Markdown; what needs its line breaks keeps them.
fn join(lines: &[String]) -> String {
    let mut text = String::new();
    let mut fenced = false;
    let mut joinable = false;
    for line in lines {
        let fence = line.trim_start().starts_with("```");
        let starts_anew = fenced || fence || keeps_line(line);
        if line.is_empty() && !fenced {
            if !text.is_empty() && !text.ends_with("\n\n") {
                text.truncate(text.trim_end_matches('\n').len());
                text.push_str("\n\n");
            }
            joinable = false;
            continue;
        }
        if joinable && !starts_anew {
            text.push(' ');
            text.push_str(line.trim_start());
        } else {
            if !text.is_empty() && (fenced || !text.ends_with("\n\n")) {
                text.push('\n');
            }
            text.push_str(line);
        }
        if fence {
            fenced = !fenced;
        }
        // A line after a list item or a quotation goes on with it; one after a
        // heading, a table row or code does not.
        joinable = !fenced && !fence && !line.starts_with(['#', '|']) && !line.starts_with("    ");
    }
    text.trim_matches('\n').to_owned()
}

fn keeps_line(line: &str) -> bool {
    let trimmed = line.trim_start();
    let digits = trimmed.bytes().take_while(u8::is_ascii_digit).count();
    line.starts_with("    ")
        || ["- ", "* ", "+ ", "#", "|", ">"]
            .iter()
            .any(|mark| trimmed.starts_with(mark))
        || (digits > 0 && trimmed[digits..].starts_with(". "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(lines: &[&str], expected: &str) {
        let lines: Vec<_> = lines.iter().map(|line| (*line).to_owned()).collect();
        assert_eq!(join(&lines), expected);
    }

    /// Paragraphs are one line each, with one empty line between them.
    #[test]
    fn paragraphs() {
        check(
            &["One", "sentence.", "", "", "Another."],
            "One sentence.\n\nAnother.",
        );
        check(&["", "One.", ""], "One.");
    }

    /// Lists, code, tables and headings keep their lines.
    #[test]
    fn structure() {
        check(
            &[
                "Either:",
                "- one",
                "  more of it",
                "- two",
                "",
                "1. first",
                "2. second",
            ],
            "Either:\n- one more of it\n- two\n\n1. first\n2. second",
        );
        check(
            &[
                "Like so:", "```", "a", "", "", "  b", "```", "and on", "it goes",
            ],
            "Like so:\n```\na\n\n\n  b\n```\nand on it goes",
        );
        check(
            &["# Title", "text", "| a | b |", "| - | - |"],
            "# Title\ntext\n| a | b |\n| - | - |",
        );
        check(&["In 2024.", "1.5 of it"], "In 2024. 1.5 of it");
    }
}
