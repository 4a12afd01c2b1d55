//! `when`: text to a condition on facts.
//!
//! `or` of `and` of comparisons, with `not` and brackets: `os.family == "debian" and (cpus >= 4 or memory_mib > 8192)`. A text is compared
//! with `==`, `!=`, `in [ … ]` and `not in [ … ]`, a number with `==`, `!=`, `<`, `<=`, `>` and `>=`. Nothing is computed.

use writ_protocol::graph::{Comparison, Condition, Fact};

use super::{Room, check};
use crate::diagnostic::{Mark, Problem, code};
use crate::yaml::read::Text;

/// Longest condition, bytes.
const BYTES_MAX: usize = 8 << 10;
/// How a condition may look, for who wrote one that does not.
const HINT: &str = "compare facts, such as `os.id == \"debian\" and cpus >= 4`; connect with `and`, `or`, `not` and brackets";

/// Reads a condition; `None` after a problem was reported.
pub(super) fn read(text: &Text, room: &mut Room<'_, '_>) -> Option<Condition> {
    let source = room.renderer.text(text, room.sink)?;
    if source.len() > BYTES_MAX {
        let message = format!(
            "`when` has {} bytes, at most {BYTES_MAX} are accepted",
            source.len()
        );
        room.sink.push(Problem::new(code::TOO_MANY, text.mark, message));
        return None;
    }
    let parsed = tokens(&source).and_then(|tokens| {
        let mut reader = Reader {
            tokens: &tokens,
            at: 0,
            depth: 0,
        };
        let condition = reader.any()?;
        match reader.peek() {
            None => Ok(condition),
            Some(token) => Err(Refused::at(
                token,
                format!("`{}` is not expected here", token.shown()),
            )),
        }
    });
    let refused = match parsed.and_then(checked) {
        Ok(condition) => return Some(condition),
        Err(refused) => refused,
    };
    let is_as_written = text.plain && source == text.value && !source.contains('\n');
    let mark = if is_as_written {
        refused.within(text.mark)
    } else {
        text.mark
    };
    room.sink.push(refused.problem(mark));
    None
}

fn checked(condition: Condition) -> Result<Condition, Refused> {
    match condition.validate() {
        Ok(()) => Ok(condition),
        Err(rule) => Err(Refused {
            place: None,
            message: rule,
            fact: None,
        }),
    }
}

/// Why a text is no condition.
struct Refused {
    /// Characters before what is wrong, and its length; absent for the whole.
    place: Option<(usize, usize)>,
    message: String,
    /// The fact that nobody knows.
    fact: Option<String>,
}

impl Refused {
    fn at(token: &Token, message: String) -> Self {
        Self {
            place: Some((token.at, token.length)),
            message,
            fact: None,
        }
    }

    fn end(wanted: &str) -> Self {
        Self {
            place: None,
            message: format!("the condition ends where {wanted} is wanted"),
            fact: None,
        }
    }

    fn within(&self, mark: Mark) -> Mark {
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        self.place.map_or(mark, |(at, length)| Mark {
            column: mark.column.saturating_add(number(at)),
            length: number(length),
            ..mark
        })
    }

    fn problem(self, mark: Mark) -> Problem {
        match self.fact {
            Some(name) => {
                let known = Fact::ALL.map(Fact::name);
                Problem::new(code::FACT, mark, self.message)
                    .label(format!("facts are: {}", known.join(", ")))
                    .meant(&name, known)
                    .hint("hosts are also told apart by `targets`, which knows labels")
            }
            None => Problem::new(code::CONDITION, mark, self.message).hint(HINT),
        }
    }
}

/// A piece of a condition.
struct Token {
    /// Characters before it.
    at: usize,
    /// Characters of it.
    length: usize,
    kind: Piece,
}

