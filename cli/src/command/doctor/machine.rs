//! What `writ dev` needs on this machine. Nothing of it is needed to work with a controller elsewhere.

use super::{Finding, Standing};
use crate::dev::lab;
use crate::dev::programs::{Programs, Wanted};

pub(super) fn look() -> Vec<Finding> {
    let only = |pg: bool, nats: bool, own: bool| Wanted {
        no_postgres: !pg,
        no_nats: !nats,
        no_controller: !own,
        ..Wanted::default()
    };
    let parts = [
        ("PostgreSQL", only(true, false, false)),
        ("nats-server", only(false, true, false)),
        ("own programs", only(false, false, true)),
    ];
    let mut found: Vec<Finding> = parts
        .into_iter()
        .map(|(what, wanted)| match Programs::find(&wanted) {
            Ok(programs) => Finding::ok(what, place(&programs)),
            Err(error) => Finding::of(what, Standing::Missing, &error, "only `writ dev` needs it"),
        })
        .collect();
    found.push(match lab::available() {
        Ok(()) => Finding::ok("lab hosts", "can be had"),
        Err(why) => Finding::bad(
            "lab hosts",
            Standing::Missing,
            why,
            "`writ dev up` runs agents as plain processes instead, which change this machine",
        ),
    });
    found
}

/// Where they are, and of which version.
fn place(programs: &Programs) -> String {
    let all = [
        programs.pg_bin.as_ref().map(|folder| folder.join("postgres")),
        programs.nats_server.clone(),
        Some(programs.controller.clone()).filter(|path| path.is_file()),
    ];
    let shown = all.into_iter().flatten().map(|program| {
        let version = crate::dev::programs::version_text(&program).unwrap_or_default();
        format!("{} ({})", program.display(), version.trim())
    });
    shown.collect::<Vec<_>>().join(", ")
}
