//! Templates: values put into text, strictly and within bounds.
//!
//! The engine is minijinja, cut down to what cannot grow: values come from `vars` alone, and nothing in a template can make a larger value
//! out of a smaller one (no `set`, no macros, no `~`, `+` or `*`, loops over named values only, a few filters with bounded results). With
//! fuel for the steps and a bound on the output this holds memory and time for hostile templates; fuel alone would not, since fifty
//! doublings are fifty steps. What a template is refused for stands in [`syntax`].

mod syntax;
mod value;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Object, Value, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior};

use crate::diagnostic::{Mark, Problem, Sink, SourceText, code};
use crate::yaml::read::Text;
use crate::yaml::{Key, Kind, Node};
use value::{Room, to_value};

pub(crate) use syntax::has_tags;

/// Steps that one template may take.
const TEMPLATE_FUEL: u64 = 200_000;
/// Steps that all templates of one config may take, however small its `vars` are.
const TEMPLATE_FUEL_TOTAL: u64 = 1_000_000;
/// Steps times bytes of `vars`: a step may read all of them, so a config with much to read gets fewer steps.
const TEMPLATE_WORK_TOTAL: u64 = 1 << 30;
/// Longest output of one template, bytes.
pub const TEMPLATE_OUTPUT_MAX: usize = 1 << 20;
/// Longest template file, bytes.
pub const TEMPLATE_BYTES_MAX: usize = 1 << 20;
/// Template text read for one config, bytes; a template that many resources use counts each time.
const TEMPLATE_BYTES_TOTAL: usize = 64 << 20;
/// Most bytes of text in `vars`, [`value::VALUE_BYTES`] for each value included.
const VARS_BYTES_MAX: usize = 64 << 10;
/// Most bytes of what one member of a `for_each` is made for, counted in the same way.
const MEMBER_BYTES_MAX: usize = 8 << 10;
/// Compiled templates kept at once: a family has a handful, and each is used for every member.
const COMPILED_MAX: usize = 64;
/// What the current member of a `for_each` is called in templates.
pub(crate) const EACH: &str = "each";

/// Words that mean something to the engine and cannot be names.
const RESERVED: &[&str] = &[
    "loop", "self", "true", "false", "none", "True", "False", "None", "not", "and", "or", "in", "is", "if",
    "else", EACH,
];

/// What a template may name: the values, and the current member of a `for_each` where there is one.
#[derive(Clone, Debug)]
struct Scope {
    vars: Value,
    each: Option<Value>,
}

impl Object for Scope {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        if key.as_str() == Some(EACH) {
            return self.each.clone();
        }
        self.vars.get_item(key).ok().filter(|value| !value.is_undefined())
    }
}

/// Renders the templates of one config.
pub(crate) struct Renderer {
    scope: Scope,
    /// The engine, with the templates compiled so far, each under its own text.
    engine: Environment<'static>,
    /// How many they are.
    compiled: usize,
    nodes: BTreeMap<String, Node>,
    names: BTreeSet<String>,
    /// What `vars` hold, bytes.
    used: usize,
    fuel: u64,
    bytes: usize,
}

