//! Every decoder of Writ under libFuzzer. `WRIT_FUZZ_TARGET` chooses; `WRIT_FUZZ_SEEDS` names a folder into which the golden vectors are
//! written first, as seeds. Started by `cargo xtask fuzz`.
//!
//! A target ends the process when a decoder panics, overflows, hangs, or breaks one of the properties that it asserts. To add one: a
//! function in a file below `targets/`, a row in `TARGETS`, and its name in `xtask/src/fuzz.rs`.
#![no_main]

mod seed;
mod targets;

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

/// Name and function of a target.
type Target = (&'static str, fn(&[u8]));

const TARGETS: [Target; 14] = [
    ("batch", targets::signed::batch),
    ("bundle", targets::signed::bundle),
    ("config", targets::config::compile),
    ("frame", targets::plain::frame),
    ("graph", targets::plain::graph),
    ("journal", targets::journal::recover),
    ("manifest", targets::signed::manifest),
    ("pack", targets::pack::verify),
    ("provider", targets::plain::provider),
    ("record", targets::plain::record),
    ("request", targets::request::parse),
    ("statement", targets::signed::statement),
    ("token", targets::plain::token),
    ("trust", targets::signed::trust),
];

static CHOSEN: OnceLock<fn(&[u8])> = OnceLock::new();

fn choose() {
    let name = std::env::var("WRIT_FUZZ_TARGET").expect("WRIT_FUZZ_TARGET names a target");
    let (_, target) = TARGETS
        .into_iter()
        .find(|(known, _)| *known == name)
        .expect("WRIT_FUZZ_TARGET names a target");
    if let Some(folder) = std::env::var_os("WRIT_FUZZ_SEEDS") {
        seed::write(&name, folder.as_ref());
    }
    CHOSEN.set(target).expect("chosen once");
}

fuzz_target!(init: choose(), |data: &[u8]| {
    CHOSEN.get().expect("chosen")(data);
});
