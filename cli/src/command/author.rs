//! `writ init` and `writ validate`: what needs no controller. Also how a config and the files it names are read for the other commands.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use writ_plan::CONFIG_BYTES_MAX;
use writ_plan::compile::{self, Compiled, Explained, Given, Place, Sources, VarFile};
use writ_plan::diagnostic::{self, Diagnostic};
use writ_plan::inventory::Inventory;
use writ_plan::schema;
use writ_protocol::digest::Digest;
use writ_protocol::limits::BUNDLE_BYTES_MAX;

use super::{Desk, cue, problems};
use crate::args::{Additions, CONFIG, ConfigFormat, Init, Validate, Values};
use crate::exit::Exit;
use crate::fault::Fault;
use crate::local::Places;
use crate::nearest;
use crate::output::{Format, Printer, plain};

/// Most problems shown at once.
const SHOWN: usize = 20;
/// What `writ init` writes.
const SAMPLE: &str = include_str!("sample.yaml");
/// The same in CUE, and how it is called.
const SAMPLE_CUE: &str = include_str!("sample.cue");
const CONFIG_CUE: &str = "writ.cue";
/// Where the definitions of a config are written, beside it.
const DEFINITIONS: &str = "schema.cue";

pub(crate) fn init(desk: &Desk, args: &Init) -> anyhow::Result<Exit> {
    let definitions = schema::cue_definitions();
    let files = match args.format {
        ConfigFormat::Yaml => vec![(CONFIG, SAMPLE)],
        ConfigFormat::Cue => vec![(CONFIG_CUE, SAMPLE_CUE), (DEFINITIONS, definitions.as_str())],
    };
    for (name, _) in &files {
        let path = args.folder.join(name);
        if path.exists() && !args.force {
            let what = format!("{} is there already", path.display());
            return Err(Fault::new(Exit::Failed, what)
                .help("--force writes over it")
                .into());
        }
    }
    fs::create_dir_all(&args.folder).with_context(|| format!("making {}", args.folder.display()))?;
    for (name, text) in &files {
        let path = args.folder.join(name);
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    let names = files.iter().map(|(name, _)| args.folder.join(name));
    let names: Vec<String> = names.map(|path| path.display().to_string()).collect();
    desk.teller.say(&format!(
        "wrote {}; next: writ validate {}",
        names.join(" and "),
        names.first().map_or(CONFIG, String::as_str)
    ));
    Ok(Exit::Done)
}

pub(crate) fn validate(desk: &Desk, args: &Validate) -> anyhow::Result<Exit> {
    let given = given(&args.values)?;
    let sources = match read(&args.path, &given)? {
        Ok(sources) => sources,
        Err(problems) => return report(desk.printer, &args.path, &problems),
    };
    let compiled = match compile::compile(&sources) {
        Ok(compiled) => compiled,
        Err(problems) => return report(desk.printer, &args.path, &problems),
    };
    let hosts = match &args.inventory {
        None => None,
        Some(file) => match selected(file, &sources, &compiled)? {
            Ok(hosts) => Some(hosts),
            Err((path, problems)) => return report(desk.printer, path.unwrap_or(&args.path), &problems),
        },
    };
    if desk.printer.format.is_of_problems() {
        told(desk.printer, &args.path, &[])?;
        return Ok(Exit::Done);
    }
    let value = serde_json::json!({
        "valid": true,
        "project": compiled.project,
        "resources": compiled.graph.resources.len(),
        "selection": compiled.graph.selection,
        "configDigest": compiled.config_digest,
        "hosts": hosts,
        "problems": [],
    });
    desk.printer.show(&value, || {
        let mut text = summary(&args.path, &compiled);
        if let Some(hosts) = &hosts {
            let (shown, more) = (hosts.iter().take(SHOWN), hosts.len().saturating_sub(SHOWN));
            let shown: Vec<&str> = shown.map(String::as_str).collect();
            let _ = write!(text, "\nhosts of the inventory: {}", plain(&shown.join(", ")));
            if more > 0 {
                let _ = write!(text, " and {more} more");
            }
        }
        text
    })?;
    Ok(Exit::Done)
}

/// What is wrong with an inventory, which is named, or with a config.
type Wrong<'a> = (Option<&'a Path>, Vec<Diagnostic>);

