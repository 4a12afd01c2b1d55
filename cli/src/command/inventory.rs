//! `writ inventory import`: the files and the script of an Ansible inventory are read here, what they mean is [`crate::ansible`]'s.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use writ_protocol::reason::Code;

use super::Desk;
use crate::ansible::{self, AnsibleError, INVENTORY_BYTES_MAX, INVENTORY_FILES_MAX, Note, Source, Sources};
use crate::args::Inventory;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::output::{Format, Printer, plain};
use crate::tool::{self, Bounds, text_of};

/// Most notes that are told; more of them are counted.
const NOTES_TOLD: usize = 200;

pub(crate) fn run(desk: &Desk, command: &Inventory) -> anyhow::Result<Exit> {
    let Inventory::Import {
        path,
        script,
        strict,
        timeout,
    } = command;
    let sources = read(path, script.then(|| Duration::from_secs(*timeout)))?;
    let (imported, notes) = ansible::import(&sources).map_err(|error| refused(&error))?;
    if !notes.is_empty() {
        tell(desk, &notes);
        if *strict {
            let what = format!("of {} is not taken over: {}", path.display(), things(notes.len()));
            return Err(Fault::new(Exit::Invalid, what)
                .help("mend what stands above, or import without --strict")
                .into());
        }
    }
    let format = match desk.printer.format {
        Format::Json => Format::Json,
        // For people too: it is what a file of an inventory holds.
        _ => Format::Yaml,
    };
    Printer { format }.show(&imported, String::new)?;
    let count = imported.hosts.len();
    let hosts = if count == 1 { "host" } else { "hosts" };
    desk.teller.say(&format!(
        "{count} {hosts}; next: writ validate PATH --inventory FILE"
    ));
    Ok(Exit::Done)
}

fn things(count: usize) -> String {
    if count == 1 {
        "1 thing".to_owned()
    } else {
        format!("{count} things")
    }
}

fn tell(desk: &Desk, notes: &[Note]) {
    for note in notes.iter().take(NOTES_TOLD) {
        let place = format!("{}:{}", note.file, note.line);
        desk.teller
            .complain(&format!("warning: {}: {}\n", plain(&place), plain(&note.message)));
    }
    if let Some(more @ 1..) = notes.len().checked_sub(NOTES_TOLD) {
        desk.teller.complain(&format!("warning: and {more} more\n"));
    }
}

fn refused(error: &AnsibleError) -> anyhow::Error {
    let code = match error {
        AnsibleError::Malformed { .. } => Code::Malformed,
        AnsibleError::TooMuch { .. } => Code::TooLarge,
    };
    Fault::coded(code, plain(&error.to_string()))
        .help("`ansible-inventory -i PATH --list` shows what Ansible reads there; what it prints can be imported with --script")
        .into()
}

fn read(path: &Path, patience: Option<Duration>) -> anyhow::Result<Sources> {
    let name = path.display().to_string();
    if path.is_dir() {
        let what = format!("{name} is a folder");
        return Err(Fault::new(Exit::Invalid, what)
            .help("name one inventory in it; several are imported one by one")
            .into());
    }
    let text = match patience {
        Some(patience) => run_script(path, patience)?,
        None => read_text(path)?,
    };
    if patience.is_none() && text.starts_with("#!") {
        let what = format!("{name} is a program");
        return Err(Fault::new(Exit::Invalid, what)
            .help("--script runs it, as you and with all that you may do")
            .into());
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut left = INVENTORY_FILES_MAX;
    Ok(Sources {
        inventory: Source { name, text },
        is_script: patience.is_some(),
        group_vars: vars_files(&folder.join("group_vars"), &mut left)?,
        host_vars: vars_files(&folder.join("host_vars"), &mut left)?,
    })
}

/// Files of variables in a folder: `NAME`, `NAME.yml`, `NAME.yaml`, `NAME.json`, or all such in a folder `NAME`, each with the name.
fn vars_files(folder: &Path, left: &mut usize) -> anyhow::Result<Vec<(String, Source)>> {
    let mut found = Vec::new();
    for path in sorted(folder, left)? {
        let stem = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        if path.is_dir() {
            for inner in sorted(&path, left)?.iter().filter(|inner| is_vars(inner)) {
                found.push((stem.to_owned(), source(inner)?));
            }
        } else if is_vars(&path) {
            let stem = ["yml", "yaml", "json"]
                .iter()
                .find_map(|extension| stem.strip_suffix(extension)?.strip_suffix('.'))
                .unwrap_or(stem);
            found.push((stem.to_owned(), source(&path)?));
        }
    }
    Ok(found)
}

fn sorted(folder: &Path, left: &mut usize) -> anyhow::Result<Vec<PathBuf>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        *left = left.checked_sub(1).ok_or_else(|| {
            let what = format!("beside the inventory lie more than {INVENTORY_FILES_MAX} files");
            Fault::coded(Code::TooLarge, what)
        })?;
        paths.push(
            entry
                .with_context(|| format!("reading {}", folder.display()))?
                .path(),
        );
    }
    paths.sort();
    Ok(paths)
}

/// Whether Ansible takes a file for one of variables: no hidden one, no copy of an editor, no other extension.
fn is_vars(path: &Path) -> bool {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let extension = path.extension().and_then(|extension| extension.to_str());
    !name.starts_with('.')
        && !name.ends_with('~')
        && path.is_file()
        && matches!(extension, None | Some("yml" | "yaml" | "json"))
}

fn source(path: &Path) -> anyhow::Result<Source> {
    Ok(Source {
        name: path.display().to_string(),
        text: read_text(path)?,
    })
}

fn read_text(path: &Path) -> anyhow::Result<String> {
    let file = File::open(path).with_context(|| format!("reading {}", path.display()))?;
    text_of(file, INVENTORY_BYTES_MAX, &path.display().to_string())
}

/// What a script prints for `--list`. It and what it started is ended when its time is over or it prints too much.
fn run_script(path: &Path, patience: Duration) -> anyhow::Result<String> {
    let whole = std::path::absolute(path).with_context(|| format!("finding {}", path.display()))?;
    let mut command = Command::new(&whole);
    command.arg("--list");
    let bounds = Bounds {
        patience,
        bytes: INVENTORY_BYTES_MAX,
        late: "--timeout SECONDS gives it longer",
    };
    let told = tool::ask(command, &path.display().to_string(), bounds)?;
    if told.status.success() {
        return Ok(told.text);
    }
    let what = format!("{} ended with {}", path.display(), told.status);
    Err(Fault::new(Exit::Failed, what)
        .help("what it said stands above")
        .into())
}
