//! The arguments of a command as COMMAND DOCS shows them, read from one line of text.
//!
//! A tree written as Rust constants takes ten lines for every optional argument and hides the command's form; the
//! line that people know from manuals (`key value [NX|XX] [EX seconds]`) needs only a few marks to say the same.
//! `manual.txt` opens with the notation. Lines are ours, so what is wrong in one is found by a test, not at run time.
//!
//! ```text
//! sequence  = item { " " item }
//! item      = word [ " " argument ] | argument | "[" ( sequence | choice ) "]" [ marks ]
//! argument  = name marks | "(" ( sequence | choice ) ")" marks
//! choice    = item { "|" item }
//! marks     = [ ":" type ] [ "=" shown ] [ "#" name ] [ "..." | "&..." ] [ "@" version ] [ "@!" version ]
//! ```

/// An argument, or a group of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argument {
    pub name: &'static str,
    pub kind: Kind,
    /// Shown instead of the name.
    pub shown: Option<&'static str>,
    /// Which of the command's key specifications finds this key.
    pub key_spec: Option<u8>,
    /// The word that stands before the argument, or alone.
    pub token: Option<&'static str>,
    pub since: Option<&'static str>,
    pub deprecated: Option<&'static str>,
    pub optional: bool,
    pub multiple: bool,
    /// The word is repeated with the argument.
    pub multiple_token: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    Key,
    String,
    Integer,
    Double,
    Pattern,
    UnixTime,
    PureToken,
    OneOf(Vec<Argument>),
    Block(Vec<Argument>),
}

impl Kind {
    /// As COMMAND DOCS calls it.
    pub fn name(&self) -> &'static str {
        match self {
            Kind::Key => "key",
            Kind::String => "string",
            Kind::Integer => "integer",
            Kind::Double => "double",
            Kind::Pattern => "pattern",
            Kind::UnixTime => "unix-time",
            Kind::PureToken => "pure-token",
            Kind::OneOf(_) => "oneof",
            Kind::Block(_) => "block",
        }
    }

    /// The members of a group.
    pub fn members(&self) -> Option<&[Argument]> {
        match self {
            Kind::OneOf(members) | Kind::Block(members) => Some(members),
            _ => None,
        }
    }
}

/// The arguments that `text` describes. The error is the text from the place on that could not be read.
pub fn parse(text: &'static str) -> Result<Vec<Argument>, &'static str> {
    let mut reader = Reader { rest: text, keys: 0 };
    let mut arguments = vec![reader.item()?];
    while reader.eat(" ") {
        arguments.push(reader.item()?);
    }
    if reader.rest.is_empty() { Ok(arguments) } else { Err(reader.rest) }
}

/// The form in one line, as for people: `key value [NX|XX] [EX seconds|PX milliseconds]`.
pub fn usage(arguments: &[Argument]) -> String {
    joined(arguments, " ")
}

fn joined(arguments: &[Argument], separator: &str) -> String {
    arguments.iter().map(usage_of).collect::<Vec<_>>().join(separator)
}

fn usage_of(argument: &Argument) -> String {
    let name = argument.shown.unwrap_or(argument.name);
    let value = match &argument.kind {
        Kind::PureToken => String::new(),
        Kind::OneOf(members) if argument.optional && argument.token.is_none() => joined(members, "|"),
        Kind::OneOf(members) => format!("<{}>", joined(members, "|")),
        Kind::Block(members) => joined(members, " "),
        _ => format!("<{name}>"),
    };
    let with_token = match argument.token {
        Some(token) if value.is_empty() => token.to_string(),
        Some(token) => format!("{token} {value}"),
        None => value.clone(),
    };
    let repeated = match (argument.multiple, argument.multiple_token) {
        (false, _) => with_token,
        (true, true) => format!("{with_token} [{with_token} ...]"),
        (true, false) => format!("{with_token} [{value} ...]"),
    };
    if argument.optional { format!("[{repeated}]") } else { repeated }
}

struct Reader {
    rest: &'static str,
    /// Keys read so far.
    keys: u8,
}

impl Reader {
    fn eat(&mut self, text: &str) -> bool {
        let after = self.rest.strip_prefix(text);
        self.rest = after.unwrap_or(self.rest);
        after.is_some()
    }

    /// The longest prefix of such characters; an error if there is none.
    fn run(&mut self, fits: impl Fn(char) -> bool) -> Result<&'static str, &'static str> {
        let (run, rest) = self.rest.split_at(self.rest.find(|c| !fits(c)).unwrap_or(self.rest.len()));
        if run.is_empty() {
            return Err(self.rest);
        }
        self.rest = rest;
        Ok(run)
    }

    fn item(&mut self) -> Result<Argument, &'static str> {
        if self.eat("[") {
            return self.optional();
        }
        let Some(token) = self.token()? else { return self.argument() };
        let before = self.rest;
        if self.eat(" ") && !self.rest.starts_with(|c: char| c.is_ascii_uppercase() || "[\"".contains(c)) {
            return Ok(Argument { token: Some(token), ..self.argument()? });
        }
        self.rest = before;
        let word = Argument { token: Some(token), ..Argument::new("", Kind::PureToken) };
        let mut word = self.marks(word)?;
        if word.name.is_empty() {
            word.name = token.to_ascii_lowercase().leak(); // once for each word of the manual
        }
        Ok(word)
    }

    /// Behind a `[`.
    fn optional(&mut self) -> Result<Argument, &'static str> {
        let (mut members, is_choice) = self.members("]")?;
        let mut argument = match (members.len(), is_choice) {
            (1, _) => members.remove(0),
            (_, true) => self.group(Kind::OneOf(members))?,
            (_, false) => self.group(Kind::Block(members))?,
        };
        argument.optional = true;
        Ok(argument)
    }

    fn argument(&mut self) -> Result<Argument, &'static str> {
        if self.eat("(") {
            let (members, is_choice) = self.members(")")?;
            return self.group(if is_choice { Kind::OneOf(members) } else { Kind::Block(members) });
        }
        let name = self.run(is_name)?;
        let kind = if name == "key" { Kind::Key } else { Kind::String };
        let mut argument = self.marks(Argument::new(name, kind))?;
        if argument.kind == Kind::Key {
            argument.key_spec = argument.key_spec.or(Some(self.keys));
            self.keys += 1;
        }
        Ok(argument)
    }

    /// What stands between brackets, and whether it is a choice.
    fn members(&mut self, close: &str) -> Result<(Vec<Argument>, bool), &'static str> {
        let mut members = vec![self.item()?];
        let is_choice = self.rest.starts_with('|');
        while self.eat(if is_choice { "|" } else { " " }) {
            members.push(self.item()?);
        }
        if self.eat(close) { Ok((members, is_choice)) } else { Err(self.rest) }
    }

    fn group(&mut self, kind: Kind) -> Result<Argument, &'static str> {
        let group = self.marks(Argument::new("", kind))?;
        if group.name.is_empty() { Err(self.rest) } else { Ok(group) }
    }

    /// A word that stands as it is.
    fn token(&mut self) -> Result<Option<&'static str>, &'static str> {
        if self.eat("\"") {
            let token = self.run(|c| c != '"')?;
            return if self.eat("\"") { Ok(Some(token)) } else { Err(self.rest) };
        }
        if !self.rest.starts_with(|c: char| c.is_ascii_uppercase()) {
            return Ok(None);
        }
        self.run(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '-').map(Some)
    }

    fn marks(&mut self, mut argument: Argument) -> Result<Argument, &'static str> {
        if self.eat(":") {
            let before = self.rest;
            argument.kind = match self.run(|c| c.is_ascii_lowercase())? {
                "key" => Kind::Key,
                "int" => Kind::Integer,
                "double" => Kind::Double,
                "pattern" => Kind::Pattern,
                "time" => Kind::UnixTime,
                _ => return Err(before),
            };
            if argument.kind == Kind::Key && self.rest.starts_with(|c: char| c.is_ascii_digit()) {
                let number = self.run(|c| c.is_ascii_digit())?;
                argument.key_spec = Some(number.parse().map_err(|_| before)?);
            }
        }
        if self.eat("=") {
            argument.shown = Some(self.run(|c| is_name(c) || c == ':')?);
        }
        if self.eat("#") {
            argument.name = self.run(is_name)?;
        }
        argument.multiple_token = self.eat("&");
        argument.multiple = self.eat("...");
        while self.eat("@") {
            let place = if self.eat("!") { &mut argument.deprecated } else { &mut argument.since };
            *place = Some(self.run(|c| c.is_ascii_digit() || c == '.')?);
        }
        Ok(argument)
    }
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-' || c == '_'
}

