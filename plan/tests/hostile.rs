//! Hostile input: `compile` answers every text, quickly, and never panics.
#![expect(clippy::format_collect, reason = "texts of tests are short")]

use std::collections::BTreeMap;

use proptest::prelude::*;
use writ_plan::compile::{Sources, compile, files_needed};
use writ_plan::diagnostic::{DIAGNOSTICS_MAX, code, render};

const SEEDS: &[&str] = &[
    include_str!("../../deploy/demo/writ.yaml"),
    include_str!("bad_configs/many_mistakes.yaml"),
    include_str!("bad_configs/yaml_anchor_and_alias.yaml"),
    include_str!("bad_configs/ids_two_cycles.yaml"),
    include_str!("bad_configs/template_endless.yaml"),
    include_str!("bad_configs/each_unknown_member.yaml"),
    include_str!("bad_configs/each_undefined.yaml"),
    include_str!("bad_configs/when_malformed.yaml"),
    include_str!("bad_configs/include_missing.yaml"),
    include_str!("bad_configs/tags_bad_names.yaml"),
];

/// Pieces that mean something to one of the readers.
const PIECES: &[&str] = &[
    "{{",
    "}}",
    "{%",
    "%}",
    "{#",
    "#}",
    "{{ home }}",
    "{% for a in sites %}",
    "{% endfor %}",
    "{% if a %}",
    "\n",
    "\n  - ",
    ": ",
    "- ",
    "[",
    "]",
    "{",
    "}",
    "&a ",
    "*a ",
    "<<: ",
    "!!str ",
    "%YAML 1.2\n",
    "---\n",
    "...\n",
    "\"",
    "'",
    "|\n",
    ">-\n",
    "\t",
    "\u{0}",
    "\u{85}",
    "\u{feff}",
    "\r",
    "é",
    "\u{10ffff}",
    "~",
    "null",
    "99999999999999999999",
    "-1",
    "0x",
    "1e9",
    "file:",
    "command:",
    "depends_on: [command:compile]",
    "{{ each.value }}",
    "for_each: ",
    "\"{{ sites }}\"",
    "include: [site.conf.j2]\n",
    "defaults: ",
    "tags: [",
    "when: ",
    "os.id == ",
    " and not (",
    " in [",
    "cpus >= ",
    "file:/*",
    "[a]",
    "../",
    "/",
    "\\",
];

fn answer(text: &str) {
    let files = BTreeMap::from([("site.conf.j2".to_owned(), text.as_bytes().to_vec())]);
    let sources = Sources {
        config_name: "writ.yaml".into(),
        config_text: text.to_owned(),
        files,
    };
    match compile(&sources) {
        Ok(compiled) => assert!(compiled.graph.encode().is_ok(), "what compiles encodes"),
        Err(problems) => {
            assert!(
                !problems.is_empty() && problems.len() <= DIAGNOSTICS_MAX,
                "a refusal says why"
            );
            assert!(!render(&problems, 20).is_empty());
            assert!(serde_json::to_vec(&problems).is_ok());
        }
    }
    drop(files_needed("writ.yaml", text));
}

/// Replaces, at some places of a text, a few characters by a piece.
fn mutate(seed: &str, cuts: &[(prop::sample::Index, usize, prop::sample::Index)]) -> String {
    let mut text: Vec<char> = seed.chars().collect();
    for (at, length, piece) in cuts {
        let at = at.index(text.len() + 1);
        let end = (at + length).min(text.len());
        text.splice(at..end, piece.get(PIECES).chars());
    }
    text.into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn mutated_configs_are_answered(
        seed in prop::sample::select(SEEDS),
        cuts in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..12, any::<prop::sample::Index>()), 1..6),
    ) {
        answer(&mutate(seed, &cuts));
    }

    #[test]
    fn pieces_in_any_order_are_answered(pieces in prop::collection::vec(prop::sample::select(PIECES), 0..80)) {
        answer(&pieces.concat());
    }

    #[test]
    fn any_text_is_answered(text in "\\PC{0,400}") {
        answer(&text);
    }

    #[test]
    fn templates_of_pieces_are_answered(pieces in prop::collection::vec(prop::sample::select(PIECES), 0..40)) {
        let content = serde_json::to_string(&pieces.concat()).expect("is JSON");
        answer(&format!("version: 1\nproject: p\ntargets: {{ hosts: [a] }}\nvars: {{ home: h, sites: [a, b] }}\nresources:\n- file: /a\n  content: {content}\n"));
    }
}

