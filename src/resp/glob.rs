//! Redis' glob patterns, as KEYS, SCAN MATCH, PSUBSCRIBE and CONFIG GET take them.
//!
//! | pattern | matches |
//! |---|---|
//! | `*` | any bytes, also none |
//! | `?` | one byte |
//! | `[abc]` `[a-z]` `[^a]` | one byte (not) of the class; `\` takes the next byte literally |
//! | `\x` | the byte `x` |
//!
//! Every element but `*` takes exactly one byte, so on a mismatch it is enough to let the *last* `*` take one byte
//! more: an earlier one could only leave less. That makes the worst case pattern × text instead of exponential
//! (a client could stop the server with `*a*a*a*b`), without recursion.
//!
//! Kept from Redis because clients see it: an empty text matches only the empty pattern (not `*`); an unclosed
//! class ends with the pattern; `[a-]` is a range up to `]`; bytes of a range compare as signed; a pattern in which
//! more than a thousand `*` have to be tried matches nothing.

/// `*`s that may be tried in one match.
const MAX_STARS: usize = 1000;

/// Whether `text` as a whole matches `pattern`; `nocase` folds ASCII letters.
pub fn matches(pattern: &[u8], text: &[u8], nocase: bool) -> bool {
    if text.is_empty() {
        return pattern.is_empty();
    }
    let (mut p, mut t) = (0, 0);
    let mut stars = 0;
    // Behind the last `*`: where the pattern goes on, and the text position tried for it.
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            p += pattern[p..].iter().take_while(|byte| **byte == b'*').count();
            if p == pattern.len() {
                return true;
            }
            stars += 1;
            if stars > MAX_STARS {
                return false;
            }
            retry = Some((p, t));
        } else if let Some(after) = take_one(pattern, p, text[t], nocase) {
            (p, t) = (after, t + 1);
        } else if let Some((after_star, tried)) = retry {
            (p, t) = (after_star, tried + 1);
            retry = Some((p, t));
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// Where the pattern goes on if its element at `p` (none at the end) takes `byte`.
fn take_one(pattern: &[u8], p: usize, byte: u8, nocase: bool) -> Option<usize> {
    match pattern.get(p)? {
        b'?' => Some(p + 1),
        b'[' => {
            let (hit, after) = take_class(pattern, p + 1, byte, nocase);
            hit.then_some(after)
        }
        b'\\' if p + 1 < pattern.len() => same(pattern[p + 1], byte, nocase).then_some(p + 2),
        literal => same(*literal, byte, nocase).then_some(p + 1),
    }
}

/// Whether the class whose inside starts at `p` holds `byte`, and where the pattern goes on.
fn take_class(pattern: &[u8], mut p: usize, byte: u8, nocase: bool) -> (bool, usize) {
    let negated = pattern.get(p) == Some(&b'^');
    p += usize::from(negated);
    let mut hit = false;
    loop {
        match pattern[p.min(pattern.len())..] {
            [] => break,
            [b'\\', literal, ..] => {
                hit |= literal == byte;
                p += 2;
            }
            [b']', ..] => {
                p += 1;
                break;
            }
            [from, b'-', to, ..] => {
                hit |= in_range(from, to, byte, nocase);
                p += 3;
            }
            [member, ..] => {
                hit |= same(member, byte, nocase);
                p += 1;
            }
        }
    }
    (hit != negated, p)
}

fn in_range(from: u8, to: u8, byte: u8, nocase: bool) -> bool {
    let (low, high) = if (from as i8) <= (to as i8) { (from, to) } else { (to, from) };
    let fold = |byte: u8| if nocase { byte.to_ascii_lowercase() as i8 } else { byte as i8 };
    (fold(low)..=fold(high)).contains(&fold(byte))
}

fn same(a: u8, b: u8, nocase: bool) -> bool {
    a == b || nocase && a.eq_ignore_ascii_case(&b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn matches_as_redis_does() {
        #[track_caller]
        fn check(pattern: &[u8], yes: &[&[u8]], no: &[&[u8]]) {
            for (texts, expected) in [(yes, true), (no, false)] {
                for text in texts {
                    assert_eq!(matches(pattern, text, false), expected, "{}", text.escape_ascii());
                }
            }
        }
        check(b"", &[b""], &[b"a"]);
        check(b"*", &[b"a", b"abc"], &[b""]);
        check(b"a*", &[b"a", b"abc"], &[b"", b"ba"]);
        check(b"h?llo", &[b"hello", b"hallo"], &[b"hllo", b"heello"]);
        check(b"h*llo", &[b"hllo", b"heeello"], &[b"hell"]);
        check(b"h[ae]llo", &[b"hello", b"hallo"], &[b"hillo", b"h]llo"]);
        check(b"h[^e]llo", &[b"hallo"], &[b"hello"]);
        check(b"h[a-c]llo", &[b"hallo", b"hcllo"], &[b"hello"]);
        check(b"h[c-a]llo", &[b"hbllo"], &[b"hello"]);
        check(b"a\\*", &[b"a*"], &[b"ab", b"a\\*"]);
        check(b"a\\", &[b"a\\"], &[b"a"]);
        check(b"[\\]]", &[b"]"], &[b"\\"]);
        check(b"[", &[], &[b"["]);
        check(b"[^", &[b"x"], &[b""]);
        check(b"[ab", &[b"a", b"b"], &[b"[", b"c"]);
        check(b"[]", &[], &[b"]", b"a"]);
        check(b"[a-]", &[b"^", b"a", b"]"], &[b"-", b"b"]);
        check(b"[a-\xff]", &[b"\xff", b"B", b"a"], &[b"b", b"\xfe"]);
        check(b"*.*.txt**", &[b"a.b.txt", b"..txt"], &[b"a.txt"]);
    }

    #[test]
    fn folds_case_only_when_asked() {
        for (pattern, text) in [("ABC", "abc"), ("a[B-D]e", "ACE"), ("\\Q*", "qx")] {
            assert!(matches(pattern.as_bytes(), text.as_bytes(), true));
            assert!(!matches(pattern.as_bytes(), text.as_bytes(), false));
        }
    }

    #[test]
    fn hostile_patterns_end_soon() {
        let text = vec![b'a'; 3000];
        assert!(!matches(&[&b"*a".repeat(900)[..], b"b"].concat(), &text, false));
        assert!(matches(&b"*?".repeat(MAX_STARS), &text, false));
        assert!(!matches(&b"*?".repeat(MAX_STARS + 1), &text, false));
    }

    enum Element {
        Star,
        One(Box<dyn Fn(u8) -> bool>),
    }

    /// The rules of the module head read from left to right, as predicates.
    fn elements(pattern: &[u8]) -> Vec<Element> {
        let (mut rest, mut elements) = (pattern, Vec::new());
        while let [first, after @ ..] = rest {
            rest = after;
            elements.push(match first {
                b'*' => Element::Star,
                b'?' => Element::One(Box::new(|_| true)),
                b'[' => {
                    let negated = rest.first() == Some(&b'^');
                    rest = &rest[usize::from(negated)..];
                    let mut members: Vec<u8> = Vec::new();
                    while let [first, after @ ..] = rest {
                        rest = after;
                        match (first, after) {
                            (b'\\', [literal, after @ ..]) => {
                                members.push(*literal);
                                rest = after;
                            }
                            (b']', _) => break,
                            (from, [b'-', to, after @ ..]) => {
                                members.extend((*from.min(to))..=*from.max(to));
                                rest = after;
                            }
                            (member, _) => members.push(*member),
                        }
                    }
                    Element::One(Box::new(move |byte| members.contains(&byte) != negated))
                }
                b'\\' if !rest.is_empty() => {
                    let literal = rest[0];
                    rest = &rest[1..];
                    Element::One(Box::new(move |byte| byte == literal))
                }
                literal => {
                    let literal = *literal;
                    Element::One(Box::new(move |byte| byte == literal))
                }
            });
        }
        elements
    }

    fn model(elements: &[Element], text: &[u8]) -> bool {
        match elements {
            [] => text.is_empty(),
            [Element::Star, rest @ ..] => (0..=text.len()).any(|skip| model(rest, &text[skip..])),
            [Element::One(takes), rest @ ..] => {
                text.split_first().is_some_and(|(byte, after)| takes(*byte) && model(rest, after))
            }
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_plain_recursive_reading(
            pattern in proptest::collection::vec(proptest::sample::select(&b"ab-*?[]^\\"[..]), 0..10),
            text in proptest::collection::vec(proptest::sample::select(&b"ab-]^\\"[..]), 1..8),
        ) {
            prop_assert_eq!(matches(&pattern, &text, false), model(&elements(&pattern), &text));
        }
    }
}
