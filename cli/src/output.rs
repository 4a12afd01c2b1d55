//! How the command talks: data on stdout in the asked form, talk on stderr, colours only where they are wanted.

use std::io::{IsTerminal as _, Write as _};

use anyhow::Context as _;
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

/// The form of data on stdout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// One JSON document.
    Json,
    /// One YAML document.
    Yaml,
    /// SARIF 2.1.0, of `writ validate` alone.
    Sarif,
    /// Lines that GitHub shows beside the code, of `writ validate` alone.
    Github,
}

impl Format {
    /// Whether only problems of a config can be told in this form.
    pub const fn is_of_problems(self) -> bool {
        matches!(self, Self::Sarif | Self::Github)
    }
}

/// Talk on stderr: what happens, never data.
#[derive(Clone, Debug, Default)]
pub struct Teller {
    quiet: bool,
}

/// Whether the terminal says of itself that it shows plain text only.
fn is_dumb() -> bool {
    std::env::var_os("TERM").is_some_and(|term| term == "dumb")
}

/// Settles colours for terminals that can show none. The library would colour them all the same where `CI` is set, because the
/// logs of most build servers do; one that calls its terminal dumb is taken at its word. `CLICOLOR_FORCE` still wins.
pub(crate) fn choose_colours() {
    let forced = std::env::var_os("CLICOLOR_FORCE").is_some_and(|value| value != "0");
    if is_dumb() && !forced {
        anstream::ColorChoice::Never.write_global();
    }
}

impl Teller {
    /// One that says everything, or nothing.
    pub const fn new(quiet: bool) -> Self {
        Self { quiet }
    }

    /// Says a line.
    pub fn say(&self, line: &str) {
        if !self.quiet {
            // In one piece: thousands of lines are said while something is carried out. Nobody who does not listen is worth failing for.
            anstream::stderr().write_all(format!("{line}\n").as_bytes()).ok();
        }
    }

    /// Says an error, which is never left out.
    pub fn complain(&self, text: &str) {
        let (red, plain) = ("\u{1b}[1;31m", "\u{1b}[0m");
        let text = text
            .strip_prefix("error")
            .map_or_else(|| text.to_owned(), |rest| format!("{red}error{plain}{rest}"));
        write!(anstream::stderr(), "{text}").ok();
    }

    /// Whether a person watches, so that lines may be drawn over.
    pub fn is_watched(&self) -> bool {
        !self.quiet && std::io::stderr().is_terminal() && !is_dumb()
    }
}

/// Data on stdout.
#[derive(Clone, Copy, Debug, Default)]
pub struct Printer {
    /// In which form.
    pub format: Format,
}

impl Printer {
    /// Shows a value: as it is for machines, as `people` words it for people.
    ///
    /// # Errors
    /// When it cannot be encoded, or stdout does not take it.
    pub fn show<T: Serialize>(&self, value: &T, people: impl FnOnce() -> String) -> anyhow::Result<()> {
        let text = match self.format {
            Format::Table | Format::Sarif | Format::Github => people(),
            Format::Json => serde_json::to_string_pretty(value)?,
            Format::Yaml => serde_saphyr::to_string(value).context("writing YAML")?,
        };
        self.text(&text)
    }

    /// Prints text, ended by one line end.
    ///
    /// # Errors
    /// When stdout does not take it. A closed pipe is no error: nobody reads on.
    pub fn text(&self, text: &str) -> anyhow::Result<()> {
        let end = if text.is_empty() || text.ends_with('\n') {
            ""
        } else {
            "\n"
        };
        self.raw(&format!("{text}{end}"))
    }

    /// Prints text as it is.
    ///
    /// # Errors
    /// As [`Printer::text`].
    pub fn raw(&self, text: &str) -> anyhow::Result<()> {
        let mut out = anstream::stdout();
        match write!(out, "{text}").and_then(|()| out.flush()) {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                Err(error).context("writing to stdout")
            }
            _ => Ok(()),
        }
    }

    /// Prints one JSON object on a line of its own.
    ///
    /// # Errors
    /// As [`Printer::text`].
    pub fn line<T: Serialize>(&self, value: &T) -> anyhow::Result<()> {
        self.text(&serde_json::to_string(value)?)
    }
}

/// A table for people: no frame, as wide as the terminal, readable in a pipe.
pub fn table<const N: usize>(head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(head.map(str::to_uppercase));
    let mut any = false;
    for row in rows {
        any = true;
        table.add_row(row.map(|cell| plain(&cell)));
    }
    if !any {
        return String::new();
    }
    let lines: Vec<String> = table
        .lines()
        .map(|line| line.trim_end().trim_start_matches(' ').to_owned())
        .collect();
    lines.join("\n")
}

/// Text from a host or a server, on one line and without control characters: it must not move the cursor of a terminal.
pub fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// Text of several lines from a host, without control characters but line ends and tabs.
pub fn plain_lines(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() && c != '\n' && c != '\t' {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}

/// An amount in micro-units of a currency.
pub fn money(micros: u64, currency: &str) -> String {
    format!("{}.{:06} {currency}", micros / 1_000_000, micros % 1_000_000)
        .trim_end()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_readable_in_a_pipe_and_an_empty_one_is_nothing() {
        let text = table(
            ["name", "state"],
            [["web-1".to_owned(), "up\u{1b}[31m".to_owned()]],
        );
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(
            lines[0].starts_with("NAME") && lines[0].ends_with("STATE"),
            "{text}"
        );
        assert!(
            lines[1].starts_with("web-1") && !text.contains('\u{1b}'),
            "{text}"
        );
        assert_eq!(table(["name"], []), "");
    }

    #[test]
    fn yaml_and_json_tell_the_same() {
        let value = serde_json::json!({"name": "web-1", "labels": {"env": "dev"}});
        let yaml = serde_saphyr::to_string(&value).unwrap();
        let back: serde_json::Value = serde_saphyr::from_str(&yaml).unwrap();
        assert_eq!(back, value);
    }

    #[test]
    fn a_host_cannot_move_the_cursor() {
        assert_eq!(plain("a\r\u{1b}[2Jb\n"), "a  [2Jb ");
        assert_eq!(plain_lines("a\n\u{7}b"), "a\n\u{fffd}b");
    }
}
