//! `writ provider`: a provider to begin with, and the conformance suite run on one.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use writ_conformance::provider::examples::{EXAMPLES_BYTES_MAX, Examples};
use writ_conformance::provider::report::Outcome;
use writ_conformance::provider::{Program, examine};
use writ_protocol::reason::Code;

use super::Desk;
use crate::args::{Language, Provider};
use crate::exit::Exit;
use crate::fault::Fault;

/// What the templates call themselves.
const TEMPLATE: &str = "writ-provider-template";
const RUST: &str = include_str!("../../../agent/provider-sdk/templates/rust/main.rs");
const PYTHON: &str = include_str!("../../../agent/provider-sdk/templates/python/main.py");
const EXAMPLES: &str = include_str!("../../../agent/provider-sdk/templates/conformance.json");
/// The file of examples.
const EXAMPLES_FILE: &str = "conformance.json";
/// Longest name, bytes.
const NAME_MAX: usize = 64;

pub(crate) fn run(desk: &Desk, command: &Provider) -> anyhow::Result<Exit> {
    match command {
        Provider::New {
            name,
            lang,
            sdk,
            into,
        } => new(desk, (name, *lang), sdk.as_deref(), into),
        Provider::Test { path, examples } => test(desk, path, examples.clone()),
    }
}

fn new(desk: &Desk, (name, lang): (&str, Language), sdk: Option<&Path>, into: &Path) -> anyhow::Result<Exit> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let begins = name.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
    if !begins || name.len() > NAME_MAX || !name.bytes().all(is_plain) {
        let what = format!("{name:?} is no name of a provider");
        let help = "a lowercase letter, then lowercase letters, digits and dashes, at most 64 in all";
        return Err(Fault::coded(Code::Malformed, what).help(help).into());
    }
    let folder = into.join(name);
    if folder.exists() {
        let what = format!("{} is there already", folder.display());
        return Err(Fault::coded(Code::Conflict, what)
            .help("choose another name, or another folder with --into")
            .into());
    }
    let write = |path: PathBuf, text: &str| -> anyhow::Result<()> {
        fs::write(&path, text.replace(TEMPLATE, name)).with_context(|| format!("writing {}", path.display()))
    };
    let next = if let (Language::Rust, Some(sdk)) = (lang, sdk) {
        let manifest = manifest(name, sdk)?;
        fs::create_dir_all(folder.join("src")).with_context(|| format!("making {}", folder.display()))?;
        write(folder.join("Cargo.toml"), &manifest)?;
        write(folder.join("src/main.rs"), RUST)?;
        format!(
            "cd {0} && cargo build && writ provider test target/debug/{name} --examples {EXAMPLES_FILE}",
            folder.display()
        )
    } else {
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        let program = folder.join(name);
        write(program.clone(), PYTHON)?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
        format!("writ provider test {}", program.display())
    };
    write(folder.join(EXAMPLES_FILE), EXAMPLES)?;
    desk.teller
        .say(&format!("wrote {}; next: {next}", folder.display()));
    Ok(Exit::Done)
}

/// A manifest that names the SDK where it lies.
fn manifest(name: &str, sdk: &Path) -> anyhow::Result<String> {
    let path = sdk
        .canonicalize()
        .ok()
        .filter(|path| path.join("Cargo.toml").is_file());
    let path = path.with_context(|| format!("{} is no folder of a Rust package", sdk.display()))?;
    let path = serde_json::to_string(&path.to_string_lossy())?;
    Ok(format!(
        "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\npublish = false\n\n[dependencies]\nwrit-provider-sdk = {{ path = {path} }}\n\
         serde = {{ version = \"1\", features = [\"derive\"] }}\nserde_json = \"1\"\n\n# A package of its own, wherever it lies.\n[workspace]\n"
    ))
}

fn test(desk: &Desk, path: &Path, examples: Option<PathBuf>) -> anyhow::Result<Exit> {
    let examples = read(&examples.unwrap_or_else(|| path.with_file_name(EXAMPLES_FILE)))?;
    let program = Program {
        path: path.to_path_buf(),
        arguments: vec![],
    };
    desk.teller.say("asking it everything; it takes a few seconds");
    let report = examine(&program, &examples)?;
    desk.printer.show(&report, || report.told())?;
    if report.is_good() {
        return Ok(Exit::Done);
    }
    let what = format!(
        "{} failed {} cases of the suite",
        path.display(),
        report.count(Outcome::Failed)
    );
    let help = "each FAILED line says what was seen; docs/providers.md says what a provider owes";
    Err(Fault::coded(Code::ProviderFails, what).help(help).into())
}

fn read(path: &Path) -> anyhow::Result<Examples> {
    let refuse = |why: String| {
        let help = "docs/providers.md has the form; --examples names another file";
        Fault::coded(Code::ExamplesUnusable, format!("{}: {why}", path.display())).help(help)
    };
    let size = fs::metadata(path)
        .map_err(|error| refuse(error.to_string()))?
        .len();
    if usize::try_from(size).is_ok_and(|size| size > EXAMPLES_BYTES_MAX) {
        return Err(refuse(format!(
            "it has {size} bytes; at most {EXAMPLES_BYTES_MAX} are possible"
        ))
        .into());
    }
    let text = fs::read(path).map_err(|error| refuse(error.to_string()))?;
    Ok(Examples::read(&text).map_err(|error| refuse(error.to_string()))?)
}
