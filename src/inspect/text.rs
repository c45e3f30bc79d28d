//! Bytes as text, for terminals and for programs.
//!
//! Names and values are any bytes. On a **terminal** whatever could move the cursor or pass for other text is written as
//! `\n`, `\x1b`, `\u{202e}`; the rest of UTF-8 stays readable. In **JSON** a byte that is no part of UTF-8 becomes the lone
//! surrogate `\udc80` … `\udcff` (Python's `surrogateescape`): valid text is never changed, every byte string comes
//! back exactly, and no field changes its type with its content. Rejected: base64 beside text (two forms of one
//! field) and replacing (not reversible).

use std::fmt::{Display, Write as _};

/// `bytes` for a terminal, on one line.
pub fn shown(bytes: &[u8]) -> String {
    escaped(bytes, true)
}

/// A message for a terminal: names in it were [`shown`] when it was made, so that backslashes stay as they are.
pub fn message(text: &impl Display) -> String {
    escaped(text.to_string().as_bytes(), false)
}

fn escaped(bytes: &[u8], backslashes: bool) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' if backslashes => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                c if c.is_ascii_control() => push_hex(&mut out, c as u8),
                c if c.is_control() || is_deceptive(c) => out.extend(c.escape_unicode()),
                c => out.push(c),
            }
        }
        chunk.invalid().iter().for_each(|byte| push_hex(&mut out, *byte));
    }
    out
}

/// The same, at most `most` characters of it.
pub fn shortened(bytes: &[u8], most: usize) -> String {
    let text = shown(&bytes[..bytes.len().min(4 * most)]);
    let cut = text.char_indices().nth(most).map(|(at, _)| at);
    match cut {
        None if bytes.len() <= 4 * most => text,
        _ => format!(
            "{}…",
            &text[..text.char_indices().nth(most.saturating_sub(1)).map_or(text.len(), |(at, _)| at)]
        ),
    }
}

fn push_hex(out: &mut String, byte: u8) {
    let _infallible = write!(out, "\\x{byte:02x}");
}

/// Characters that reorder or hide what stands around them.
fn is_deceptive(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Appends the inside of a JSON string. A string given in pieces must be cut between characters, or a cut one is written as
/// lone bytes, which reads back the same.
pub fn push_json(out: &mut Vec<u8>, bytes: &[u8]) {
    // Runs of plain ASCII, the commonest text, are copied at once.
    let mut rest = bytes;
    loop {
        let plain = plain(rest);
        out.extend_from_slice(&rest[..plain]);
        rest = &rest[plain..];
        let Some(&first) = rest.first() else { return };
        let taken = match first {
            b'"' | b'\\' => {
                out.extend_from_slice(&[b'\\', first]);
                1
            }
            b'\n' => {
                out.extend_from_slice(b"\\n");
                1
            }
            0..=0x1f | 0x7f => {
                push_u(out, u16::from(first));
                1
            }
            _ => push_beyond_ascii(out, rest),
        };
        rest = &rest[taken..];
    }
}

/// How many bytes at the start are ASCII that stands for itself. Sixteen at a time, without a branch for each.
fn plain(bytes: &[u8]) -> usize {
    let is_plain = |byte: u8| (byte.wrapping_sub(b' ') <= b'~' - b' ') & (byte != b'"') & (byte != b'\\');
    let chunks = bytes.chunks_exact(16);
    let at =
        16 * chunks.take_while(|chunk| chunk.iter().fold(true, |all, byte| all & is_plain(*byte))).count();
    at + bytes[at..].iter().take_while(|byte| is_plain(**byte)).count()
}

/// Writes the character or the stray bytes at the start of `rest`; how many bytes they are.
fn push_beyond_ascii(out: &mut Vec<u8>, rest: &[u8]) -> usize {
    let head = &rest[..rest.len().min(4)];
    let Some(chunk) = head.utf8_chunks().next() else { return rest.len() };
    if let Some(c) = chunk.valid().chars().next() {
        out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        return c.len_utf8();
    }
    let stray = chunk.invalid();
    stray.iter().for_each(|byte| push_u(out, 0xdc00 + u16::from(*byte)));
    stray.len().max(1)
}

fn push_u(out: &mut Vec<u8>, unit: u16) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let digit = |shift: u16| HEX[usize::from(unit >> shift & 15)];
    out.extend_from_slice(&[b'\\', b'u', digit(12), digit(8), digit(4), digit(0)]);
}

/// Writes one JSON value, without spaces or line ends.
#[derive(Default)]
pub struct Json {
    out: Vec<u8>,
    /// A value stands before in the same array or object.
    follows: bool,
}

