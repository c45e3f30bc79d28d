//! `user` lines, as far as a server with one user can honour them.
//!
//! A stock server's CONFIG REWRITE always leaves a line for the default user, with everything allowed and either no
//! password or one as its SHA-256. That is what `requirepass` says too, so such a line is taken as a statement about
//! it; where the two contradict each other, and for every other user or rule, the line stays in the list and the start
//! refuses it, because fewer rights than a file grants are a nuisance and more are a hole.

use sha2::{Digest, Sha256};

use super::scalars::Secret;
use super::table::Settings;

/// The words of a line after `user`.
pub type UserLine = Vec<Vec<u8>>;

/// Takes out of `users` what `requirepass` can say, and has it say that.
pub(super) fn absorb(settings: &mut Settings, users: &mut Vec<UserLine>) {
    users.retain(|line| {
        let Some(password) = default_user(line) else { return true };
        let set = settings.requirepass.get();
        let agrees = match &password {
            Password::None => set.is_none(),
            Password::Plain(text) => set.is_none_or(|set| set == text),
            Password::Hashed(hash) => set.is_some_and(|set| hex(&Sha256::digest(set)) == *hash),
        };
        if let (true, Password::Plain(text)) = (agrees, password) {
            settings.requirepass = Secret(text);
        }
        !agrees
    });
}

#[derive(Debug, PartialEq, Eq)]
enum Password {
    None,
    Plain(Vec<u8>),
    /// SHA-256 in lower-case hex digits.
    Hashed(String),
}

/// The password in a line that gives the default user all rights; `None` for every other line. The line begins with
/// no rights at all, as in Redis, so each must be named.
fn default_user(line: &[Vec<u8>]) -> Option<Password> {
    let (name, rules) = line.split_first()?;
    if name != b"default" {
        return None;
    }
    let (mut on, mut keys, mut channels, mut commands, mut password) = (false, false, false, false, None);
    for rule in rules {
        let new = match rule.as_slice() {
            b"on" => {
                on = true;
                continue;
            }
            b"~*" | b"allkeys" => {
                keys = true;
                continue;
            }
            b"&*" | b"allchannels" => {
                channels = true;
                continue;
            }
            b"+@all" | b"allcommands" => {
                commands = true;
                continue;
            }
            b"sanitize-payload" => continue,
            b"nopass" => Password::None,
            [b'>', text @ ..] if !text.is_empty() => Password::Plain(text.to_vec()),
            [b'#', hash @ ..] if hash.len() == 64 => {
                Password::Hashed(String::from_utf8_lossy(hash).into_owned())
            }
            _ => return None,
        };
        if password.replace(new).is_some() {
            return None;
        }
    }
    password.filter(|_| on && keys && channels && commands)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_requirepass_can_say_are_taken() {
        let check = |requirepass: &str, line: &str, expected: Option<&str>| {
            let mut settings = Settings { requirepass: Secret(requirepass.into()), ..Settings::default() };
            let mut users = vec![line.split(' ').map(|word| word.as_bytes().to_vec()).collect()];
            absorb(&mut settings, &mut users);
            let after = String::from_utf8_lossy(&settings.requirepass.0).into_owned();
            assert_eq!(users.is_empty().then_some(after.as_str()), expected, "{requirepass:?} {line}");
        };
        const HASH: &str = "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8"; // of "password"
        check("", "default on nopass ~* &* +@all", Some(""));
        check("", "default on nopass sanitize-payload ~* &* +@all", Some(""));
        check("", "default on nopass allkeys allchannels allcommands", Some(""));
        check("x", "default on nopass ~* &* +@all", None);
        check("", "default on >pw ~* &* +@all", Some("pw"));
        check("pw", "default on >pw ~* &* +@all", Some("pw"));
        check("x", "default on >pw ~* &* +@all", None);
        check("password", &format!("default on #{HASH} ~* &* +@all"), Some("password"));
        check("passwort", &format!("default on #{HASH} ~* &* +@all"), None);
        check("", &format!("default on #{HASH} ~* &* +@all"), None);
        for fewer in [
            "default off nopass ~* &* +@all",
            "default nopass ~* &* +@all",
            "default on ~* &* +@all",
            "default on nopass ~x* &* +@all",
            "default on nopass &* +@all",
            "default on nopass ~* +@all",
            "default on nopass ~* &* +@all -debug",
            "default on nopass skip-sanitize-payload ~* &* +@all",
            "default on >a >b ~* &* +@all",
            "alice on nopass ~* &* +@all",
            "default",
        ] {
            check("", fewer, None);
        }
    }
}