impl Renderer {
    /// A renderer with these values, the later ones in place of earlier ones of the same name.
    pub(crate) fn new<'n>(vars: impl Iterator<Item = (&'n Key, &'n Node)>, sink: &mut Sink<'_>) -> Self {
        let mut names = BTreeSet::new();
        let mut nodes: BTreeMap<String, &Node> = BTreeMap::new();
        for (key, value) in vars {
            names.insert(key.text.clone());
            if syntax::is_name(&key.text) && !RESERVED.contains(&key.text.as_str()) {
                nodes.insert(key.text.clone(), value);
            } else {
                let message = "the name of a variable is letters, digits and `_`, and no word of templates";
                sink.push(Problem::new(code::NAME, key.mark, message));
            }
        }
        let mut room = Room::new("`vars` hold", VARS_BYTES_MAX);
        let good: BTreeMap<String, (Value, Node)> = nodes
            .into_iter()
            .filter_map(|(name, node)| {
                let value = to_value(node, &name, &mut room, sink)?;
                Some((name, (value, node.clone())))
            })
            .collect();
        let values: BTreeMap<String, Value> = good
            .iter()
            .map(|(name, (value, _))| (name.clone(), value.clone()))
            .collect();
        let nodes = good.into_iter().map(|(name, (_, node))| (name, node)).collect();
        let mut renderer = Self {
            scope: Scope {
                vars: Value::from(values),
                each: None,
            },
            engine: environment(),
            compiled: 0,
            nodes,
            names,
            used: room.used(),
            fuel: TEMPLATE_FUEL_TOTAL,
            bytes: TEMPLATE_BYTES_TOTAL,
        };
        renderer.bound_work(0);
        renderer
    }

    /// Gives fewer steps where a step can read more.
    fn bound_work(&mut self, more: usize) {
        let readable = u64::try_from(self.used.saturating_add(more)).unwrap_or(u64::MAX);
        self.fuel = self.fuel.min(TEMPLATE_WORK_TOTAL / readable.max(1));
    }

    /// Makes templates speak of one member of a `for_each`, until [`Renderer::leave`]; `None` after a problem.
    pub(crate) fn enter(&mut self, key: &str, value: &Node, sink: &mut Sink<'_>) -> Option<()> {
        let mut room = Room::new("one entry of `for_each` holds", MEMBER_BYTES_MAX);
        let value = to_value(value, "for_each", &mut room, sink)?;
        self.bound_work(room.used().saturating_add(key.len()));
        let each = BTreeMap::from([("key", Value::from(key)), ("value", value)]);
        self.scope.each = Some(Value::from(each));
        self.names.insert(EACH.to_owned());
        Some(())
    }

    /// Ends what [`Renderer::enter`] began.
    pub(crate) fn leave(&mut self) {
        self.names.remove(EACH);
        self.scope.each = None;
    }

    /// What a text such as `{{ sites.web }}`, and nothing beside it, names in `vars`.
    pub(crate) fn named(&self, text: &str) -> Option<&Node> {
        let path = text.trim().strip_prefix("{{")?.strip_suffix("}}")?.trim();
        let mut parts = path.split('.');
        let mut at = self.nodes.get(parts.next()?)?;
        for part in parts {
            at = match &at.kind {
                Kind::Map(_) => at.get(part)?.1,
                Kind::Null | Kind::Scalar { .. } | Kind::List(_) => return None,
            };
        }
        Some(at)
    }

    /// The names of `vars`.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// The text of a field with its values filled in.
    pub(crate) fn text(&mut self, text: &Text, sink: &mut Sink<'_>) -> Option<String> {
        if !has_tags(&text.value) && self.scope.each.is_none() {
            return Some(text.value.clone());
        }
        // What is the same for every member is read for each of them, and so it counts too.
        let filled = if has_tags(&text.value) {
            self.render(&text.value)
        } else {
            self.read(&text.value).map(|()| text.value.clone())
        };
        match filled {
            Ok(output) => Some(output),
            Err(failure) => {
                let place = if text.value.contains('\n') {
                    format!(" (line {} of the text)", failure.line)
                } else {
                    String::new()
                };
                sink.push(self.problem(&failure, text.mark, &place));
                None
            }
        }
    }

    /// A text that is no template, counted as read.
    pub(crate) fn as_written(&mut self, text: &Text, sink: &mut Sink<'_>) -> Option<String> {
        match self.read(&text.value) {
            Ok(()) => Some(text.value.clone()),
            Err(failure) => {
                sink.push(self.problem(&failure, text.mark, ""));
                None
            }
        }
    }

    /// The output of a template file; `at` is where the config names it.
    pub(crate) fn file(
        &mut self,
        name: &str,
        content: &[u8],
        at: Mark,
        sink: &mut Sink<'_>,
    ) -> Option<String> {
        if content.len() > TEMPLATE_BYTES_MAX {
            let message = format!(
                "template `{name}` has {} bytes, at most {TEMPLATE_BYTES_MAX} are accepted",
                content.len()
            );
            sink.push(Problem::new(code::TEMPLATE_BOUND, at, message));
            return None;
        }
        let Ok(source) = std::str::from_utf8(content) else {
            sink.push(
                Problem::new(code::TEMPLATE, at, format!("template `{name}` is not UTF-8"))
                    .hint("use `source` for files that are not text"),
            );
            return None;
        };
        match self.render(source) {
            Ok(output) => Some(output),
            Err(failure) => {
                let line = source
                    .split('\n')
                    .nth(failure.line.saturating_sub(1))
                    .unwrap_or("");
                let indent = line.chars().take_while(|c| c.is_whitespace()).count();
                let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
                let mark = Mark {
                    file: 0,
                    line: number(failure.line),
                    column: number(indent + 1),
                    length: number(line.trim().chars().count()),
                };
                sink.push_placed(
                    self.problem(&failure, mark, "")
                        .into_diagnostic(&SourceText::new(name, source)),
                );
                None
            }
        }
    }

    /// Counts a text as read.
    fn read(&mut self, source: &str) -> Result<(), Failure> {
        self.bytes = self.bytes.checked_sub(source.len()).ok_or_else(|| Failure {
            code: code::TEMPLATE_BOUND,
            line: 1,
            message: format!(
                "the texts of templates and families may have {TEMPLATE_BYTES_TOTAL} bytes in all, repeats counted"
            ),
            hint: None,
            undeclared: Vec::new(),
        })?;
        Ok(())
    }

    /// Compiles a template, unless another member of the same family brought it.
    fn prepare(&mut self, source: &str) -> Result<(), Failure> {
        if self.engine.get_template(source).is_ok() {
            return Ok(());
        }
        syntax::check(source)?;
        if self.compiled >= COMPILED_MAX {
            self.engine.clear_templates();
            self.compiled = 0;
        }
        self.engine
            .add_template_owned(source.to_owned(), source.to_owned())
            .map_err(|error| Failure::of(&error, 0, Vec::new()))?;
        self.compiled += 1;
        Ok(())
    }

    fn render(&mut self, source: &str) -> Result<String, Failure> {
        self.read(source)?;
        self.prepare(source)?;
        let fuel = TEMPLATE_FUEL.min(self.fuel);
        self.engine.set_fuel(Some(fuel));
        let mut undeclared = Vec::new();
        let mut output = Bounded(Vec::new());
        let scope = Value::from_object(self.scope.clone());
        let result = self.engine.get_template(source).and_then(|template| {
            let captured = template.render_captured_to(scope, &mut output);
            if captured.is_err() {
                undeclared = template.undeclared_variables(false).into_iter().collect();
            }
            captured.map(|captured| captured.state().fuel_levels().map_or(fuel, |(used, _)| used))
        });
        match result {
            Ok(used) => self.fuel = self.fuel.saturating_sub(used),
            Err(error) => {
                self.fuel = self.fuel.saturating_sub(fuel);
                return Err(Failure::of(&error, output.0.len(), undeclared));
            }
        }
        String::from_utf8(output.0)
            .map_err(|_| Failure::of(&Error::from(ErrorKind::WriteFailure), 0, Vec::new()))
    }

    fn problem(&self, failure: &Failure, mark: Mark, place: &str) -> Problem {
        let mut missing: Vec<&String> = failure
            .undeclared
            .iter()
            .filter(|name| !self.names.contains(*name))
            .collect();
        missing.sort();
        if failure.code == code::UNDEFINED && missing.iter().any(|name| *name == EACH) {
            let message = format!("`{EACH}` is there only in a resource with `for_each`{place}");
            return Problem::new(code::UNDEFINED, mark, message)
                .hint("give the resource a `for_each`, or use a name of `vars`");
        }
        if let (code::UNDEFINED, Some(name)) = (failure.code, missing.first()) {
            let known = self.names.iter().map(String::as_str);
            return Problem::new(
                code::UNDEFINED,
                mark,
                format!("the template uses `{name}`, which is not in `vars`{place}"),
            )
            .meant(name, known)
            .hint(format!(
                "add it to `vars`, or write `{{{{ {name} | default(\"…\") }}}}`"
            ));
        }
        let problem = Problem::new(failure.code, mark, format!("{}{place}", failure.message));
        match &failure.hint {
            Some(hint) => problem.hint(hint.clone()),
            None => problem,
        }
    }
}

