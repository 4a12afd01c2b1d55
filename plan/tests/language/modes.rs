//! How a run is carried out, and which files a strict config does not take.

use std::collections::BTreeSet;

use writ_plan::compile::{Given, compile};
use writ_plan::diagnostic::code;
use writ_protocol::digest::Digest;
use writ_protocol::exec::RunMode;

use crate::{compiled, of_files, sources};

const ONE: &str = "resources:\n- file: /srv/report\n  source: report_devfast.txt\n";

fn given(mode: Option<RunMode>) -> Given {
    Given {
        mode,
        ..Given::default()
    }
}

#[test]
fn a_config_is_strict_unless_it_or_the_command_line_says_otherwise() {
    let (plain, trial) = (
        "resources:\n- file: /srv/a\n  content: a\n",
        "runtime: { mode: dev-fast }\n",
    );
    for (head, asked, wanted) in [
        ("", None, RunMode::Strict),
        (trial, None, RunMode::DevFast),
        ("", Some(RunMode::DevFast), RunMode::DevFast),
        (trial, Some(RunMode::Strict), RunMode::Strict),
    ] {
        let mut from = sources(&format!("{head}{plain}"));
        from.give(&given(asked));
        assert_eq!(compiled(&from).graph.mode, wanted, "{head:?} {asked:?}");
    }
    let bytes = |head: &str| {
        compiled(&sources(&format!("{head}{plain}")))
            .graph
            .encode()
            .expect("encodes")
    };
    let (strict, fast) = (bytes(""), bytes(trial));
    assert_eq!(strict, bytes("runtime: { mode: strict }\n"));
    assert_ne!(strict, fast, "an approval of one is none of the other");
}

#[test]
fn a_trial_takes_what_came_of_a_trial_and_a_strict_config_does_not() {
    let mut from = of_files(&[("writ.yaml", ONE), ("report_devfast.txt", "made by a trial")]);
    let codes = |from| {
        compile(from)
            .expect_err("refused")
            .into_iter()
            .map(|one| one.code)
            .collect::<Vec<_>>()
    };
    assert_eq!(codes(&from), [code::NOT_STRICT]);
    from.give(&given(Some(RunMode::DevFast)));
    assert_eq!(compiled(&from).blobs.len(), 1);
}

#[test]
fn a_new_name_does_not_hide_what_came_of_a_trial() {
    let renamed = ONE.replace("_devfast", "");
    let mut from = of_files(&[("writ.yaml", &renamed), ("report.txt", "made by a trial")]);
    compiled(&from);
    let known = |text: &str| Given {
        dev_fast: BTreeSet::from([Digest::of(text.as_bytes())]),
        ..Given::default()
    };
    from.give(&known("made by a trial"));
    let problems = compile(&from).expect_err("refused");
    assert_eq!(
        (problems[0].code.as_str(), problems[0].line),
        (code::NOT_STRICT, 6)
    );
    from.give(&known("something else"));
    compiled(&from);
}