impl Json {
    pub fn new() -> Json {
        Json::default()
    }
    pub fn into_bytes(self) -> Vec<u8> {
        self.out
    }
    /// A member's name; its value comes next.
    pub fn key(&mut self, name: &str) -> &mut Json {
        self.key_bytes(name.as_bytes())
    }
    /// The same for a name that is any bytes.
    pub fn key_bytes(&mut self, name: &[u8]) -> &mut Json {
        self.text(name);
        self.out.push(b':');
        self.follows = false;
        self
    }
    pub fn object(&mut self, members: impl FnOnce(&mut Json)) {
        self.nested(b"{}", members);
    }
    pub fn array(&mut self, elements: impl FnOnce(&mut Json)) {
        self.nested(b"[]", elements);
    }
    pub fn text(&mut self, bytes: &[u8]) {
        self.begin();
        self.out.push(b'"');
        push_json(&mut self.out, bytes);
        self.out.push(b'"');
    }
    /// A number, true, false or null.
    pub fn plain(&mut self, value: impl Display) {
        self.begin();
        self.out.extend_from_slice(value.to_string().as_bytes());
    }
    /// The value, or null.
    pub fn maybe(&mut self, value: Option<impl Display>) {
        match value {
            Some(value) => self.plain(value),
            None => self.plain("null"),
        }
    }
    fn begin(&mut self) {
        if std::mem::replace(&mut self.follows, true) {
            self.out.push(b',');
        }
    }
    fn nested(&mut self, brackets: &[u8; 2], inside: impl FnOnce(&mut Json)) {
        self.begin();
        self.out.push(brackets[0]);
        self.follows = false;
        inside(self);
        self.out.push(brackets[1]);
        self.follows = true;
    }
}

/// A number of bytes for people: three digits and a unit.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 999.5 && unit + 1 < UNITS.len() {
        (value, unit) = (value / 1024.0, unit + 1);
    }
    match (unit, value) {
        (0, _) => format!("{bytes} B"),
        (_, ..9.995) => format!("{value:.2} {}", UNITS[unit]),
        (_, ..99.95) => format!("{value:.1} {}", UNITS[unit]),
        _ => format!("{value:.0} {}", UNITS[unit]),
    }
}

/// An integer with its digits in groups of three.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 key`, `2 keys`.
pub fn counted(n: u64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(n), if n == 1 { one } else { many })
}

/// A Unix time in milliseconds as UTC, `2026-11-23 09:37:33`; beyond the year 9999 as the number.
pub fn utc(ms: i64) -> String {
    let seconds = ms.div_euclid(1000);
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Days to a date by eras of 400 years from 1 March (the proleptic Gregorian calendar).
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    if !(0..=9999).contains(&year) {
        return ms.to_string();
    }
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_moves_the_cursor() {
        let check = |bytes: &[u8], expected: &str| assert_eq!(shown(bytes), expected);
        check(b"plain key:1", "plain key:1");
        check("grün 🙂".as_bytes(), "grün 🙂");
        check(b"\x1b[2J\r\n\t\x07\x7f", "\\x1b[2J\\r\\n\\t\\x07\\x7f");
        check(b"a\\n", "a\\\\n");
        check(b"\xff\xfe", "\\xff\\xfe");
        check("\u{9b}31m\u{202e}".as_bytes(), "\\u{9b}31m\\u{202e}");
        assert_eq!(message(&"a\\n\x1b"), "a\\n\\x1b");
        assert_eq!(shortened(b"abcdef", 4), "abc…");
        assert_eq!(shortened(b"abcd", 4), "abcd");
    }

    #[test]
    fn json_keeps_every_byte() {
        let check = |bytes: &[u8], expected: &str| {
            let mut out = Vec::new();
            push_json(&mut out, bytes);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        };
        check(b"a\"b\\c\nd\x01", "a\\\"b\\\\c\\nd\\u0001");
        check("é🙂".as_bytes(), "é🙂");
        check(b"\xff\xc3", "\\udcff\\udcc3");
        check(b"\xed\xa0\x80", "\\udced\\udca0\\udc80");
    }

    #[test]
    fn json_is_built_in_order() {
        let mut json = Json::new();
        json.object(|j| {
            j.key("a").plain(1);
            j.key("b").array(|j| {
                j.text(b"x");
                j.object(|_| {});
                j.maybe(None::<u8>);
            });
            j.key("c").plain(true);
        });
        assert_eq!(json.into_bytes(), br#"{"a":1,"b":["x",{},null],"c":true}"#);
    }

    #[test]
    fn numbers_for_people() {
        assert_eq!(
            [0, 999, 1000, 1536, 157_286_400].map(size),
            ["0 B", "999 B", "0.98 KiB", "1.50 KiB", "150 MiB"]
        );
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(utc(0), "1970-01-01 00:00:00");
        assert_eq!(utc(951_827_696_000), "2000-02-29 12:34:56");
        assert_eq!(utc(-1), "1969-12-31 23:59:59");
        assert_eq!(utc(i64::MAX), i64::MAX.to_string());
    }

    proptest! {
        #[test]
        fn json_text_is_utf8_and_reads_back(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let mut out = Vec::new();
            push_json(&mut out, &bytes);
            let text = String::from_utf8(out).unwrap();
            let (mut back, mut chars) = (Vec::new(), text.chars());
            while let Some(c) = chars.next() {
                if c != '\\' {
                    back.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                    continue;
                }
                match chars.next().unwrap() {
                    'n' => back.push(b'\n'),
                    'u' => {
                        let hex: String = chars.by_ref().take(4).collect();
                        back.push(u16::from_str_radix(&hex, 16).unwrap() as u8);
                    }
                    c => back.push(c as u8),
                }
            }
            prop_assert_eq!(back, bytes);
        }

        #[test]
        fn nothing_shown_is_a_control(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            prop_assert!(!shown(&bytes).chars().any(char::is_control));
        }
    }
}
