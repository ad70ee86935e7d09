//! Sorting and paging of lists.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{super::refusal::Refusal, Input};

/// Something in a list, with what it can be sorted by.
pub(super) struct Row {
    pub time_created: String,
    pub display_name: String,
    /// Creation order, where times are equal.
    pub sequence: u64,
    pub json: Value,
}

/// One page of a list.
pub(super) struct Page {
    pub items: Vec<Value>,
    pub remaining: usize,
    pub next: Option<String>,
}

/// Sorts as `sortBy` and `sortOrder` say, and cuts out the page that `page` and `limit` name.
///
/// A page token says after which row to go on, so rows that appear or vanish
/// while a client pages do not make it miss others.
pub(super) fn page(input: &Input<'_>, by_name: &str, mut rows: Vec<Row>) -> Result<Page, Refusal> {
    let named = match input.query("sortBy") {
        None | Some("TIMECREATED") => false,
        Some(name) if name == by_name => true,
        Some(other) => return Err(Refusal::invalid(format!("Unknown sortBy: {other}"))),
    };
    let ascending = match input.query("sortOrder") {
        None => named,
        Some("ASC") => true,
        Some("DESC") => false,
        Some(other) => return Err(Refusal::invalid(format!("Unknown sortOrder: {other}"))),
    };
    let key = |row: &Row| {
        let text = if named {
            &row.display_name
        } else {
            &row.time_created
        };
        (text.clone(), row.sequence)
    };
    rows.sort_by_cached_key(key);
    if !ascending {
        rows.reverse();
    }

    let limit = match input.query("limit") {
        None => input.settings.page_size,
        Some(text) => text
            .parse()
            .ok()
            .filter(|limit| (1..=1000).contains(limit))
            .ok_or_else(|| {
                Refusal::invalid(format!("limit must be between 1 and 1000, not '{text}'"))
            })?,
    };
    let question = question(input);
    let start = match input.query("page") {
        None => 0,
        Some(token) => {
            let after = parse(token, &question)?;
            rows.iter()
                .position(|row| {
                    if ascending {
                        key(row) > after
                    } else {
                        key(row) < after
                    }
                })
                .unwrap_or(rows.len())
        }
    };
    let end = rows.len().min(start + limit);
    let next = (end < rows.len()).then(|| print(&question, &key(&rows[end - 1])));
    let remaining = rows.len() - end;
    let items = rows
        .into_iter()
        .skip(start)
        .take(end - start)
        .map(|row| row.json)
        .collect();
    Ok(Page {
        items,
        remaining,
        next,
    })
}

/// What was asked, apart from the page: a token is good for one question only.
fn question(input: &Input<'_>) -> String {
    let mut hash = Sha256::new();
    for (name, value) in input.query {
        if name != "page" {
            hash.update(format!("{name}={value}\n"));
        }
    }
    hash.finalize()[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn print(question: &str, (text, sequence): &(String, u64)) -> String {
    URL_SAFE_NO_PAD.encode(format!("{question} {sequence} {text}"))
}

fn parse(token: &str, question: &str) -> Result<(String, u64), Refusal> {
    let invalid = || Refusal::invalid("The page token does not belong to this request");
    let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| invalid())?;
    let text = String::from_utf8(bytes).map_err(|_| invalid())?;
    let mut parts = text.splitn(3, ' ');
    match (parts.next(), parts.next().map(str::parse), parts.next()) {
        (Some(asked), Some(Ok(sequence)), Some(text)) if asked == question => {
            Ok((text.to_owned(), sequence))
        }
        _ => Err(invalid()),
    }
}
