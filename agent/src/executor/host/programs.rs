//! Where programs of providers lie while an order runs that needs them: a folder for each order, below one that only the agent reaches. Nothing of it
//! outlives the order, and what an earlier life of the agent left is taken away first.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use writ_protocol::graph::{Resource, Spec};
use writ_protocol::id::OrderId;
use writ_protocol::reason::Code;

use crate::core::Failure;

/// Nobody but the agent.
const FOLDER_MODE: u32 = 0o700;

/// The folders of programs; without a place there are none.
#[derive(Clone, Debug, Default)]
pub(super) struct Programs {
    place: Option<PathBuf>,
}

impl Programs {
    /// Below this folder, which is emptied.
    pub(super) fn at(place: PathBuf) -> Self {
        // What cannot be taken away is told when the first program is to lie there.
        let _gone = fs::remove_dir_all(&place);
        Self { place: Some(place) }
    }

    /// The folder of an order, made where a resource needs it.
    pub(super) fn of(&self, order_id: OrderId, resource: &Resource) -> Result<Option<PathBuf>, Failure> {
        if !matches!(resource.spec, Spec::External(_)) {
            return Ok(None);
        }
        let Some(place) = &self.place else {
            return Err(Failure {
                code: Code::StepFailed,
                detail: "this agent has no place for programs of providers".to_owned(),
            });
        };
        let folder = place.join(order_id.to_string());
        for one in [place, &folder] {
            make(one).map_err(|error| Failure {
                code: Code::StepFailed,
                detail: format!(
                    "failed to make {} for a provider's program: {error}",
                    one.display()
                ),
            })?;
        }
        Ok(Some(folder))
    }

    /// Takes the folder of an order away.
    pub(super) fn forget(&self, order_id: OrderId) {
        if let Some(place) = &self.place {
            // Most orders have none; what stays goes with the agent's next start.
            let _gone = fs::remove_dir_all(place.join(order_id.to_string()));
        }
    }
}

/// Makes a folder; what stands there must be one, and no link to one.
fn make(folder: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(FOLDER_MODE).create(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if fs::symlink_metadata(folder)?.is_dir() {
                Ok(())
            } else {
                Err(error)
            }
        }
        made => made,
    }
}