/// The hosts of an inventory that a config is for.
fn selected<'a>(
    file: &'a Path,
    sources: &Sources,
    compiled: &Compiled,
) -> anyhow::Result<Result<Vec<String>, Wrong<'a>>> {
    let (name, text) = read_inventory(file)?;
    let inventory = match Inventory::read(&name, &text) {
        Ok(inventory) => inventory,
        Err(problems) => return Ok(Err((Some(file), problems))),
    };
    if let Err(problems) = inventory.check(sources, &compiled.targets) {
        return Ok(Err((None, problems)));
    }
    let hosts = inventory.select(&compiled.targets);
    Ok(Ok(hosts.into_iter().map(ToOwned::to_owned).collect()))
}

fn summary(path: &Path, compiled: &Compiled) -> String {
    let (count, project) = (compiled.graph.resources.len(), &compiled.project);
    let noun = if count == 1 { "resource" } else { "resources" };
    let mut text = format!(
        "{} is valid: {count} {noun} of project {project}, config {}",
        path.display(),
        compiled.config_digest.short()
    );
    if let Some(part) = &compiled.graph.selection {
        let ids = compiled.graph.resources.iter().map(|one| one.id.as_str());
        let shown: Vec<&str> = ids.take(SHOWN).collect();
        let more = match count.saturating_sub(SHOWN) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let _ = write!(
            text,
            "\nchosen: {}{more}; left out: {}",
            plain(&shown.join(", ")),
            part.left_out
        );
    }
    text
}

/// Shows what is wrong with a config, on stdout because it is what was asked for.
pub(crate) fn report(printer: Printer, path: &Path, problems: &[Diagnostic]) -> anyhow::Result<Exit> {
    told(printer, path, problems)?;
    Ok(Exit::Invalid)
}

fn told(printer: Printer, path: &Path, problems: &[Diagnostic]) -> anyhow::Result<()> {
    match printer.format {
        Format::Sarif => printer.text(&serde_json::to_string_pretty(&problems::sarif(path, problems))?),
        Format::Github => printer.text(&problems::github(path, problems)),
        Format::Table | Format::Json | Format::Yaml => {
            let value = serde_json::json!({ "valid": false, "problems": problems });
            printer.show(&value, || diagnostic::render(problems, SHOWN))
        }
    }
}

/// A config that is known to compile, with the files it names.
///
/// # Errors
/// As [`compiled`].
pub(crate) fn sources(desk: &Desk, path: &Path, given: &Given) -> anyhow::Result<Sources> {
    let found = read(path, given)?.and_then(|sources| compile::compile(&sources).map(|_| sources));
    found.or_else(|problems| Err(not_valid(desk, path, &problems)?.into()))
}

/// A config as it compiles.
///
/// # Errors
/// When something cannot be read. Problems of the config are shown, and are a fault with [`Exit::Invalid`].
pub(crate) fn compiled(desk: &Desk, path: &Path, given: &Given) -> anyhow::Result<Compiled> {
    let found = read(path, given)?.and_then(|sources| compile::compile(&sources));
    found.or_else(|problems| Err(not_valid(desk, path, &problems)?.into()))
}

/// A config as it is by now; none where it is not valid any more.
///
/// # Errors
/// When something cannot be read.
pub(crate) fn compiled_again(path: &Path, given: &Given) -> anyhow::Result<Option<Compiled>> {
    let found = read(path, given)?;
    Ok(found.and_then(|sources| compile::compile(&sources)).ok())
}

/// Shows what is wrong with a config that something else was wanted of.
fn not_valid(desk: &Desk, path: &Path, problems: &[Diagnostic]) -> anyhow::Result<Fault> {
    if desk.printer.format == Format::Table {
        desk.teller.complain(&diagnostic::render(problems, SHOWN));
    } else {
        report(desk.printer, path, problems)?;
    }
    Ok(Fault::new(
        Exit::Invalid,
        format!("{} is not valid", path.display()),
    ))
}

