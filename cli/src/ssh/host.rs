//! The name of a host: for ssh a destination, for a plan a name, and for what is kept of it the name of a folder.

use std::fmt;
use std::str::FromStr;

use writ_protocol::limits::NAME_BYTES_MAX;

/// A host that ssh is to reach.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Host {
    name: String,
    destination: String,
}

/// A text that names no host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no host: write [USER@]NAME, as ssh takes it")]
pub struct NotAHost {
    /// What was written; at most 80 characters of it.
    pub text: String,
}

impl Host {
    /// A host whose name is not where it is reached.
    ///
    /// # Errors
    /// [`NotAHost`] where either is none.
    pub fn at(name: &str, destination: &str) -> Result<Self, NotAHost> {
        Ok(Self {
            name: name.parse::<Self>()?.name,
            destination: destination.parse::<Self>()?.destination,
        })
    }

    /// Its name in plans.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where ssh reaches it.
    pub fn destination(&self) -> &str {
        &self.destination
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl FromStr for Host {
    type Err = NotAHost;

    /// What begins with a hyphen would be an option to ssh, what begins with a dot may be a folder above ours, and what has other characters than these is
    /// the name of no host.
    fn from_str(text: &str) -> Result<Self, NotAHost> {
        let is_known =
            |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '@' | ':' | '%' | '+');
        let parts: Vec<&str> = text.split('@').collect();
        let begins_well =
            |part: &&str| part.starts_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':'));
        if text.len() <= NAME_BYTES_MAX
            && text.chars().all(is_known)
            && parts.len() <= 2
            && parts.iter().all(begins_well)
        {
            return Ok(Self {
                name: text.to_owned(),
                destination: text.to_owned(),
            });
        }
        Err(NotAHost {
            text: text.chars().take(80).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_be_an_option_a_path_or_a_command_is_no_host() {
        for good in [
            "web-1",
            "admin@db.example.org",
            "10.0.0.1",
            "::1",
            "root@fe80::1%eth0",
        ] {
            assert_eq!(good.parse::<Host>().unwrap().destination(), good);
        }
        let long = "a".repeat(NAME_BYTES_MAX + 1);
        for bad in [
            "",
            "-oProxyCommand=id",
            "root@-oProxyCommand=id",
            "..",
            "a/b",
            "a b",
            "a;b",
            "$(id)",
            "a\nb",
            "@a",
            "a@",
            "a@b@c",
            long.as_str(),
        ] {
            assert!(bad.parse::<Host>().is_err(), "{bad:?}");
        }
        let named = Host::at("web-1", "admin@10.0.0.1").unwrap();
        assert_eq!((named.name(), named.destination()), ("web-1", "admin@10.0.0.1"));
        assert!(Host::at("web-1", "-v").is_err());
    }
}
