//! Splits one line of text into arguments, as a person types them: inline commands and configuration lines.
//!
//! Words are separated by blanks. In `"double quotes"` the escapes `\n \r \t \b \a \xHH` and `\` before any other
//! byte count; in `'single quotes'` only `\'`. A quote may open within a word (`a"b c"` is one word), and what
//! follows a closing quote must be a blank. Redis uses one such splitter for both purposes, and so do we.
//!
//! A NUL is a byte like any other here, where the C original takes it for the end of the line.

use super::args::OwnedArgs;

/// Appends the words of `line` to `args`. `false`: unbalanced quotes; what was appended until then is no command.
#[must_use]
pub fn split(line: &[u8], args: &mut OwnedArgs) -> bool {
    let mut rest = line;
    loop {
        rest = &rest[rest.iter().take_while(|byte| is_space(**byte)).count()..];
        if rest.is_empty() {
            return true;
        }
        match args.push_with(|word| take_word(rest, word)) {
            Some(after) => rest = after,
            None => return false,
        }
    }
}

/// Appends the word at the start of `rest` and returns what follows it.
fn take_word<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    while let [byte, after @ ..] = rest {
        match byte {
            b' ' | b'\n' | b'\r' | b'\t' => return Some(rest),
            b'"' => return take_double_quoted(after, word),
            b'\'' => return take_single_quoted(after, word),
            _ => word.push(*byte),
        }
        rest = after;
    }
    Some(rest)
}

fn take_double_quoted<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        rest = match rest {
            [b'\\', b'x', high, low, after @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                word.push(hex(*high) * 16 + hex(*low));
                after
            }
            [b'\\', byte, after @ ..] => {
                word.push(match byte {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 8,
                    b'a' => 7,
                    other => *other,
                });
                after
            }
            [b'"', after @ ..] => return ends_word(after),
            [byte, after @ ..] => {
                word.push(*byte);
                after
            }
            [] => return None,
        };
    }
}

fn take_single_quoted<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        rest = match rest {
            [b'\\', b'\'', after @ ..] => {
                word.push(b'\'');
                after
            }
            [b'\'', after @ ..] => return ends_word(after),
            [byte, after @ ..] => {
                word.push(*byte);
                after
            }
            [] => return None,
        };
    }
}

/// A closing quote must be followed by a blank or by nothing.
fn ends_word(rest: &[u8]) -> Option<&[u8]> {
    rest.first().is_none_or(|byte| is_space(*byte)).then_some(rest)
}

/// C's `isspace`, which counts vertical tab too.
fn is_space(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b
}

fn hex(digit: u8) -> u8 {
    (digit as char).to_digit(16).unwrap_or_default() as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_as_typed() {
        #[track_caller]
        fn check(line: &str, expected: Option<&[&[u8]]>) {
            let mut args = OwnedArgs::new();
            let words = split(line.as_bytes(), &mut args).then_some(args);
            assert_eq!(words, expected.map(OwnedArgs::from_slices), "{line:?}");
        }
        check("", Some(&[]));
        check(" \t ", Some(&[]));
        check("PING", Some(&[b"PING"]));
        check(" set  k v\r", Some(&[b"set", b"k", b"v"]));
        check(r#"set "a b" 'c d'"#, Some(&[b"set", b"a b", b"c d"]));
        check(r#""" ''"#, Some(&[b"", b""]));
        check(r#""\x00\xfF\n\r\t\b\a\"\\\q\xg""#, Some(&[b"\0\xff\n\r\t\x08\x07\"\\qxg"]));
        check(r#"'\n\''"#, Some(&[b"\\n'"]));
        check(r#"a"b c" d"#, Some(&[b"ab c", b"d"]));
        check("a\x0bb", Some(&[b"a\x0bb"]));
        check("\"a\"\x0bb", Some(&[b"a", b"b"]));
        for unbalanced in [r#"""#, r#""a"#, r#"'a"#, r#""a"b"#, r#"'a'b"#, r#"x "\"#, r#"""""#] {
            check(unbalanced, None);
        }
    }
}
