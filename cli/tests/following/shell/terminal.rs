//! The shell around the program: completions it reads, and colours only where a terminal wants them.

use std::collections::BTreeMap;
use std::process::Command;

use super::kind;
use crate::stub::Stub;
use crate::{err, out};

#[test]
fn completions_are_what_their_shells_read() {
    let home = tempfile::tempdir().unwrap();
    let server = Stub::serving(kind);
    let mut scripts = BTreeMap::new();
    for shell in ["bash", "zsh", "fish"] {
        let output = server.writ(home.path(), &["completion", shell]).output().unwrap();
        assert!(
            output.status.success() && err(&output).is_empty(),
            "{shell}: {}",
            err(&output)
        );
        scripts.insert(shell, out(&output));
    }
    assert!(scripts["zsh"].starts_with("#compdef writ") && scripts["zsh"].contains("quarantine"));
    assert!(scripts["fish"].contains("complete -c writ") && scripts["fish"].contains("quarantine"));
    // Bash itself completes with it.
    let ask = "source writ.bash; COMP_WORDS=(writ agent qu); COMP_CWORD=2; _writ writ qu agent; echo \"${COMPREPLY[@]}\"";
    std::fs::write(home.path().join("writ.bash"), &scripts["bash"]).unwrap();
    let bash = Command::new("bash")
        .args(["--norc", "-c", ask])
        .current_dir(home.path())
        .output()
        .unwrap();
    assert_eq!(out(&bash).trim(), "quarantine", "{}", err(&bash));
}

#[test]
fn colours_are_for_terminals_that_want_them() {
    let home = tempfile::tempdir().unwrap();
    let server = Stub::serving(kind);
    let args = "agent show nobody-at-all";
    let shown = |variables: &[(&str, &str)]| out(&server.on_a_terminal(home.path(), args, variables));
    assert!(shown(&[]).contains("\u{1b}[1;31merror"), "{:?}", shown(&[]));
    assert!(
        !shown(&[("NO_COLOR", "1")]).contains('\u{1b}'),
        "{:?}",
        shown(&[("NO_COLOR", "1")])
    );
    // With and without a build server around it, which many libraries take for a terminal with colours.
    for dumb in [&[("TERM", "dumb")][..], &[("TERM", "dumb"), ("CI", "true")]] {
        assert!(!shown(dumb).contains('\u{1b}'), "{dumb:?}: {:?}", shown(dumb));
    }
    let piped = server
        .writ(home.path(), &["agent", "show", "nobody-at-all"])
        .output()
        .unwrap();
    assert!(!err(&piped).contains('\u{1b}'), "{:?}", err(&piped));
}
