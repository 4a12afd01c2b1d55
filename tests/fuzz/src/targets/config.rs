//! Configs: compiled, explained, and the same every time.

use std::collections::BTreeMap;

use writ_plan::compile::{Sources, compile as run, files_needed};
use writ_plan::diagnostic::{DIAGNOSTICS_MAX, render};

/// The text up to a form feed is the config, the rest is the template that it may name.
pub(crate) fn compile(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (config, template) = text.split_once('\u{c}').unwrap_or((&text, "listen {{ port }}\n"));
    let mut files = BTreeMap::new();
    match files_needed("writ.yaml", config) {
        Ok(names) => {
            for name in names {
                files.insert(name, template.as_bytes().to_vec());
            }
        }
        Err(problems) => assert!((1..=DIAGNOSTICS_MAX).contains(&problems.len())),
    }
    let sources = Sources {
        config_name: "writ.yaml".to_owned(),
        config_text: config.to_owned(),
        files,
    };
    match run(&sources) {
        Ok(compiled) => {
            compiled.graph.encode().expect("a compiled graph can be written");
            let wanted: Vec<_> = compiled.graph.blobs().into_keys().collect();
            assert_eq!(compiled.blobs.keys().copied().collect::<Vec<_>>(), wanted);
            assert_eq!(run(&sources).expect("the same again"), compiled);
        }
        Err(problems) => {
            assert!(
                (1..=DIAGNOSTICS_MAX).contains(&problems.len()),
                "a refusal says why"
            );
            assert!(
                problems
                    .iter()
                    .all(|p| p.line >= 1 && p.column >= 1 && p.length >= 1)
            );
            let shown = render(&problems, 20);
            assert!(!shown.is_empty());
        }
    }
}