#[derive(PartialEq, Eq)]
enum Piece {
    /// A fact, a number or a connective.
    Word(String),
    /// A text in quotes.
    Quoted(String),
    /// A sign.
    Sign(&'static str),
}

impl Token {
    fn shown(&self) -> String {
        match &self.kind {
            Piece::Word(text) | Piece::Quoted(text) => check::short(text),
            Piece::Sign(sign) => (*sign).to_owned(),
        }
    }
}

/// Words that connect.
const WORDS: &[&str] = &["and", "or", "not", "in"];
/// Longer ones before those that they begin with.
const SIGNS: &[&str] = &["==", "!=", "<=", ">=", "<", ">", "(", ")", "[", "]", ","];

fn tokens(source: &str) -> Result<Vec<Token>, Refused> {
    let chars: Vec<char> = source.chars().collect();
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let (mut tokens, mut at) = (Vec::new(), 0);
    while let Some(&c) = chars.get(at) {
        if c.is_whitespace() {
            at += 1;
            continue;
        }
        let rest = chars.get(at..).unwrap_or_default();
        let (length, kind) = if matches!(c, '"' | '\'') {
            let inside = rest.iter().skip(1).position(|other| *other == c);
            let Some(inside) = inside else {
                return Err(Refused {
                    place: Some((at, 1)),
                    message: "a quote is not closed".to_owned(),
                    fact: None,
                });
            };
            (
                inside + 2,
                Piece::Quoted(rest.iter().skip(1).take(inside).collect()),
            )
        } else if is_word(c) {
            let length = rest.iter().take_while(|c| is_word(**c)).count();
            (length, Piece::Word(rest.iter().take(length).collect()))
        } else {
            let begins = |sign: &&&str| sign.chars().zip(rest).filter(|(a, b)| a == *b).count() == sign.len();
            let Some(sign) = SIGNS.iter().find(begins) else {
                return Err(Refused {
                    place: Some((at, 1)),
                    message: format!("`{c}` has no meaning in a condition"),
                    fact: None,
                });
            };
            (sign.len(), Piece::Sign(sign))
        };
        tokens.push(Token { at, length, kind });
        at += length;
    }
    Ok(tokens)
}

struct Reader<'a> {
    tokens: &'a [Token],
    at: usize,
    depth: usize,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<&'a Token> {
        self.tokens.get(self.at)
    }

    fn next(&mut self, wanted: &str) -> Result<&'a Token, Refused> {
        let token = self.peek().ok_or_else(|| Refused::end(wanted))?;
        self.at += 1;
        Ok(token)
    }

    /// Takes the next piece where it is this word or sign.
    fn take(&mut self, text: &str) -> bool {
        let is_it = self.peek().is_some_and(|token| match &token.kind {
            Piece::Word(word) => word == text,
            Piece::Sign(sign) => *sign == text,
            Piece::Quoted(_) => false,
        });
        self.at += usize::from(is_it);
        is_it
    }

    fn expect(&mut self, sign: &str) -> Result<(), Refused> {
        if self.take(sign) {
            return Ok(());
        }
        let wanted = format!("`{sign}`");
        let token = self.next(&wanted)?;
        Err(Refused::at(
            token,
            format!("{wanted} is wanted, and here is `{}`", token.shown()),
        ))
    }

    fn any(&mut self) -> Result<Condition, Refused> {
        self.connected("or", Self::all, Condition::Any)
    }

    fn all(&mut self) -> Result<Condition, Refused> {
        self.connected("and", Self::one, Condition::All)
    }

    fn connected(
        &mut self,
        word: &str,
        part: fn(&mut Self) -> Result<Condition, Refused>,
        all: fn(Vec<Condition>) -> Condition,
    ) -> Result<Condition, Refused> {
        let first = part(self)?;
        let mut parts = vec![first];
        while self.take(word) {
            parts.push(part(self)?);
        }
        Ok(match <[Condition; 1]>::try_from(parts) {
            Ok([only]) => only,
            Err(parts) => all(parts),
        })
    }

    fn one(&mut self) -> Result<Condition, Refused> {
        self.depth += 1;
        if self.depth > writ_protocol::graph::CONDITION_DEPTH_MAX {
            return Err(Refused {
                place: None,
                message: format!(
                    "the condition nests deeper than {} levels",
                    writ_protocol::graph::CONDITION_DEPTH_MAX
                ),
                fact: None,
            });
        }
        let condition = if self.take("not") {
            Condition::Not(Box::new(self.one()?))
        } else if self.take("(") {
            let inside = self.any()?;
            self.expect(")")?;
            inside
        } else {
            self.comparison()?
        };
        self.depth -= 1;
        Ok(condition)
    }

    fn comparison(&mut self) -> Result<Condition, Refused> {
        let token = self.next("a fact")?;
        let name = match &token.kind {
            Piece::Word(word) if !WORDS.contains(&word.as_str()) => word,
            Piece::Word(_) | Piece::Quoted(_) | Piece::Sign(_) => {
                let message = format!("a fact is wanted, and here is `{}`", token.shown());
                return Err(Refused::at(token, message));
            }
        };
        let Some(fact) = Fact::ALL.into_iter().find(|fact| fact.name() == name) else {
            return Err(Refused {
                fact: Some(name.clone()),
                ..Refused::at(token, format!("no host knows a fact `{}`", check::short(name)))
            });
        };
        if fact.is_number() {
            return self.number(fact);
        }
        let is_not = self.take("not");
        if self.take("in") {
            let values = self.list()?;
            return Ok(negated(is_not, Condition::OneOf { fact, values }));
        }
        let operator = self.next("`==`, `!=` or `in`")?;
        let is_not = match &operator.kind {
            Piece::Sign("==") if !is_not => false,
            Piece::Sign("!=") if !is_not => true,
            _ => {
                let message = format!("`{name}` is a text: compare it with `==`, `!=`, `in` or `not in`");
                return Err(Refused::at(operator, message));
            }
        };
        let values = vec![self.text()?];
        Ok(negated(is_not, Condition::OneOf { fact, values }))
    }

    fn number(&mut self, fact: Fact) -> Result<Condition, Refused> {
        let operator = self.next("a comparison")?;
        let (is, is_not) = match &operator.kind {
            Piece::Sign("!=") => (Some(Comparison::Equal), true),
            Piece::Sign(found) => {
                let known = Comparison::ALL.into_iter().find(|(_, sign)| sign == found);
                (known.map(|(is, _)| is), false)
            }
            Piece::Word(_) | Piece::Quoted(_) => (None, false),
        };
        let Some(is) = is else {
            let message = format!(
                "`{}` is a number: compare it with `==`, `!=`, `<`, `<=`, `>` or `>=`",
                fact.name()
            );
            return Err(Refused::at(operator, message));
        };
        let token = self.next("a number")?;
        let value = match &token.kind {
            Piece::Word(word) => word.parse::<u64>().ok(),
            Piece::Quoted(_) | Piece::Sign(_) => None,
        };
        let Some(value) = value else {
            let message = format!(
                "`{}` is a whole number, and here is `{}`",
                fact.name(),
                token.shown()
            );
            return Err(Refused::at(token, message));
        };
        Ok(negated(is_not, Condition::Number { fact, is, value }))
    }

    fn text(&mut self) -> Result<String, Refused> {
        let token = self.next("a text in quotes")?;
        match &token.kind {
            Piece::Quoted(text) => Ok(text.clone()),
            Piece::Word(_) | Piece::Sign(_) => Err(Refused::at(
                token,
                format!("a text in quotes is wanted, and here is `{}`", token.shown()),
            )),
        }
    }

    /// Texts in brackets; their order and repeats say nothing.
    fn list(&mut self) -> Result<Vec<String>, Refused> {
        self.expect("[")?;
        let mut values = vec![self.text()?];
        while self.take(",") {
            values.push(self.text()?);
        }
        self.expect("]")?;
        values.sort();
        values.dedup();
        Ok(values)
    }
}

fn negated(is_not: bool, condition: Condition) -> Condition {
    if is_not {
        Condition::Not(Box::new(condition))
    } else {
        condition
    }
}