impl Argument {
    fn new(name: &'static str, kind: Kind) -> Argument {
        Argument {
            name,
            kind,
            shown: None,
            key_spec: None,
            token: None,
            since: None,
            deprecated: None,
            optional: false,
            multiple: false,
            multiple_token: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_for_people() {
        let check = |text, expected| assert_eq!(parse(text).map(|tree| usage(&tree)), Ok(expected), "{text}");
        let check = |text: &'static str, expected: &str| check(text, expected.to_string());
        check("key value [NX|XX]#condition@2.6.12 [GET@6.2.0]", "<key> <value> [NX|XX] [GET]");
        check("[EX seconds:int|PX milliseconds:int]#expiration", "[EX <seconds>|PX <milliseconds>]");
        check("source:key (LEFT|RIGHT)#from timeout:double", "<source> <LEFT|RIGHT> <timeout>");
        check(
            "numkeys:int key... [WEIGHTS weight:int...]",
            "<numkeys> <key> [<key> ...] [WEIGHTS <weight> [<weight> ...]]",
        );
        check("key (field value)#data...", "<key> <field> <value> [<field> <value> ...]");
        check("[PREFIX prefix&...]", "[PREFIX <prefix> [PREFIX <prefix> ...]]");
        check("(NO ONE)#no-one", "NO ONE");
        check("[ADDR addr=ip:port@6.2.0]", "[ADDR <ip:port>]");
        check("[LIMIT (offset:int count:int)#limit]", "[LIMIT <offset> <count>]");
        check("\"lib-name\" libname", "lib-name <libname>");
    }

    #[test]
    fn marks_are_read() {
        let mut tree =
            parse("key1:key key2:key0 CH#change@3.0.2 old=ip:port@2.4.0@!2.8.12 a&...").unwrap().into_iter();
        let mut next = || tree.next().unwrap();
        assert_eq!((next().key_spec, next().key_spec), (Some(0), Some(0)));
        let word = next();
        assert_eq!((word.name, word.token, word.since), ("change", Some("CH"), Some("3.0.2")));
        let old = next();
        assert_eq!((old.since, old.deprecated, old.shown), (Some("2.4.0"), Some("2.8.12"), Some("ip:port")));
        let repeated = next();
        assert!(repeated.multiple && repeated.multiple_token && !repeated.optional);
    }

    #[test]
    fn faults_are_found() {
        let check = |text, at| assert_eq!(parse(text).unwrap_err(), at, "{text}");
        check("", "");
        check("key ", "");
        check("(a|b)", "");
        check("(a|b c)#x", " c)#x");
        check("[a", "");
        check("a]", "]");
        check("a:float", "float");
        check("\"a", "");
        check("a  b", " b");
    }
}
