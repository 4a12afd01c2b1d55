//! The catalogue as people and machines read it: the tables of `docs/metrics.md`, and `docs/metrics.json`.

use std::fmt::Write as _;

use anyhow::Context as _;
use writ_chassis::metrics::Catalogue;

/// What stands before and after what is written here.
const MARKS: [&str; 2] = ["<!-- written from the code: ", "<!-- end -->"];

/// The page with its tables written anew; everything outside the marks stays.
///
/// # Errors
/// The page has no marks for a process.
pub fn page(old: &str, catalogues: &[(&'static str, Catalogue)]) -> anyhow::Result<String> {
    let mut page = old.to_owned();
    for (process, catalogue) in catalogues {
        let begin = format!("{}{process} -->\n", MARKS[0]);
        let (before, rest) = page
            .split_once(&begin)
            .with_context(|| format!("the page has no line {begin:?}"))?;
        let (_, after) = rest
            .split_once(MARKS[1])
            .with_context(|| format!("nothing ends what is written of the {process}"))?;
        page = format!("{before}{begin}{}{}{after}", tables(catalogue), MARKS[1]);
    }
    Ok(page)
}

fn tables(catalogue: &Catalogue) -> String {
    let mut out = String::from("\n| Metric | Kind | Labels | Meaning |\n|---|---|---|---|\n");
    for metric in &catalogue.metrics {
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        // Writing to a text cannot fail.
        let _ = writeln!(
            out,
            "| `{}` | {} | {} | {} |",
            metric.name,
            metric.kind.name(),
            labels.join(", "),
            metric.help
        );
    }
    if !catalogue.labels.is_empty() {
        out.push_str("\n| Label | Values |\n|---|---|\n");
    }
    for (label, values) in &catalogue.labels {
        let values: Vec<String> = values.iter().map(|value| format!("`{value}`")).collect();
        let _ = writeln!(out, "| `{label}` | {} |", values.join(", "));
    }
    out.push('\n');
    out
}

/// The same for machines.
///
/// # Errors
/// It cannot be written as JSON.
pub fn json(catalogues: &[(&'static str, Catalogue)]) -> anyhow::Result<String> {
    let all: serde_json::Map<String, serde_json::Value> = catalogues
        .iter()
        .map(|(process, catalogue)| Ok(((*process).to_owned(), serde_json::to_value(catalogue)?)))
        .collect::<anyhow::Result<_>>()?;
    Ok(format!("{}\n", serde_json::to_string_pretty(&all)?))
}
