//! `writ doctor`: looks at everything that commands rely on; each line says what is so and, where it is wrong, how to mend it.

use serde::Serialize;

use super::Desk;
use crate::context;
use crate::dev::lab;
use crate::dev::programs::{Programs, Wanted};
use crate::exit::Exit;
use crate::output::table;

#[derive(Debug, Serialize)]
struct Finding {
    what: &'static str,
    state: &'static str,
    detail: String,
}

pub(crate) fn run(desk: &Desk) -> anyhow::Result<Exit> {
    let mut found = Vec::new();
    let mut add = |what, result: anyhow::Result<String>, wrong| {
        let (state, detail) = match result {
            Ok(detail) => ("ok", detail),
            Err(error) => (wrong, crate::fault::tell(&error).trim_end().replace('\n', "; ")),
        };
        found.push(Finding { what, state, detail });
    };
    add(
        "configuration",
        desk.context().map(|_| context::path().display().to_string()),
        "wrong",
    );
    add("controller", controller(desk), "wrong");
    add("token", token(desk), "wrong");
    let parts = [
        (
            "PostgreSQL",
            Wanted {
                no_nats: true,
                no_controller: true,
                ..Wanted::default()
            },
        ),
        (
            "nats-server",
            Wanted {
                no_postgres: true,
                no_controller: true,
                ..Wanted::default()
            },
        ),
    ];
    for (what, wanted) in parts {
        // Only `writ dev` needs them here.
        add(what, Programs::find(&wanted).map(|p| place(&p)), "missing");
    }
    add(
        "lab hosts",
        lab::available()
            .map(|()| "can be had".to_owned())
            .map_err(anyhow::Error::msg),
        "missing",
    );
    let wrong = found.iter().any(|finding| finding.state == "wrong");
    desk.printer.show(&found, || {
        table(
            ["what", "state", "detail"],
            found
                .iter()
                .map(|f| [f.what.to_owned(), f.state.to_owned(), f.detail.clone()]),
        )
    })?;
    Ok(if wrong { Exit::Failed } else { Exit::Done })
}

fn place(programs: &Programs) -> String {
    let found = programs.pg_bin.as_ref().or(programs.nats_server.as_ref());
    found.map(|path| path.display().to_string()).unwrap_or_default()
}

fn controller(desk: &Desk) -> anyhow::Result<String> {
    let context = desk.context()?;
    let address = context.address()?.to_owned();
    crate::api::Client::new(&address, "")?.get_bytes("/readyz", 64 << 10)?;
    Ok(address)
}

fn token(desk: &Desk) -> anyhow::Result<String> {
    let agents = desk.client()?.agents()?;
    Ok(format!("is accepted; {} agents", agents.len()))
}
