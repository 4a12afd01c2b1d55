//! The loop of a provider: agree on a version, then answer one question after the other until the host closes the pipe.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use writ_protocol::digest::Digest;
use writ_protocol::limits::DETAIL_BYTES_MAX;
use writ_protocol::provider::{
    Change, Hello, LENT_BYTES_MAX, PROVIDER_CHANGES_MAX, PROVIDER_PROTOCOL, Problem, Reason, Subject, ToHost,
    ToProvider, VERSIONS_MAX, Welcome, agree,
};

use crate::cancel::Cancel;
use crate::provider::{Provider, Work};
use crate::wire::{self, WireError};

/// Words that are read ahead of the work. A host asks one thing at a time, so one that lends much waits here.
const WAITING_MAX: usize = 4;

/// Why a provider ended before the host closed the pipe.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The pipe or what came on it is of no use.
    #[error("the host cannot be understood")]
    Wire(#[from] WireError),
    /// The host said something that does not belong there.
    #[error("the host broke the protocol: {0}")]
    Broken(&'static str),
}

type Said = Result<ToProvider, WireError>;

/// Answers on `output` what comes on `input`, which are a program's standard output and input, until `input` ends.
///
/// # Errors
/// [`ServeError`]; the program should then end with another exit code than 0.
pub fn serve<P: Provider>(
    provider: &mut P,
    input: impl Read + Send + 'static,
    output: impl Write,
) -> Result<(), ServeError> {
    let cancel = Cancel::default();
    let (to, said) = sync_channel(WAITING_MAX);
    let ears = cancel.clone();
    // Ends with the pipe or with the process.
    let _reader = thread::spawn(move || listen(input, &ears, &to));
    let mut desk = Desk {
        provider,
        output: RefCell::new(output),
        cancel,
        lent: BTreeMap::new(),
    };
    if !desk.greet(&said)? {
        return Ok(());
    }
    while let Ok(word) = said.recv() {
        desk.take(word?)?;
    }
    Ok(())
}

fn listen(mut input: impl Read, cancel: &Cancel, to: &SyncSender<Said>) {
    loop {
        let word = match wire::read(&mut input) {
            Ok(None) => return,
            Ok(Some(ToProvider::Cancel { id })) => {
                cancel.ask(id);
                continue;
            }
            Ok(Some(word)) => Ok(word),
            Err(error) => Err(error),
        };
        let is_last = word.is_err();
        if to.send(word).is_err() || is_last {
            return;
        }
    }
}

struct Desk<'a, P, W> {
    provider: &'a mut P,
    output: RefCell<W>,
    cancel: Cancel,
    lent: BTreeMap<Digest, Vec<u8>>,
}

impl<P: Provider, W: Write> Desk<'_, P, W> {
    /// Whether there is a version that both speak.
    fn greet(&mut self, said: &Receiver<Said>) -> Result<bool, ServeError> {
        let Ok(word) = said.recv() else {
            return Ok(false);
        };
        let ToProvider::Hello(Hello { versions, .. }) = word? else {
            return Err(ServeError::Broken("its first word is no hello"));
        };
        if versions.len() > VERSIONS_MAX {
            return Err(ServeError::Broken("it offers more versions than are possible"));
        }
        let spoken = [PROVIDER_PROTOCOL];
        let Some(version) = agree(&versions, &spoken) else {
            self.answer(&ToHost::Unfit {
                versions: spoken.to_vec(),
            })?;
            return Ok(false);
        };
        let me = self.provider.describe();
        self.answer(&ToHost::Welcome(Welcome {
            version,
            name: me.name,
            release: me.release,
            capabilities: me.capabilities,
            kinds: me.kinds,
        }))?;
        Ok(true)
    }

    fn take(&mut self, word: ToProvider) -> Result<(), ServeError> {
        match word {
            ToProvider::Hello(_) => Err(ServeError::Broken("it said hello twice")),
            ToProvider::Lend { digest, bytes } => self.keep(digest, bytes),
            // The reader keeps these to itself.
            ToProvider::Cancel { .. } => Ok(()),
            ToProvider::Observe { id, subject } => {
                let answer = self.work((id, &subject), Provider::observe)?;
                self.settle(id, answer.map(|observation| ToHost::Observed { id, observation }))
            }
            ToProvider::Diff {
                id,
                subject,
                observation,
            } => {
                let answer = self.work((id, &subject), |provider, work| provider.diff(work, &observation))?;
                self.settle(id, answer.and_then(|changes| differs(id, changes)))
            }
            ToProvider::Apply { id, subject, changes } => {
                let answer = self.work((id, &subject), |provider, work| provider.apply(work, &changes))?;
                self.settle(id, answer.map(|()| ToHost::Applied { id }))
            }
        }
    }

    fn keep(&mut self, digest: Digest, bytes: Vec<u8>) -> Result<(), ServeError> {
        if Digest::of(&bytes) != digest {
            return Err(ServeError::Broken(
                "content that it lent is not what it is called",
            ));
        }
        let held: usize = self.lent.values().map(Vec::len).sum();
        if held.saturating_add(bytes.len()) > LENT_BYTES_MAX {
            return Err(ServeError::Broken("it lent more than a question may need"));
        }
        self.lent.insert(digest, bytes);
        Ok(())
    }

    fn work<T>(
        &mut self,
        (id, subject): (u64, &Subject),
        answer: impl FnOnce(&mut P, &Work<'_>) -> Result<T, Problem>,
    ) -> Result<Result<T, Problem>, ServeError> {
        self.cancel.begin(id);
        let failed = RefCell::new(None);
        let say = RefCell::new(|text: &str| {
            let text = Problem::new(Reason::Failed, text).detail;
            let word = ToHost::Progress { id, text };
            if let Err(error) = wire::write(&mut *self.output.borrow_mut(), &word) {
                failed.borrow_mut().get_or_insert(error);
            }
        });
        let answer = if is_known(self.provider, subject) {
            answer(
                self.provider,
                &Work {
                    subject,
                    lent: &self.lent,
                    cancel: &self.cancel,
                    say: &say,
                },
            )
        } else {
            let detail = format!("{}: no kind {:?} here", subject.id, subject.kind);
            Err(Problem::new(Reason::Invalid, &detail))
        };
        self.cancel.end();
        self.lent.clear();
        failed.into_inner().map_or(Ok(answer), |error| Err(error.into()))
    }

    fn settle(&self, id: u64, answer: Result<ToHost, Problem>) -> Result<(), ServeError> {
        let answer = answer.unwrap_or_else(|problem| ToHost::Failed {
            id,
            problem: Problem::new(problem.reason, &problem.detail),
        });
        self.answer(&answer)
    }

    fn answer(&self, word: &ToHost) -> Result<(), ServeError> {
        Ok(wire::write(&mut *self.output.borrow_mut(), word)?)
    }
}

fn is_known<P: Provider>(provider: &P, subject: &Subject) -> bool {
    provider
        .describe()
        .kinds
        .iter()
        .any(|kind| kind.name == subject.kind)
}

fn differs(id: u64, mut changes: Vec<Change>) -> Result<ToHost, Problem> {
    if changes.len() > PROVIDER_CHANGES_MAX {
        let detail = format!("more than {PROVIDER_CHANGES_MAX} changes of one thing");
        return Err(Problem::new(Reason::Failed, &detail));
    }
    for change in &mut changes {
        for text in [&mut change.attribute, &mut change.want, &mut change.got] {
            if text.len() > DETAIL_BYTES_MAX {
                *text = Problem::new(Reason::Failed, text).detail;
            }
        }
    }
    Ok(ToHost::Differs { id, changes })
}
