//! The syntax of `redis.conf`: one directive a line, words as a person types them, `#` at a line's start for comments.

use crate::resp::args::OwnedArgs;
use crate::resp::inline;

/// One line, as the reader sees it.
pub enum Line {
    /// Blank, or a comment.
    Nothing,
    Unbalanced,
    /// At least one word: the directive's name, then its values.
    Words(Vec<Vec<u8>>),
}

/// The lines of a text without their ends and outer blanks, counted from 1.
pub fn lines(text: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).enumerate().map(|(i, line)| (i + 1, line))
}

pub fn parse_line(line: &[u8]) -> Line {
    if line.is_empty() || line[0] == b'#' {
        return Line::Nothing;
    }
    match words(line) {
        None => Line::Unbalanced,
        Some(words) if words.is_empty() => Line::Nothing,
        Some(words) => Line::Words(words),
    }
}

/// The unquoted words of a line; `None` if quotes are unbalanced.
pub fn words(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut args = OwnedArgs::new();
    inline::split(line, &mut args).then(|| args.as_args().iter().map(<[u8]>::to_vec).collect())
}

/// A word in double quotes, escaped so that [`words`] gives it back.
pub fn quoted(word: &[u8]) -> Vec<u8> {
    let mut out = vec![b'"'];
    for &byte in word {
        match byte {
            b'\\' | b'"' => out.extend([b'\\', byte]),
            b'\n' => out.extend(b"\\n"),
            b'\r' => out.extend(b"\\r"),
            b'\t' => out.extend(b"\\t"),
            7 => out.extend(b"\\a"),
            8 => out.extend(b"\\b"),
            b' '..=b'~' => out.push(byte),
            _ => out.extend(format!("\\x{byte:02x}").bytes()),
        }
    }
    out.push(b'"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_line_is_nothing_or_words_or_unbalanced() {
        let check = |line: &str, expected: Option<Option<&[&str]>>| {
            let got = match parse_line(line.as_bytes()) {
                Line::Nothing => None,
                Line::Unbalanced => Some(None),
                Line::Words(words) => Some(Some(words)),
            };
            let expected = expected.map(|words| {
                words.map(|words| words.iter().map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>())
            });
            assert_eq!(got, expected, "{line}");
        };
        check("", None);
        check("# port 1", None);
        check("port 1 # not a comment", Some(Some(&["port", "1", "#", "not", "a", "comment"])));
        check("save ''", Some(Some(&["save", ""])));
        check("a \"b c\" 'd\\'e'", Some(Some(&["a", "b c", "d'e"])));
        check("a \"b", Some(None));
        check("a 'b'c", Some(None));
    }

    proptest! {
        #[test]
        fn quoting_and_splitting_are_inverse(word: Vec<u8>) {
            prop_assert_eq!(words(&quoted(&word)), Some(vec![word]));
        }
    }
}
