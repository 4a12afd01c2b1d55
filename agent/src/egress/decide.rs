//! Whether a step may reach somebody: by the list of its plan, and then by the policy of its host, if there is one. A name is asked for twice, before
//! and after it is resolved, so that nobody's name server decides what of a private network is reached.

use std::net::IpAddr;

use writ_protocol::egress::{Destination, Host, special};

use super::policy::Review;

/// Who asks for what.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Whom the program wants to reach.
    pub host: &'a Host,
    /// At which port.
    pub port: u16,
    /// The address that the name stands for; none before that is known.
    pub address: Option<IpAddr>,
    /// Whether it wants a tunnel; otherwise a plain HTTP request.
    pub is_tunnel: bool,
}

/// What holds for one step.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Where it may reach; nowhere when empty.
    pub destinations: Vec<Destination>,
    /// Who is asked beside the list; nobody where the host has no policy.
    pub review: Option<Review>,
}

impl Rules {
    /// The rule of the list that allows it. Where there is a policy it is asked after this: what the list refuses, nobody can allow.
    ///
    /// # Errors
    /// Why it is refused, in words.
    pub fn decide(&self, asked: &Asked<'_>) -> Result<String, String> {
        let Asked {
            host, port, address, ..
        } = *asked;
        let named = self
            .destinations
            .iter()
            .find(|destination| destination.is(host, port));
        let named = named.ok_or_else(|| {
            if self.destinations.is_empty() {
                "the step names no destinations".to_owned()
            } else {
                "the plan does not name it".to_owned()
            }
        })?;
        if let Some((address, what)) =
            address.and_then(|address| special(address).map(|what| (address, what)))
        {
            let is_named = |destination: &&Destination| destination.names_address(address, port);
            return match self.destinations.iter().find(is_named) {
                Some(rule) if matches!(host, Host::Address(_)) => Ok(rule.to_string()),
                Some(rule) => Ok(format!("{named} and {rule}")),
                None => Err(format!(
                    "it stands for {address}, a {what} address, which the plan does not name"
                )),
            };
        }
        Ok(named.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(list: &[&str], host: &str, address: Option<&str>) -> Result<String, String> {
        let destinations = list
            .iter()
            .map(|text| Destination::parse(text).expect("a destination"));
        let rules = Rules {
            destinations: destinations.collect(),
            review: None,
        };
        rules.decide(&Asked {
            host: &Host::parse(host).expect("a host"),
            port: 443,
            address: address.map(|text| text.parse().expect("an address")),
            is_tunnel: true,
        })
    }

    #[test]
    fn a_name_never_leads_to_an_address_of_the_inside_that_is_not_named() {
        let list = &["api.example:443", "10.1.2.3:443"];
        assert_eq!(
            decide(list, "api.example", None).as_deref(),
            Ok("api.example:443")
        );
        assert_eq!(
            decide(list, "api.example", Some("93.184.215.14")).as_deref(),
            Ok("api.example:443")
        );
        for inside in [
            "127.0.0.1",
            "::1",
            "169.254.169.254",
            "10.1.2.4",
            "::ffff:10.1.2.4",
            "fd00::1",
            "0.0.0.0",
        ] {
            let refused = decide(list, "api.example", Some(inside)).expect_err(inside);
            assert!(refused.contains("which the plan does not name"), "{refused}");
        }
        assert_eq!(
            decide(list, "api.example", Some("10.1.2.3")).as_deref(),
            Ok("api.example:443 and 10.1.2.3:443")
        );
        assert_eq!(
            decide(list, "10.1.2.3", Some("10.1.2.3")).as_deref(),
            Ok("10.1.2.3:443")
        );
        assert!(decide(list, "other.example", None).is_err());
        assert!(
            decide(&[], "api.example", None)
                .expect_err("refused")
                .contains("names no destinations")
        );
    }
}