/// Where the value of a config's variable comes from.
///
/// # Errors
/// As [`sources`]; also when the config has no such variable.
pub(crate) fn explain_value(desk: &Desk, name: &str, path: &Path, values: &Values) -> anyhow::Result<Exit> {
    let found = read(path, &given_values(values)?)?.and_then(|sources| compile::values(&sources));
    let all = match found {
        Ok(all) => all,
        Err(problems) => return Err(not_valid(desk, path, &problems)?.into()),
    };
    let Some(value) = all.iter().find(|one| one.name == name) else {
        let known = all.iter().map(|one| one.name.as_str());
        let meant = nearest::did_you_mean(name, known.clone());
        let list = format!("it has: {}", known.collect::<Vec<_>>().join(", "));
        let what = format!("{} has no variable {name:?}", path.display());
        return Err(Fault::new(Exit::Invalid, what)
            .help(meant.into_iter().chain([list]).collect::<Vec<_>>().join("\n"))
            .into());
    };
    desk.printer.show(value, || told_value(value))?;
    Ok(Exit::Done)
}

fn told_value(value: &Explained) -> String {
    let place = |from: &Place| {
        if from.layer == "var" {
            return "--var".to_owned();
        }
        let layer = match from.layer {
            "var-file" => "--var-file",
            "included" => "vars, included",
            layer => layer,
        };
        format!("{layer}, {}:{}:{}", from.file, from.line, from.column)
    };
    let mut lines = vec![
        format!("{} = {}", value.name, value.value),
        format!("  from {}", place(&value.from)),
    ];
    lines.extend(
        value
            .replaces
            .iter()
            .map(|one| format!("  over {} from {}", one.value, place(&one.from))),
    );
    lines.join("\n")
}

/// What the command line adds to a config.
///
/// # Errors
/// When a file of values cannot be read.
pub(crate) fn given(args: &Additions) -> anyhow::Result<Given> {
    Ok(Given {
        targets: args.target.clone(),
        tags: args.tags.clone(),
        skip_tags: args.skip_tags.clone(),
        ..given_values(&args.values)?
    })
}

fn given_values(values: &Values) -> anyhow::Result<Given> {
    let mut given = Given {
        vars: values.var.clone(),
        ..Given::default()
    };
    for path in &values.var_file {
        let (name, text) = read_text(path, CONFIG_BYTES_MAX)?;
        given.var_files.push(VarFile { name, text });
    }
    Ok(given)
}

/// Reads a config and the files it names.
fn read(path: &Path, given: &Given) -> anyhow::Result<Result<Sources, Vec<Diagnostic>>> {
    let (mut config_name, mut config_text) =
        read_text(path, CONFIG_BYTES_MAX).map_err(|error| hint(path, error))?;
    if cue::is_cue(path) {
        (config_name, config_text) = cue::exported(path, &config_text)?;
    }
    let mut sources = Sources {
        config_name,
        config_text,
        files: BTreeMap::new(),
    };
    sources.give(given);
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut tried = BTreeSet::new();
    let mut left = BUNDLE_BYTES_MAX;
    loop {
        let names = match compile::files_missing(&sources) {
            Ok(names) => names,
            Err(problems) => return Ok(Err(every_problem(&sources, problems))),
        };
        // A file that is missing is the compiler's to report, with the line that names it.
        let new: Vec<String> = names
            .into_iter()
            .filter(|name| tried.insert(name.clone()))
            .collect();
        if new.is_empty() {
            refuse_trials(&mut sources, given);
            return Ok(Ok(sources));
        }
        for name in new {
            let full = folder.join(&name);
            if full.is_file() {
                let content = read_bounded(&full, left)?;
                left -= content.len();
                sources.files.insert(name, content);
            }
        }
    }
}

/// Hands the compiler the digests of those files that came of trial runs of this machine; of others it need not know, and the config's digest
/// does not depend on them.
fn refuse_trials(sources: &mut Sources, given: &Given) {
    let usual = Places::usual()
        .and_then(|places| places.trials())
        .unwrap_or_default();
    let is_known = |digest: &Digest| given.dev_fast.contains(digest) || usual.contains(digest);
    let digests = sources.files.values().map(|content| Digest::of(content));
    let dev_fast = digests.filter(is_known).collect();
    sources.give(&Given {
        dev_fast,
        ..given.clone()
    });
}