/// Why a template did not become text.
#[derive(Debug)]
struct Failure {
    code: &'static str,
    /// Line of the template, from 1.
    line: usize,
    message: String,
    hint: Option<String>,
    undeclared: Vec<String>,
}

impl Failure {
    fn of(error: &Error, output: usize, undeclared: Vec<String>) -> Self {
        let line = error.line().unwrap_or(1).max(1);
        let detail = error
            .detail()
            .map_or_else(|| error.kind().to_string(), ToOwned::to_owned);
        let new = |code, message| Self {
            code,
            line,
            message,
            hint: None,
            undeclared,
        };
        if output >= TEMPLATE_OUTPUT_MAX {
            return new(
                code::TEMPLATE_BOUND,
                format!("the template yields more than {TEMPLATE_OUTPUT_MAX} bytes"),
            );
        }
        if error.kind() == ErrorKind::OutOfFuel {
            return new(
                code::TEMPLATE_BOUND,
                format!(
                    "the template takes too many steps: one may take {TEMPLATE_FUEL}, all together {TEMPLATE_FUEL_TOTAL}, fewer where `vars` are large"
                ),
            );
        }
        if error.kind() == ErrorKind::UndefinedError {
            return new(
                code::UNDEFINED,
                "the template uses a value that is not in `vars`".to_owned(),
            );
        }
        let mut failure = new(code::TEMPLATE, format!("the template is malformed: {detail}"));
        if error.kind() == ErrorKind::UnknownFilter {
            failure.hint = Some(format!("filters are: {}", FILTERS.join(", ")));
        }
        failure
    }
}

