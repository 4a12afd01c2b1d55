//! `writ doctor`: looks at everything that commands rely on. Each line says what is so; where something is wrong, what caused it and what to do
//! next. Nothing is changed.

mod controller;
mod files;
mod fleet;
mod machine;

use serde::Serialize;

use super::Desk;
use crate::exit::Exit;
use crate::output::table;

/// How a thing stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Standing {
    /// As it should be.
    Ok,
    /// Not needed, and not there.
    Missing,
    /// Works, and somebody should look.
    Warn,
    /// Does not work.
    Wrong,
}

/// What was found of one thing.
#[derive(Debug, Serialize)]
struct Finding {
    what: &'static str,
    state: Standing,
    /// What is so, and why.
    detail: String,
    /// What to do; nothing where all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

impl Finding {
    fn ok(what: &'static str, detail: impl Into<String>) -> Self {
        Self {
            what,
            state: Standing::Ok,
            detail: detail.into(),
            next: None,
        }
    }

    fn bad(what: &'static str, state: Standing, detail: impl Into<String>, next: impl Into<String>) -> Self {
        Self {
            what,
            state,
            detail: detail.into(),
            next: Some(next.into()),
        }
    }

    /// Why something could not be found out; the next step is the error's own, where it has one.
    fn of(what: &'static str, state: Standing, error: &anyhow::Error, next: &str) -> Self {
        let told = crate::fault::to_json(error);
        let causes = error.chain().map(ToString::to_string).collect::<Vec<_>>();
        let own = told
            .get("help")
            .and_then(|help| help.as_str())
            .map(|help| help.replace('\n', "; "));
        Self::bad(
            what,
            state,
            causes.join(": "),
            own.unwrap_or_else(|| next.to_owned()),
        )
    }
}

pub(crate) fn run(desk: &Desk) -> anyhow::Result<Exit> {
    let mut found = files::look(desk);
    let reached = controller::look(desk);
    let client = reached.client;
    found.extend(reached.found);
    if let Some(client) = client {
        found.extend(fleet::look(&client));
    }
    found.extend(machine::look());
    let wrong = found.iter().any(|finding| finding.state == Standing::Wrong);
    desk.list(&found, told)?;
    Ok(if wrong { Exit::Failed } else { Exit::Done })
}

fn told(found: &[Finding]) -> String {
    let word = |state| match state {
        Standing::Ok => "ok",
        Standing::Missing => "missing",
        Standing::Warn => "warn",
        Standing::Wrong => "wrong",
    };
    let lines = table(
        ["what", "state", "detail"],
        found
            .iter()
            .map(|f| [f.what.to_owned(), word(f.state).to_owned(), f.detail.clone()]),
    );
    let steps = found.iter().filter(|f| f.state > Standing::Missing);
    let steps: Vec<String> = steps
        .filter_map(|f| Some(format!("next, {}: {}", f.what, f.next.as_ref()?)))
        .collect();
    if steps.is_empty() {
        return lines;
    }
    format!("{lines}\n\n{}", steps.join("\n"))
}
