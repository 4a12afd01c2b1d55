//! The rules of files and commands, which an agent may rely on.

use super::{CommandSpec, FileSpec, check_account_name, check_path};
use crate::egress::DESTINATIONS_MAX;
use crate::exec::Isolation;
use crate::limits::ARTEFACTS_MAX;

impl FileSpec {
    pub(super) fn validate(&self) -> Result<(), String> {
        check_path(&self.path)?;
        if self.path == "/" {
            return Err("the root directory cannot be managed".to_owned());
        }
        if self.mode.is_some_and(|mode| mode > 0o7777) {
            return Err("mode is above 07777".to_owned());
        }
        Ok(())
    }
}

impl CommandSpec {
    pub(super) fn validate(&self) -> Result<(), String> {
        if self.argv.first().is_none_or(String::is_empty) {
            return Err("argv is empty".to_owned());
        }
        if self.artefacts.len() > ARTEFACTS_MAX {
            return Err("more artefacts than one step may bring back".to_owned());
        }
        self.check_egress()?;
        if let Some(user) = &self.user {
            check_account_name("user", user)?;
            if self.isolation == Isolation::Strict {
                return Err("it names a user, and isolation strict has ids of its own".to_owned());
            }
        }
        let paths = self.artefacts.iter().chain(&self.creates).chain(&self.cwd);
        for path in paths {
            check_path(path)?;
        }
        let is_wrong =
            |(k, v): (&String, &String)| k.is_empty() || k.contains(['=', '\0']) || v.contains('\0');
        if self.env.iter().any(is_wrong) {
            return Err("an environment name is empty or holds = or a zero byte".to_owned());
        }
        Ok(())
    }

    fn check_egress(&self) -> Result<(), String> {
        if self.egress.len() > DESTINATIONS_MAX {
            return Err(format!("more than {DESTINATIONS_MAX} destinations"));
        }
        if !self.egress.is_sorted_by(|one, next| one < next) {
            return Err("its destinations are not sorted, or one stands twice".to_owned());
        }
        if !self.egress.is_empty() && self.isolation == Isolation::None {
            return Err("it names destinations, which isolation none cannot hold it to".to_owned());
        }
        Ok(())
    }
}
