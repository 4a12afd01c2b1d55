//! Rules as `regorus` evaluates them; the only place that knows it. A rule that fails, says nothing, takes too long or says anything but a boolean
//! decides nothing, which refuses.

use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use regorus::Value;
use regorus::utils::limits::ExecutionTimerConfig;

use super::files::{self, File, Files};
use super::{EVALUATION_MAX, PolicyError, Verdict, bounded};

/// The package whose rules decide.
const PACKAGE: [&str; 2] = ["writ", "egress"];
/// The rule that allows.
const ALLOW: &str = "data.writ.egress.allow";
/// The rule that says why not.
const REASON: &str = "data.writ.egress.reason";
/// What the engine says of a rule that is nowhere.
const NO_SUCH_RULE: &str = "not a valid rule path";
/// Units of work between two looks at the clock.
const LOOK_EVERY: NonZeroU32 = NonZeroU32::new(64).expect("64 is not zero");
/// Longest message about a wrong rule, bytes.
const MESSAGE_BYTES_MAX: usize = 512;

/// Compiled rules.
pub(super) struct Engine {
    /// As it was compiled: a panic may leave the other in the middle of something.
    pristine: regorus::Engine,
    live: regorus::Engine,
}

/// How a rule that tests others came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleTest {
    /// Its place: file, and path in `data`.
    pub name: String,
    /// Whether it is true; absent where it is left out on purpose (`todo_test_…`).
    pub has_passed: Option<bool>,
    /// What kept it from being true, where it is known; empty otherwise.
    pub detail: String,
}

impl Engine {
    /// Compiles the rules, without the tests.
    pub(super) fn compile(files: &Files) -> Result<Self, PolicyError> {
        let mut engine = loaded(files, &files.parts)?;
        let packages = engine
            .get_policy_package_components()
            .map_err(|error| told(&error))?;
        if !packages.iter().any(|package| package.components == PACKAGE) {
            return Err(PolicyError::Rule(
                "no file begins with `package writ.egress`".to_owned(),
            ));
        }
        // Compiles everything; what only shows when the rules are put together shows now and not at the first connection.
        engine
            .compile_with_entrypoint(&ALLOW.into())
            .map_err(|error| match placed(&error) {
                text if text == NO_SUCH_RULE => {
                    PolicyError::Rule("`package writ.egress` has no rule `allow`".to_owned())
                }
                text => PolicyError::Rule(text),
            })?;
        Ok(Self {
            live: engine.clone(),
            pristine: engine,
        })
    }

    /// What the rules say of a connection.
    pub(super) fn decide(&mut self, input: &str) -> Verdict {
        let live = &mut self.live;
        catch_unwind(AssertUnwindSafe(|| verdict(live, input))).unwrap_or_else(|_| {
            self.live = self.pristine.clone();
            Verdict::failed("its engine broke off")
        })
    }
}

fn loaded(files: &Files, parts: &[File]) -> Result<regorus::Engine, PolicyError> {
    let mut engine = regorus::Engine::new();
    // A built-in function that fails is an error and not merely "undefined": `not` of it would allow.
    engine.set_strict_builtin_errors(true);
    engine.set_execution_timer_config(ExecutionTimerConfig {
        limit: EVALUATION_MAX,
        check_interval: LOOK_EVERY,
    });
    // What rules print would go to the agent's standard error.
    engine.set_gather_prints(true);
    for file in parts.iter().filter(|file| files::is_rego(&file.name)) {
        engine
            .add_policy(file.name.clone(), file.text.clone())
            .map_err(|error| told(&error))?;
    }
    for document in files.data()? {
        engine
            .add_data_json(&document.to_string())
            .map_err(|error| told(&error))?;
    }
    Ok(engine)
}

