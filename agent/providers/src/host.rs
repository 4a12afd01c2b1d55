//! One host as the providers see it, and the three questions put to every resource.

use std::convert::Infallible;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use writ_protocol::exec::{Meter, Usage};
use writ_protocol::graph::{Resource, Spec};

use crate::accounts::Accounts;
use crate::cache::{Kept, Stamp};
use crate::context::{Applied, Context, Sinks};
use crate::error::Error;
use crate::logins::{self, Logins};
use crate::observation::{Change, Observation, Observed};
use crate::package::{dpkg, rpm};
use crate::tool::Tools;
use crate::{command, external, file, group, package, service, user};

/// Where what is kept in memory is read from: accounts, and the databases of dpkg and rpm.
const DATABASES: [&str; 4] = ["/etc/", "/var/lib/", "/usr/lib/sysimage/", "/usr/share/rpm/"];

/// A host. What is read of its accounts and packages is kept until the files it came from change.
#[derive(Debug)]
pub struct Host {
    root: OwnedFd,
    /// Where that is, for tools; `None` for this machine's own root.
    path: Option<PathBuf>,
    accounts: Kept<Accounts>,
    logins: Kept<Logins>,
    dpkg: Kept<dpkg::Database>,
    rpm: Kept<rpm::Database>,
}

impl Host {
    /// The host whose paths begin at `root`: `/`, and a directory in tests. System tools of another root run inside it, by `chroot`;
    /// commands, guards and providers of the config always run on this machine.
    ///
    /// # Errors
    /// [`Error::Path`] when the directory cannot be opened.
    pub fn new(root: &Path) -> Result<Self, Error> {
        let shown = root.display().to_string();
        let hint = "give a directory that exists";
        let path = (root != Path::new("/")).then(|| root.to_path_buf());
        let root = File::open(root).map_err(|source| Error::Path {
            action: "open the host's root",
            path: shown,
            hint,
            source,
        })?;
        Ok(Self {
            root: root.into(),
            path,
            accounts: Kept::default(),
            logins: Kept::default(),
            dpkg: Kept::default(),
            rpm: Kept::default(),
        })
    }