/// Everything that is wrong with a config whose files cannot even be told: all at once, but no file that was not looked for.
fn every_problem(sources: &Sources, known: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let Err(mut all) = compile::compile(sources) else {
        return known;
    };
    let missing = [diagnostic::code::FILE_MISSING, diagnostic::code::PROVIDER_PROGRAM];
    all.retain(|one| !missing.contains(&one.code.as_ref()) || known.contains(one));
    if all.len() < known.len() { known } else { all }
}

fn hint(path: &Path, error: anyhow::Error) -> anyhow::Error {
    if path.exists() {
        return error;
    }
    Fault::new(Exit::Invalid, format!("there is no config {}", path.display()))
        .help("`writ init` writes a sample; or name the config: writ validate PATH")
        .into()
}

/// An inventory's text, with its file's own name.
pub(super) fn read_inventory(path: &Path) -> anyhow::Result<(String, String)> {
    read_text(path, writ_plan::INVENTORY_BYTES_MAX)
}

/// A text of at most `max` bytes, with its file's own name.
fn read_text(path: &Path, max: usize) -> anyhow::Result<(String, String)> {
    let bytes = read_bounded(path, max)?;
    let text = String::from_utf8(bytes).map_err(|_| {
        let what = format!("{} is not UTF-8 text", path.display());
        Fault::coded(writ_protocol::reason::Code::Malformed, what)
    })?;
    let name = path.file_name().unwrap_or(path.as_os_str());
    Ok((name.to_string_lossy().into_owned(), text))
}

fn read_bounded(path: &Path, max: usize) -> anyhow::Result<Vec<u8>> {
    let file = fs::File::open(path).with_context(|| format!("reading {}", path.display()))?;
    let mut bytes = Vec::new();
    let read = file.take(max as u64 + 1).read_to_end(&mut bytes);
    read.with_context(|| format!("reading {}", path.display()))?;
    if bytes.len() > max {
        bail!(Fault::coded(
            writ_protocol::reason::Code::TooLarge,
            format!(
                "{} is larger than the {max} bytes that are left for it",
                path.display()
            )
        ));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_is_valid() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(CONFIG);
        fs::write(&path, SAMPLE).unwrap();
        let sources = read(&path, &Given::default()).unwrap().unwrap();
        assert!(!compile::compile(&sources).unwrap().graph.resources.is_empty());
    }

    #[test]
    fn what_a_config_includes_is_read_with_it_and_its_mistakes_are_told_in_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        fs::create_dir(folder.path().join("roles")).unwrap();
        let head = "version: 1\nproject: p\ntargets: { hosts: [a] }\n";
        write(
            CONFIG,
            &format!("{head}include: [roles/web.yaml]\nresources: []\n"),
        );
        write(
            "roles/web.yaml",
            "resources:\n- file: /etc/motd\n  source: motd\n",
        );
        write("roles/motd", "hello");
        let path = folder.path().join(CONFIG);
        let sources = read(&path, &Given::default()).unwrap().unwrap();
        assert_eq!(
            sources.files.keys().collect::<Vec<_>>(),
            ["roles/motd", "roles/web.yaml"]
        );
        assert_eq!(compile::compile(&sources).unwrap().graph.resources.len(), 1);

        write(
            "roles/web.yaml",
            "resources:\n- file: /etc/motd\n  source: gone\n- file: etc\n  content: x\n",
        );
        let sources = read(&path, &Given::default()).unwrap().unwrap();
        let problems = compile::compile(&sources).unwrap_err();
        let places: Vec<_> = problems.iter().map(|one| (one.file.as_str(), one.line)).collect();
        assert_eq!(places, [("roles/web.yaml", 3), ("roles/web.yaml", 4)]);
    }

    #[test]
    fn a_config_that_is_not_there_names_the_next_step() {
        let error = read(Path::new("/nonexistent/writ.yaml"), &Given::default()).unwrap_err();
        assert_eq!(crate::fault::exit(&error), Exit::Invalid);
        assert!(crate::fault::tell(&error).contains("writ init"));
    }
}
