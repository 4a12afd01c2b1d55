//! The system's own tools at work for one resource: found before they are needed, run under the resource's limits, and judged by how they end.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, FileType};
use writ_protocol::exec::{Exit, Isolation, Meter, Usage};
use writ_protocol::graph::Resource;
use writ_sandbox::{Network, Outcome, Spec, Stream, TERMINATE_GRACE};

use crate::command::DEFAULT_PATH;
use crate::context::{Applied, Context};
use crate::error::Error;
use crate::host::Host;

/// Lines and characters of a tool's last words that an error repeats.
const SAID_LINES_MAX: usize = 6;
const SAID_CHARS_MAX: usize = 600;

/// Tools at work, and what they used so far.
pub(crate) struct Tools<'a, 'c> {
    pub(crate) host: &'a Host,
    pub(crate) resource: &'a Resource,
    pub(crate) context: &'a Context<'c>,
    usage: Usage,
    last: Option<Outcome>,
}

/// How a tool ended by itself.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    /// Its exit code.
    pub(crate) code: i32,
    /// What it wrote, as far as it was kept.
    pub(crate) text: String,
}

impl Ended {
    /// Its last words, for an error.
    pub(crate) fn said(&self) -> String {
        said(&self.text)
    }
}

/// A tool and what its package is called, for who must install it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tool {
    pub(crate) name: &'static str,
    pub(crate) package: &'static str,
}

impl<'a, 'c> Tools<'a, 'c> {
    pub(crate) fn new(host: &'a Host, resource: &'a Resource, context: &'a Context<'c>) -> Self {
        Self {
            host,
            resource,
            context,
            usage: Usage::none(Meter::Agent),
            last: None,
        }
    }

    /// What was used so far.
    pub(crate) fn usage(&self) -> Usage {
        self.usage.clone()
    }

    /// Books a run that went another way than [`Self::run`].
    pub(crate) fn book(&mut self, outcome: Outcome) -> Result<Ended, Error> {
        self.usage.add(&outcome.usage);
        let text = [outcome.output.head.as_slice(), outcome.output.tail.as_slice()].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        let exit = outcome.exit.clone();
        self.last = Some(outcome);
        let id = self.resource.id.clone();
        match exit {
            Exit::Code(code) => Ok(Ended { code, text }),
            Exit::Limit(limit) => Err(Error::Limit { id, limit }),
            Exit::Killed(reason) => Err(Error::Stopped { id, reason }),
            Exit::Signal(signal) => Err(Error::Tool {
                id,
                tool: "a tool".to_owned(),
                ended: format!("signal {signal}"),
                said: said(&text),
            }),
        }
    }

    /// Milliseconds that are left of the resource's wall limit.
    pub(crate) fn wall_left_ms(&self) -> u64 {
        let used = self.usage.wall_us.div_ceil(1_000);
        self.resource.limits.wall_ms.saturating_sub(used).max(1)
    }

    /// The words of a call, as this host's root needs them.
    pub(crate) fn argv(&self, tool: Tool, arguments: &[&str]) -> Result<Vec<String>, Error> {
        let path = find(self.host.root(), tool.name).ok_or_else(|| Error::ToolMissing {
            id: self.resource.id.clone(),
            tool: tool.name,
            package: tool.package,
        })?;
        Ok(self.argv_at(&path, arguments))
    }

    /// The same for a program at a known path.
    pub(crate) fn argv_at(&self, path: &str, arguments: &[&str]) -> Vec<String> {
        let mut argv = self.host.way_in();
        argv.push(path.to_owned());
        argv.extend(arguments.iter().map(|&word| word.to_owned()));
        argv
    }

    /// Runs words made by [`Self::argv`] to their end.
    pub(crate) fn run(
        &mut self,
        argv: Vec<String>,
        env: &[(&str, &str)],
        on_output: &mut dyn FnMut(Stream, &[u8]),
    ) -> Result<Ended, Error> {
        let mut limits = self.resource.limits;
        limits.wall_ms = self.wall_left_ms();
        let spec = Spec {
            argv,
            cwd: "/".to_owned(),
            env: environment(env),
            input: None,
            looks: false,
            asks: false,
            user: None,
            limits,
            // It is there to change the host.
            isolation: Isolation::None,
            network: Network::Host,
            grace: TERMINATE_GRACE,
        };
        let ran = self.context.sandbox.run(&spec, self.context.control, on_output);
        let outcome = ran.map_err(|source| Error::Sandbox {
            id: self.resource.id.clone(),
            source,
        })?;
        self.book(outcome)
    }

