//! Which series and labels a PromQL expression asks for. Not a parser of the language, which promtool is: it finds names, and takes every word that is
//! neither a function nor a keyword for a metric, so that a misspelt function is told as a metric that nobody exports.
//! Source of the words: the Prometheus documentation, "Querying basics", "Operators" and "Functions".

use std::collections::BTreeSet;

use anyhow::{Context as _, bail};

/// Words before a list of labels in parentheses.
const LISTS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];
/// Words that stand between operands, or are numbers.
const WORDS: [&str; 7] = ["and", "or", "unless", "bool", "offset", "inf", "nan"];
/// Functions and aggregations that are used here; another one is added when it is.
const FUNCTIONS: [&str; 21] = [
    "abs",
    "absent",
    "avg",
    "changes",
    "clamp_min",
    "count",
    "delta",
    "deriv",
    "histogram_quantile",
    "increase",
    "irate",
    "max",
    "max_over_time",
    "min",
    "min_over_time",
    "rate",
    "sum",
    "time",
    "topk",
    "vector",
    "avg_over_time",
];

/// A metric, and what its labels are held against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    /// Name of the series.
    pub metric: String,
    /// Labels and the text that they are compared with, whatever the comparison.
    pub matchers: Vec<(String, String)>,
}

/// What an expression asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Series.
    pub selectors: Vec<Selector>,
    /// Labels that it groups or joins by.
    pub grouping: BTreeSet<String>,
}

/// Finds what an expression asks for.
///
/// # Errors
/// Brackets or quotes that do not close.
pub fn read(expression: &str) -> anyhow::Result<Asked> {
    let (mut asked, mut rest) = (Asked::default(), expression.trim_start());
    while let Some(first) = rest.chars().next() {
        rest = match first {
            '[' => rest.split_once(']').context("a range does not end")?.1,
            '"' | '\'' => string(rest)?.1,
            '{' => bail!("a selector without a metric's name"),
            c if c.is_ascii_digit() => {
                rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '.')
            }
            c if is_word(c) => word(rest, &mut asked)?,
            c => rest.strip_prefix(c).unwrap_or_default(),
        }
        .trim_start();
    }
    Ok(asked)
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == ':'
}

fn word<'a>(text: &'a str, asked: &mut Asked) -> anyhow::Result<&'a str> {
    let (name, rest) = text.split_at(text.find(|c| !is_word(c)).unwrap_or(text.len()));
    let rest = rest.trim_start();
    if LISTS.contains(&name) {
        let Some(list) = rest.strip_prefix('(') else {
            return Ok(rest);
        };
        let (list, rest) = list.split_once(')').context("a list of labels does not end")?;
        let labels = list.split(',').map(str::trim).filter(|label| !label.is_empty());
        asked.grouping.extend(labels.map(str::to_owned));
        return Ok(rest);
    }
    if WORDS.contains(&name.to_ascii_lowercase().as_str()) || FUNCTIONS.contains(&name) {
        return Ok(rest);
    }
    let mut selector = Selector {
        metric: name.to_owned(),
        matchers: Vec::new(),
    };
    let rest = match rest.strip_prefix('{') {
        Some(inside) => matchers(inside, &mut selector.matchers)?,
        None => rest,
    };
    asked.selectors.push(selector);
    Ok(rest)
}

fn matchers<'a>(text: &'a str, found: &mut Vec<(String, String)>) -> anyhow::Result<&'a str> {
    let mut rest = text.trim_start();
    loop {
        if let Some(after) = rest.strip_prefix('}') {
            return Ok(after);
        }
        let (label, after) = rest.split_at(rest.find(|c| !is_word(c)).context("a selector does not end")?);
        let after = after
            .trim_start()
            .trim_start_matches(['=', '!', '~'])
            .trim_start();
        let (value, after) = string(after)?;
        found.push((label.to_owned(), value.to_owned()));
        rest = after.trim_start();
        rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
    }
}

/// The inside of a quoted text, and what follows.
fn string(text: &str) -> anyhow::Result<(&str, &str)> {
    let quote = text.chars().next().filter(|c| ['"', '\''].contains(c));
    let quote = quote.with_context(|| format!("a quoted text is missing at {text:?}"))?;
    let inside = text.strip_prefix(quote).unwrap_or_default();
    inside.split_once(quote).context("a quoted text does not end")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_found_wherever_it_stands() {
        let asked = read(
            "histogram_quantile(0.99, sum by (le, shard) (rate(a_seconds_bucket{answer!=\"failed\", shard=~'00|01'}[5m] offset 5m))) > 1e3 \
             and on (job) group_left b:c:d unless vector(1)",
        )
        .expect("reads");
        let names: Vec<&str> = asked.selectors.iter().map(|one| one.metric.as_str()).collect();
        assert_eq!(names, ["a_seconds_bucket", "b:c:d"]);
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(
            asked.selectors.first().map(|one| one.matchers.clone()),
            Some(vec![pair("answer", "failed"), pair("shard", "00|01")])
        );
        assert_eq!(
            asked.grouping.into_iter().collect::<Vec<_>>(),
            ["job", "le", "shard"]
        );
    }

    #[test]
    fn a_misspelt_function_is_a_metric_and_what_does_not_close_is_refused() {
        let asked = read("ratee(up[5m])").expect("reads");
        assert_eq!(asked.selectors.len(), 2);
        for text in [
            "up{",
            "up{a=",
            "up{a=\"b}",
            "rate(up[5m",
            "sum by (a up",
            "{a=\"b\"}",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
