//! `shell`: a text for `/bin/sh -c`. It is no template, so that no value of a variable or of a host can ever become a part of a program; values
//! come to it by the environment, where a shell takes them for what they are.

use super::resource::WORDS_BYTES_MAX;
use super::{Room, check};
use crate::diagnostic::{Problem, code};
use crate::yaml::read::Text;

/// The shell of every host: POSIX names this path for none, and every Linux has it.
const SHELL: &str = "/bin/sh";

/// What is started for a text; `None` after problems were reported.
pub(super) fn program(text: &Text, room: &mut Room<'_, '_>) -> Option<Vec<String>> {
    let written = room.renderer.as_written(text, room.sink)?;
    if let Some(name) = filled_in(&written, |name| room.renderer.names().any(|known| known == name)) {
        let variable = name.to_uppercase();
        let message = format!("`shell` is taken as it is written: `{{{{ {name} }}}}` would not be filled in");
        room.sink
            .push(Problem::new(code::TEMPLATE, text.mark, message).hint(format!(
                "write `env: {{ {variable}: \"{{{{ {name} }}}}\" }}`, and `\"${variable}\"` in the text"
            )));
        return None;
    }
    if written.trim().is_empty() {
        let message = "`shell` has no text";
        room.sink.push(
            Problem::new(code::MISSING_FIELD, text.mark, message)
                .hint("write `shell: \"program | program\"`"),
        );
        return None;
    }
    if written.len() > WORDS_BYTES_MAX {
        let message = format!("`shell` has more than {WORDS_BYTES_MAX} bytes");
        room.sink.push(
            Problem::new(code::TOO_MANY, text.mark, message)
                .hint("put a long script into a file, and start that"),
        );
        return None;
    }
    let written = check::plain_text(written, text.mark, "shell", room.sink)?;
    // The end of a block of lines means nothing to a shell, and a plan is read by people.
    let written = written.trim_end_matches('\n').to_owned();
    Some(vec![SHELL.to_owned(), "-c".to_owned(), written])
}

/// The first word in braces that somebody who takes this for a template would see filled in. Others are the shell's own, or of a program's format.
fn filled_in(text: &str, is_known: impl Fn(&str) -> bool) -> Option<&str> {
    text.split("{{").skip(1).find_map(|behind| {
        let word = behind.trim_start();
        let end = word
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .unwrap_or(word.len());
        let name = word.get(..end)?;
        (is_known(name) && behind.contains("}}")).then_some(name)
    })
}