fn verdict(engine: &mut regorus::Engine, input: &str) -> Verdict {
    match Value::from_json_str(input) {
        Ok(input) => engine.set_input(input),
        Err(error) => return Verdict::failed(&placed(&error)),
    }
    let decided = engine.eval_rule(ALLOW.to_owned());
    let verdict = match decided {
        Ok(Value::Bool(true)) => Verdict::allowed(),
        Ok(Value::Bool(false)) => match engine.eval_rule(REASON.to_owned()) {
            Ok(Value::String(reason)) => Verdict::denied(Some(&reason)),
            // Words are a courtesy: without them it is refused all the same.
            Ok(_) | Err(_) => Verdict::denied(None),
        },
        Ok(Value::Undefined) => Verdict::failed("`allow` is undefined"),
        Ok(_) => Verdict::failed("`allow` is not a boolean"),
        Err(error) => Verdict::failed(&placed(&error)),
    };
    // Kept for nobody; without this they pile up.
    drop(engine.take_prints());
    verdict
}

/// What a policy says of one input, as JSON.
///
/// # Errors
/// [`PolicyError`] when it cannot be read or compiled.
pub fn decide_once(path: &Path, input: &str) -> Result<Verdict, PolicyError> {
    Ok(Engine::compile(&files::read(path)?)?.decide(input))
}

/// Runs the rules that test a policy: those named `test_…` at the beginning of a line. True passes; everything else fails.
///
/// # Errors
/// [`PolicyError`] when the policy or its tests cannot be read or compiled.
pub fn run_tests(path: &Path) -> Result<Vec<RuleTest>, PolicyError> {
    let files = files::read(path)?;
    // The policy must stand without its tests.
    Engine::compile(&files)?;
    let all: Vec<File> = files.parts.iter().chain(&files.tests).cloned().collect();
    let mut engine = loaded(&files, &all)?;
    let packages = engine
        .get_policy_package_components()
        .map_err(|error| told(&error))?;
    let mut ran = Vec::new();
    for package in packages {
        let Some(file) = all.iter().find(|file| file.name == package.source_file) else {
            continue;
        };
        for rule in named_tests(&file.text) {
            let path = ["data"]
                .into_iter()
                .chain(package.components.iter().map(String::as_str))
                .chain([rule])
                .collect::<Vec<_>>()
                .join(".");
            ran.push(one_test(
                &mut engine,
                format!("{}: {path}", file.name),
                &path,
                rule,
            ));
        }
    }
    Ok(ran)
}

fn one_test(engine: &mut regorus::Engine, name: String, path: &str, rule: &str) -> RuleTest {
    if rule.starts_with("todo_") {
        return RuleTest {
            name,
            has_passed: None,
            detail: String::new(),
        };
    }
    engine.set_input(Value::new_object());
    let (has_passed, mut detail) = match engine.eval_rule(path.to_owned()) {
        Ok(Value::Bool(true)) => (true, String::new()),
        Ok(_) => (false, String::new()),
        Err(error) => (false, placed(&error)),
    };
    for line in engine.take_prints().unwrap_or_default() {
        if !detail.is_empty() {
            detail.push('\n');
        }
        detail.push_str(&bounded(&line));
    }
    RuleTest {
        name,
        has_passed: Some(has_passed),
        detail,
    }
}

/// The names of tests in a file, each once.
fn named_tests(text: &str) -> Vec<&str> {
    let mut names = Vec::new();
    for line in text.lines() {
        if !(line.starts_with("test_") || line.starts_with("todo_test_")) {
            continue;
        }
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let (name, _) = line.split_at(line.find(|c| !is_part(c)).unwrap_or(line.len()));
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

fn told(error: &impl std::fmt::Display) -> PolicyError {
    PolicyError::Rule(placed(error))
}

/// A message as one line, its place first: `egress.rego:3:1: …`.
fn placed(error: &impl std::fmt::Display) -> String {
    let text = error.to_string();
    let mut lines = text.lines();
    let place = lines.clone().find_map(|line| line.trim().strip_prefix("--> "));
    let what = lines.rfind(|line| line.trim().starts_with("error:"));
    let line = match (place, what) {
        (Some(place), Some(what)) => format!("{place}: {}", what.trim().trim_start_matches("error:").trim()),
        (_, _) => text.split_whitespace().collect::<Vec<_>>().join(" "),
    };
    let end = line.floor_char_boundary(MESSAGE_BYTES_MAX);
    line.get(..end).unwrap_or_default().to_owned()
}