/// The filters that templates may use.
const FILTERS: &[&str] = &[
    "count", "d", "default", "first", "join", "last", "length", "lower", "trim", "upper",
];

fn environment() -> Environment<'static> {
    let mut environment = Environment::empty();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    // As written in the config, not as Python would print it.
    environment.set_formatter(|out, state, value| match truth(value) {
        Some(word) => Ok(out.write_str(word)?),
        None => minijinja::escape_formatter(out, state, value),
    });
    let mut syntax = SyntaxConfig::builder();
    syntax
        .keep_trailing_newline(true)
        .trim_blocks(true)
        .lstrip_blocks(true);
    if let Ok(syntax) = syntax.build() {
        environment.set_syntax(syntax);
    }
    environment.add_filter("default", minijinja::filters::default);
    environment.add_filter("d", minijinja::filters::default);
    environment.add_filter("upper", minijinja::filters::upper);
    environment.add_filter("lower", minijinja::filters::lower);
    environment.add_filter("trim", minijinja::filters::trim);
    environment.add_filter("length", minijinja::filters::length);
    environment.add_filter("count", minijinja::filters::length);
    environment.add_filter("first", minijinja::filters::first);
    environment.add_filter("last", minijinja::filters::last);
    environment.add_filter("join", join);
    environment.add_test("defined", minijinja::tests::is_defined);
    environment.add_test("undefined", minijinja::tests::is_undefined);
    environment
}

/// `true` or `false`, where a value is one of them.
fn truth(value: &Value) -> Option<&'static str> {
    match bool::try_from(value.clone()) {
        Ok(truth) if value.kind() == ValueKind::Bool => Some(if truth { "true" } else { "false" }),
        _ => None,
    }
}

/// `join` whose result is no longer than all of `vars`.
fn join(list: &Value, separator: Option<&str>) -> Result<String, Error> {
    let mut joined = String::new();
    for (index, item) in list.try_iter()?.enumerate() {
        if index > 0 {
            joined.push_str(separator.unwrap_or(""));
        }
        match truth(&item) {
            Some(word) => joined.push_str(word),
            None => joined.push_str(&item.to_string()),
        }
        if joined.len() > VARS_BYTES_MAX {
            return Err(Error::new(
                ErrorKind::InvalidOperation,
                format!("join yields more than {VARS_BYTES_MAX} bytes"),
            ));
        }
    }
    Ok(joined)
}

/// Output that refuses to grow past its bound.
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = TEMPLATE_OUTPUT_MAX.saturating_sub(self.0.len());
        self.0.extend(bytes.iter().take(room));
        if bytes.len() > room {
            Err(io::Error::other("output is too long"))
        } else {
            Ok(bytes.len())
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