fn codes(text: &str) -> Vec<String> {
    let sources = Sources {
        config_name: "writ.yaml".into(),
        config_text: text.to_owned(),
        files: BTreeMap::new(),
    };
    compile(&sources).map_or_else(
        |problems| problems.into_iter().map(|p| p.code).collect(),
        |_| Vec::new(),
    )
}

const HEAD: &str = "version: 1\nproject: p\ntargets: { hosts: [a] }\n";

#[test]
fn a_template_cannot_write_without_end() {
    let long = "x".repeat(60_000);
    let loops = "{% for a in l %}{{ s }}{% endfor %}";
    let text = format!(
        "{HEAD}vars: {{ s: {long}, l: [{}] }}\nresources:\n- file: /a\n  content: \"{loops}\"\n",
        "1,".repeat(100)
    );
    assert_eq!(codes(&text), [code::TEMPLATE_BOUND]);
    let joined = "{{ l | join(s) }}";
    let text = format!(
        "{HEAD}vars: {{ s: {long}, l: [{}] }}\nresources:\n- file: /a\n  content: \"{joined}\"\n",
        "1,".repeat(100)
    );
    assert_eq!(codes(&text), [code::TEMPLATE]);
}

#[test]
fn the_steps_of_all_templates_together_are_bounded() {
    let loops = "{% for a in l %}{% for b in l %}{% if b %}{% endif %}{% endfor %}{% endfor %}";
    let items: String = (0..200)
        .map(|n| format!("- file: /f{n}\n  content: \"{loops}\"\n"))
        .collect();
    let text = format!("{HEAD}vars: {{ l: [{}] }}\nresources:\n{items}", "1,".repeat(120));
    let found = codes(&text);
    assert!(
        found.len() > 100 && found.iter().all(|c| c == code::TEMPLATE_BOUND),
        "{found:?}"
    );
}

#[test]
fn large_configs_compile_or_are_refused_and_long_circles_end() {
    let items = |count: usize| -> String {
        (0..count)
            .flat_map(|n| [format!("- file: /f{n}\n"), "  state: absent\n".to_owned()])
            .collect()
    };
    assert!(codes(&format!("{HEAD}resources:\n{}", items(10_000))).is_empty());
    assert_eq!(
        codes(&format!("{HEAD}resources:\n{}", items(20_000))),
        [code::CONTENT_TOO_LARGE]
    );
    assert_eq!(
        codes(&format!("{HEAD}resources:\n{}", items(20_001))),
        [code::TOO_MANY]
    );
    let link = |n: usize, to: usize| format!("- command: c{n}\n  argv: [x]\n  depends_on: [command:c{to}]\n");
    let circle: String = (0..10_000).map(|n| link(n, (n + 1) % 10_000)).collect();
    assert_eq!(codes(&format!("{HEAD}resources:\n{circle}")), [code::CYCLE]);
    let unknown: String = (0..10_000)
        .map(|n| format!("- command: c{n}\n  argv: [x]\n  depends_on: [command:zz{n}]\n"))
        .collect();
    assert_eq!(
        codes(&format!("{HEAD}resources:\n{unknown}")).len(),
        DIAGNOSTICS_MAX
    );
}

#[test]
fn families_cannot_make_much_out_of_little() {
    let all: String = (0..1_000).map(|n| format!("m{n},")).collect();
    let family = |n: usize, content: &str| {
        format!("- file: \"/f{n}/{{{{ each.key }}}}\"\n  for_each: \"{{{{ all }}}}\"\n  content: {content}\n")
    };
    let large = family(0, &"x".repeat(900_000));
    assert_eq!(
        codes(&format!("{HEAD}vars: {{ all: [{all}] }}\nresources:\n{large}")),
        [code::TEMPLATE_BOUND]
    );
    // One file that many resources have is read once.
    let shared = many_with_source();
    let sources = Sources {
        config_name: "writ.yaml".into(),
        config_text: format!("{HEAD}vars: {{ all: [{all}] }}\nresources:\n{shared}"),
        files: BTreeMap::from([("large".to_owned(), vec![7; 8 << 20])]),
    };
    let out = compile(&sources).expect("compiles");
    assert_eq!((out.graph.resources.len(), out.blobs.len()), (5_000, 1));
}

fn many_with_source() -> String {
    let family = |n: usize| {
        format!("- file: \"/f{n}/{{{{ each.key }}}}\"\n  for_each: \"{{{{ all }}}}\"\n  source: large\n")
    };
    (0..5).map(family).collect()
}
