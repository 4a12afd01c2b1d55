//! `writ explain` and `writ schema`: what the program knows of its own words, without a controller.

use writ_plan::diagnostic::code;
use writ_plan::schema;
use writ_protocol::reason::Code;

use super::{Desk, author};
use crate::args::{Explain, Explained, SchemaFormat};
use crate::exit::Exit;
use crate::fault::Fault;
use crate::nearest;

/// The page with one section for each code; `cargo xtask check` holds it to the codes.
const PAGE: &str = include_str!("../../../docs/errors.md");
/// What begins a section.
const SECTION: &str = "\n### ";

/// What a code means, why it happens, and what to do.
pub(crate) fn explain(desk: &Desk, args: &Explain) -> anyhow::Result<Exit> {
    if let Some(Explained::Value { name, path, values }) = &args.what {
        return author::explain_value(desk, name, path, values);
    }
    let Some(wanted) = &args.code else {
        let rows: Vec<_> = codes()
            .map(|(code, title)| serde_json::json!({"code": code, "title": title}))
            .collect();
        let lines = || {
            codes()
                .map(|(code, title)| format!("{code}  {title}"))
                .collect::<Vec<_>>()
        };
        desk.list(&rows, |_| lines().join("\n"))?;
        return Ok(Exit::Done);
    };
    let wanted = wanted.to_ascii_uppercase();
    let (Some(title), Some(section)) = (title(&wanted), section(&wanted)) else {
        let known: Vec<String> = codes().map(|(code, _)| code).collect();
        let meant = nearest::did_you_mean(&wanted, known.iter().map(String::as_str));
        let list = "`writ explain` lists every code".to_owned();
        return Err(Fault::new(Exit::Invalid, format!("there is no code {wanted:?}"))
            .help(meant.into_iter().chain([list]).collect::<Vec<_>>().join("\n"))
            .into());
    };
    let text = section.replace("**", "");
    let value = serde_json::json!({"code": wanted, "title": title, "text": text});
    desk.printer
        .show(&value, || format!("{wanted}: {title}\n\n{text}"))?;
    Ok(Exit::Done)
}

/// The schema of a config, as it stands in `docs/schema`.
pub(crate) fn print_schema(desk: &Desk, format: SchemaFormat) -> anyhow::Result<Exit> {
    if format == SchemaFormat::Cue {
        desk.printer.text(schema::cue_definitions().trim_end())?;
        return Ok(Exit::Done);
    }
    let schema = schema::json_schema();
    let text = serde_json::to_string_pretty(&schema)?;
    desk.printer.show(&schema, || text)?;
    Ok(Exit::Done)
}

/// Every code with its title, in order.
fn codes() -> impl Iterator<Item = (String, &'static str)> {
    let ours = Code::ALL.iter().map(|code| (code.to_string(), code.title()));
    let configs = code::TABLE
        .iter()
        .map(|(code, title)| ((*code).to_owned(), *title));
    let mut all: Vec<_> = ours.chain(configs).collect();
    all.sort();
    all.into_iter()
}

fn title(wanted: &str) -> Option<&'static str> {
    codes().find(|(code, _)| code == wanted).map(|(_, title)| title)
}

/// The text under a code's heading.
fn section(code: &str) -> Option<&'static str> {
    let (_, rest) = PAGE.split_once(&format!("{SECTION}{code}: "))?;
    let (_, body) = rest.split_once('\n')?;
    let end = ["\n### ", "\n## "]
        .iter()
        .filter_map(|next| body.find(next))
        .min();
    Some(body.get(..end.unwrap_or(body.len()))?.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_title_and_a_text() {
        let mut count = 0;
        for (code, _) in codes() {
            let text = section(&code).unwrap_or_default();
            assert!(text.contains("What to do"), "{code}: {text:?}");
            assert!(!text.contains("###"), "{code} runs into the next one");
            count += 1;
        }
        assert!(count > 60, "only {count}");
    }
}