    /// Runs a tool whose standard output is read here: up to so many bytes, and more than that is an error.
    pub(crate) fn read(&mut self, argv: Vec<String>, most: usize) -> Result<Ended, Error> {
        let (mut text, mut is_long) = (Vec::new(), false);
        // It is a look, and no output of the step.
        let last = self.last.take();
        let ran = self.run(argv, &[], &mut |stream, bytes| {
            if stream == Stream::Stdout && text.len() + bytes.len() <= most {
                text.extend_from_slice(bytes);
            } else {
                is_long |= stream == Stream::Stdout;
            }
        });
        self.last = last;
        let mut ended = ran?;
        if is_long {
            return Err(Error::Limit {
                id: self.resource.id.clone(),
                limit: format!("output ({most} bytes)"),
            });
        }
        if ended.code == 0 {
            ended.text = String::from_utf8_lossy(&text).into_owned();
        }
        Ok(ended)
    }

    /// Runs a tool that is to end well.
    pub(crate) fn must(
        &mut self,
        tool: Tool,
        arguments: &[&str],
        env: &[(&str, &str)],
        on_output: &mut dyn FnMut(Stream, &[u8]),
    ) -> Result<(), Error> {
        let argv = self.argv(tool, arguments)?;
        let ended = self.run(argv, env, on_output)?;
        self.judge(tool.name, &ended)
    }

    /// An error unless it ended well.
    pub(crate) fn judge(&self, tool: &str, ended: &Ended) -> Result<(), Error> {
        if ended.code == 0 {
            return Ok(());
        }
        Err(Error::Tool {
            id: self.resource.id.clone(),
            tool: tool.to_owned(),
            ended: format!("exit code {}", ended.code),
            said: ended.said(),
        })
    }

    /// What came of it: what failed before anything ran is an error, everything else is to be paid and told.
    pub(crate) fn applied(self, done: Result<(), Error>) -> Result<Applied, Error> {
        match (done, self.last) {
            (Err(error), None) => Err(error),
            (done, run) => Ok(Applied {
                failure: done.err(),
                run,
                usage: self.usage,
            }),
        }
    }
}

/// What every tool finds in its environment; nothing is inherited, and messages are not translated.
pub(crate) fn environment(more: &[(&str, &str)]) -> BTreeMap<String, String> {
    [("PATH", DEFAULT_PATH), ("HOME", "/root"), ("LC_ALL", "C.UTF-8")]
        .iter()
        .chain(more)
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// Where a program lies on the host.
pub(crate) fn find(root: &OwnedFd, name: &str) -> Option<String> {
    DEFAULT_PATH.split(':').find_map(|folder| {
        let path = format!("{folder}/{name}");
        is_program(root, &path).then_some(path)
    })
}

/// Whether something that can be run stands at a path. A link counts for what it says: it may lead anywhere on the host.
pub(crate) fn is_program(root: &OwnedFd, path: &str) -> bool {
    let relative = path.strip_prefix('/').unwrap_or(path);
    let Ok(stat) = rustix::fs::statat(root, relative, AtFlags::SYMLINK_NOFOLLOW) else {
        return false;
    };
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Symlink => true,
        FileType::RegularFile => stat.st_mode & 0o111 != 0,
        _ => false,
    }
}

/// The last words of a text, for an error.
pub(crate) fn said(text: &str) -> String {
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let last = lines.iter().rev().take(SAID_LINES_MAX).rev();
    let said = last.copied().collect::<Vec<_>>().join("; ");
    let skip = said.chars().count().saturating_sub(SAID_CHARS_MAX);
    let plain = |c: char| if c.is_control() { '�' } else { c };
    let said: String = said.chars().skip(skip).map(plain).collect();
    if said.is_empty() {
        "nothing".to_owned()
    } else {
        said
    }
}
