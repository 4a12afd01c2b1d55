//! A given PostgreSQL: reached, new enough, and the database is ours to build in. Asked by `psql`, whose password goes by its environment.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Context as _;

use crate::dev::programs::{self, POSTGRES_OLDEST};
use crate::exit::Exit;
use crate::fault::Fault;

/// Longest wait for a connection, seconds.
const CONNECT_SECONDS: &str = "10";
/// Version, and whether tables can be made here. The schema is asked for by its name on the search path, which nobody need have changed.
const QUESTION: &str = "SELECT current_setting('server_version_num'), current_user, current_database(), \
     coalesce(has_schema_privilege(current_schema(), 'CREATE'), false), coalesce(current_schema(), '')";

/// Looks at a database server.
///
/// # Errors
/// A [`Fault`] that says what is wrong with it and what to do. Without a `psql` on this machine nothing is looked at: the controller's own
/// words come later.
pub fn check(url: &str, pg_bin: Option<&Path>) -> anyhow::Result<()> {
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return Err(
            Fault::new(Exit::Usage, "the address of a database begins with postgres://")
                .help("such as postgres://user:password@localhost:5432/writ")
                .into(),
        );
    }
    let Some(mut command) = psql(url, pg_bin) else {
        return Ok(());
    };
    command.args([
        "--no-psqlrc",
        "--tuples-only",
        "--no-align",
        "--field-separator=\t",
    ]);
    let output = command
        .args(["--command", QUESTION])
        .stdin(Stdio::null())
        .output()
        .context("starting psql")?;
    if output.status.success() {
        return judge(String::from_utf8_lossy(&output.stdout).trim()).map_err(Into::into);
    }
    Err(refused(&shown(url), String::from_utf8_lossy(&output.stderr).trim()).into())
}

/// `psql` on a server; none where there is no such program.
pub fn psql(url: &str, pg_bin: Option<&Path>) -> Option<Command> {
    let mut command = Command::new(programs::psql(pg_bin)?);
    let (url, password) = without_password(url);
    command.arg(url).env("PGCONNECT_TIMEOUT", CONNECT_SECONDS);
    if let Some(password) = password {
        // On the command line every user of the machine could read it.
        command.env("PGPASSWORD", password);
    }
    Some(command)
}

/// What the answer to [`QUESTION`] says.
fn judge(answer: &str) -> Result<(), Fault> {
    let fields: Vec<&str> = answer.split('\t').collect();
    let &[number, user, database, may_create, schema] = fields.as_slice() else {
        return Err(Fault::new(
            Exit::Failed,
            format!("the database answers strangely: {answer:?}"),
        ));
    };
    let major = number.parse::<u32>().unwrap_or_default() / 10_000;
    if major < POSTGRES_OLDEST {
        let what = format!("the given server is PostgreSQL {major}; {POSTGRES_OLDEST} or newer is needed");
        return Err(Fault::new(Exit::Failed, what).help(
            "upgrade it, or leave out --pg: then a private one is started from this machine's packages",
        ));
    }
    if may_create != "t" {
        let place = if schema.is_empty() { "public" } else { schema };
        let what = format!("{user} may not make tables in schema {place} of database {database}");
        return Err(Fault::new(Exit::Failed, what).help(format!(
            "as its owner: GRANT CREATE, USAGE ON SCHEMA {place} TO {user};\n\
             or give a database of its own: CREATE DATABASE writ OWNER {user};"
        )));
    }
    Ok(())
}

/// What `psql` says when it cannot connect.
fn refused(address: &str, words: &str) -> Fault {
    let has = |part: &str| words.contains(part);
    let last = words.lines().last().unwrap_or_default().trim();
    if has("password authentication failed") || has("no password supplied") || has("no pg_hba.conf entry") {
        return Fault::new(
            Exit::Unauthenticated,
            format!("{address} does not let us in: {last}"),
        )
        .help("look at user and password in the URL, and at the server's pg_hba.conf");
    }
    if has("does not exist") {
        return Fault::new(Exit::Failed, format!("{address}: {last}")).help(
            "as an administrator: CREATE ROLE writ LOGIN PASSWORD '…'; CREATE DATABASE writ OWNER writ;",
        );
    }
    Fault::new(Exit::Unreachable, format!("{address} does not answer: {last}"))
        .help("is the server up, and does it listen there? pg_isready --dbname URL asks the same")
}

/// The URL without its password, and the password.
fn without_password(url: &str) -> (String, Option<String>) {
    let Some((scheme, rest)) = url.split_once("://") else {
        return (url.to_owned(), None);
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (place, tail) = rest.split_at(end);
    let Some((user, host)) = place.rsplit_once('@') else {
        return (url.to_owned(), None);
    };
    let Some((user, password)) = user.split_once(':') else {
        return (url.to_owned(), None);
    };
    (format!("{scheme}://{user}@{host}{tail}"), Some(decoded(password)))
}

/// The URL as it may be shown.
fn shown(url: &str) -> String {
    without_password(url).0
}

/// Percent-encoding undone.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let pair = (byte == b'%').then(|| rest.clone().take(2).collect::<Vec<u8>>());
        let code = pair
            .and_then(|pair| String::from_utf8(pair).ok())
            .and_then(|pair| u8::from_str_radix(&pair, 16).ok());
        match code {
            Some(code) => {
                bytes.push(code);
                rest.nth(1);
            }
            None => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_leaves_the_url() {
        let (url, password) = without_password("postgres://me:p%40ss%2f@db:5432/writ?sslmode=require");
        assert_eq!(url, "postgres://me@db:5432/writ?sslmode=require");
        assert_eq!(password.as_deref(), Some("p@ss/"));
        for plain in [
            "postgres://me@db/writ",
            "postgres://db/writ",
            "postgres:///writ?host=%2Ftmp",
            "x",
        ] {
            assert_eq!(without_password(plain), (plain.to_owned(), None));
        }
        assert_eq!(decoded("%"), "%");
        assert_eq!(decoded("a%zz"), "a%zz");
    }

    #[test]
    fn versions_and_rights_are_judged() {
        assert!(judge("150014\tme\twrit\tt\tpublic").is_ok());
        let old = judge("140009\tme\twrit\tt\tpublic").unwrap_err();
        assert!(old.message.contains("PostgreSQL 14; 15 or newer"), "{old}");
        let poor = judge("160001\tme\twrit\tf\t").unwrap_err();
        assert!(
            poor.message
                .contains("me may not make tables in schema public of database writ"),
            "{poor}"
        );
        assert!(poor.help.unwrap().contains("GRANT CREATE"));
        assert!(judge("").is_err());
    }

    #[test]
    fn refusals_are_told_apart() {
        let exit = |words: &str| refused("postgres://db/writ", words).exit;
        assert_eq!(
            exit("FATAL:  password authentication failed for user \"me\""),
            Exit::Unauthenticated
        );
        assert_eq!(exit("FATAL:  database \"writ\" does not exist"), Exit::Failed);
        assert_eq!(
            exit("could not connect to server: Connection refused"),
            Exit::Unreachable
        );
    }
}