    /// What is there. Changes nothing, but guards of commands are programs and run.
    ///
    /// # Errors
    /// [`Error`] when it cannot be seen.
    pub fn observe(&self, resource: &Resource, context: &Context<'_>) -> Result<Observed, Error> {
        let tools = || Tools::new(self, resource, context);
        let free = |observation| Observed {
            observation,
            usage: Usage::none(Meter::Agent),
        };
        match &resource.spec {
            Spec::File(spec) => {
                let seen = file::observe(&self.root, spec, &self.accounts())?;
                Ok(free(Observation::File(seen)))
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
            Spec::Package(spec) => {
                let (seen, usage) = package::observe(spec, tools())?;
                let observation = Observation::Package(seen);
                Ok(Observed { observation, usage })
            }
            Spec::Service(spec) => {
                let (seen, usage) = service::observe(spec, tools())?;
                let observation = Observation::Service(seen);
                Ok(Observed { observation, usage })
            }
            Spec::User(spec) => Ok(free(Observation::User(user::observe(
                &self.root,
                spec,
                &self.logins(),
            )))),
            Spec::Group(spec) => Ok(free(Observation::Group(group::observe(spec, &self.logins())))),
            Spec::External(spec) => {
                let step = external::Step {
                    resource,
                    spec,
                    context,
                };
                let (seen, usage) = step.observe()?;
                let observation = Observation::External(seen);
                Ok(Observed { observation, usage })
            }
        }
    }

    /// Whether looking at this resource only reads files: no program is asked.
    pub fn only_reads(&self, resource: &Resource) -> bool {
        match &resource.spec {
            Spec::File(_) | Spec::User(_) | Spec::Group(_) => true,
            Spec::Package(spec) => package::only_reads(spec, &self.root),
            Spec::Command(spec) => spec.only_if.is_none() && spec.unless.is_none(),
            Spec::Service(_) | Spec::External(_) => false,
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
            (Spec::Package(spec), Observation::Package(seen)) => Ok(package::diff(spec, seen)),
            (Spec::Service(spec), Observation::Service(seen)) => Ok(service::diff(spec, seen)),
            (Spec::User(spec), Observation::User(seen)) => Ok(user::diff(spec, seen, &self.logins())),
            (Spec::Group(spec), Observation::Group(seen)) => Ok(group::diff(spec, seen)),
            (Spec::External(_), Observation::External(seen)) => Ok(seen.changes.clone()),
            _ => Err(Error::Mismatch {
                id: resource.id.clone(),
            }),
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
        let tools = Tools::new(self, resource, context);
        let done = match &resource.spec {
            Spec::File(spec) => file::apply(&self.root, spec, changes, (&self.accounts(), context)),
            Spec::Command(spec) => command::Step {
                host: self,
                resource,
                spec,
                context,
            }
            .apply(sinks),
            Spec::Package(spec) => package::apply(spec, changes, tools, sinks),
            Spec::Service(spec) => service::apply(spec, changes, tools, sinks),
            Spec::User(spec) => user::apply(spec, changes, tools, sinks),
            Spec::Group(spec) => group::apply(spec, changes, tools, sinks),
            Spec::External(spec) => external::Step {
                resource,
                spec,
                context,
            }
            .apply(changes, sinks),
        };
        if !leaves_databases(resource) {
            self.forget();
        }
        done
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
            Spec::File(_)
            | Spec::Package(_)
            | Spec::Service(_)
            | Spec::User(_)
            | Spec::Group(_)
            | Spec::External(_) => true,
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

    /// The words that bring a tool into the root.
    pub(crate) fn way_in(&self) -> Vec<String> {
        let path = self.path.as_ref().map(|path| path.display().to_string());
        path.into_iter()
            .flat_map(|path| ["chroot".to_owned(), path])
            .collect()
    }

    pub(crate) fn accounts(&self) -> Arc<Accounts> {
        let stamp = Stamp::of(&self.root, &["etc/passwd", "etc/group"]);
        let read = || Ok::<_, Infallible>(Accounts::read(&self.root));
        let Ok(accounts) = self.accounts.get(stamp, read);
        accounts
    }

    pub(crate) fn logins(&self) -> Arc<Logins> {
        let stamp = Stamp::of(&self.root, logins::FILES);
        let read = || Ok::<_, Infallible>(Logins::read(&self.root));
        let Ok(logins) = self.logins.get(stamp, read);
        logins
    }

    pub(crate) fn dpkg(&self) -> Result<Arc<dpkg::Database>, Error> {
        self.dpkg
            .get(dpkg::stamp(&self.root), || dpkg::Database::read(&self.root))
    }

    pub(crate) fn rpm(&self, tools: &mut Tools<'_, '_>) -> Result<Arc<rpm::Database>, Error> {
        self.rpm
            .get(rpm::stamp(&self.root), || rpm::Database::read(tools))
    }

    pub(crate) fn forget_packages(&self) {
        self.dpkg.forget();
        self.rpm.forget();
    }

    /// Whatever ran something may have changed anything.
    fn forget(&self) {
        self.accounts.forget();
        self.logins.forget();
        self.forget_packages();
    }
}

/// Whether a change of this resource touches nothing that is kept in memory: a file that lies elsewhere than the host's databases do. Of one in there
/// the stamp tells too; that is not relied on.
fn leaves_databases(resource: &Resource) -> bool {
    let is_near = |path: &str| {
        DATABASES
            .iter()
            .any(|folder| path.starts_with(folder) || folder.starts_with(path))
    };
    matches!(&resource.spec, Spec::File(spec) if !is_near(&spec.path))
}
