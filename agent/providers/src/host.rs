//! One host as the providers see it, and the three questions put to every resource.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use writ_protocol::exec::{Meter, Usage};
use writ_protocol::graph::{Resource, Spec};

use crate::accounts::Accounts;
use crate::context::{Applied, Context, Sinks};
use crate::error::Error;
use crate::observation::{Change, Observation, Observed};
use crate::{command, file};

/// A host. Make one for each order: names of users and groups are read once, and again after each change made through it.
#[derive(Debug)]
pub struct Host {
    root: OwnedFd,
    accounts: Mutex<Option<Arc<Accounts>>>,
}

impl Host {
    /// The host whose paths begin at `root`: `/`, and a directory in tests.
    ///
    /// # Errors
    /// [`Error::Path`] when the directory cannot be opened.
    pub fn new(root: &Path) -> Result<Self, Error> {
        let shown = root.display().to_string();
        let hint = "give a directory that exists";
        let root = File::open(root).map_err(|source| Error::Path {
            action: "open the host's root",
            path: shown,
            hint,
            source,
        })?;
        Ok(Self {
            root: root.into(),
            accounts: Mutex::new(None),
        })
    }

    /// What is there. Changes nothing, but guards of commands are programs and run.
    ///
    /// # Errors
    /// [`Error`] when it cannot be seen.
    pub fn observe(&self, resource: &Resource, context: &Context<'_>) -> Result<Observed, Error> {
        match &resource.spec {
            Spec::File(spec) => {
                let seen = file::observe(&self.root, spec, &self.accounts())?;
                Ok(Observed {
                    observation: Observation::File(seen),
                    usage: Usage::none(Meter::Agent),
                })
            }
            Spec::Command(spec) => {
                let step = command::Step {
                    host: self,
                    resource,
                    spec,
                    context,
                };
                let (seen, usage) = step.observe()?;
                Ok(Observed {
                    observation: Observation::Command(seen),
                    usage,
                })
            }
        }
    }

    /// What differs; nothing where the resource is as it should be. An apply of exactly these changes makes the next diff empty.
    ///
    /// # Errors
    /// [`Error::WrongKind`] and [`Error::NotEmpty`] where an apply would refuse; [`Error::Mismatch`].
    pub fn diff(&self, resource: &Resource, observation: &Observation) -> Result<Vec<Change>, Error> {
        match (&resource.spec, observation) {
            (Spec::File(spec), Observation::File(seen)) => file::diff(spec, seen, &self.accounts()),
            (Spec::Command(spec), Observation::Command(seen)) => Ok(command::diff(spec, seen)),
            (Spec::File(_), Observation::Command(_)) | (Spec::Command(_), Observation::File(_)) => {
                Err(Error::Mismatch {
                    id: resource.id.clone(),
                })
            }
        }
    }

    /// Makes the changes.
    ///
    /// # Errors
    /// [`Error`] when nothing ran; a program that ran and failed is [`Applied::failure`].
    pub fn apply(
        &self,
        resource: &Resource,
        changes: &[Change],
        context: &Context<'_>,
        sinks: &mut Sinks<'_>,
    ) -> Result<Applied, Error> {
        // Whatever changes may have changed who is who.
        let accounts = self.accounts();
        *self.accounts.lock().unwrap_or_else(PoisonError::into_inner) = None;
        match &resource.spec {
            Spec::File(spec) => file::apply(&self.root, spec, changes, (&accounts, context)),
            Spec::Command(spec) => command::Step {
                host: self,
                resource,
                spec,
                context,
            }
            .apply(sinks),
        }
    }

    /// Adds to content changes the lines that change, where both sides are short text: for people who read a plan or a report.
    pub fn explain(&self, resource: &Resource, changes: &mut [Change], context: &Context<'_>) {
        if let Spec::File(spec) = &resource.spec {
            file::explain(&self.root, spec, changes, context);
        }
    }

    /// Whether observing this resource can tell that its work is done. A command without a guard of its own always would run.
    pub const fn can_be_checked(resource: &Resource) -> bool {
        match &resource.spec {
            Spec::File(_) => true,
            Spec::Command(spec) => spec.creates.is_some() || spec.only_if.is_some() || spec.unless.is_some(),
        }
    }

    /// Whether the resource is as it should be; `None` where that cannot be told.
    ///
    /// # Errors
    /// As [`Self::observe`] and [`Self::diff`].
    pub fn is_satisfied(&self, resource: &Resource, context: &Context<'_>) -> Result<Option<bool>, Error> {
        if !Self::can_be_checked(resource) {
            return Ok(None);
        }
        let observed = self.observe(resource, context)?;
        Ok(Some(self.diff(resource, &observed.observation)?.is_empty()))
    }

    pub(crate) const fn root(&self) -> &OwnedFd {
        &self.root
    }

    pub(crate) fn accounts(&self) -> Arc<Accounts> {
        let mut held = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(held.get_or_insert_with(|| Arc::new(Accounts::read(&self.root))))
    }
}
