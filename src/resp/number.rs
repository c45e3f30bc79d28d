//! Numbers as text: how clients may spell them and how replies do.
//!
//! What counts as an integer decides encodings, errors and keys of the whole server, so the rules are Redis'
//! to the letter: an integer is accepted only in the form in which it would be printed.

/// An integer exactly as it would be printed: no sign but a leading `-`, no leading zeros, no spaces, no `-0`.
pub fn parse_i64(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    let magnitude = parse_u64(digits)?;
    match (negative, magnitude) {
        (true, 0) => None,
        (true, _) => 0i64.checked_sub_unsigned(magnitude),
        (false, _) => i64::try_from(magnitude).ok(),
    }
}

/// An unsigned integer exactly as it would be printed.
pub fn parse_u64(digits: &[u8]) -> Option<u64> {
    match digits {
        [] => return None,
        [b'0'] => return Some(0),
        [b'0', ..] => return None,
        _ => {}
    }
    let digit = |byte: &u8| byte.is_ascii_digit().then(|| u64::from(byte - b'0'));
    // Nineteen digits cannot overflow.
    let (safe, rest) = digits.split_at(digits.len().min(19));
    let mut n = 0;
    for byte in safe {
        n = n * 10 + digit(byte)?;
    }
    for byte in rest {
        n = n.checked_mul(10)?.checked_add(digit(byte)?)?;
    }
    Some(n)
}

/// A double as C's `strtod` reads it in full: decimal or hexadecimal, with exponent, `inf`, `infinity`. `None` for
/// anything else (spaces, trailing bytes, NaN) and for numbers too large or (not being zero) too small for a double.
pub fn parse_f64(text: &[u8]) -> Option<f64> {
    let (negative, literal) = scan_float(text)?;
    let (value, is_zero) = match literal {
        Literal::Infinity => return Some(if negative { f64::NEG_INFINITY } else { f64::INFINITY }),
        Literal::Hex { bits, sticky, exponent } => {
            let value = double(round_bits(bits, sticky, exponent, 53, -1074));
            (if negative { -value } else { value }, bits == 0)
        }
        Literal::Decimal { whole, fraction, .. } => (
            std::str::from_utf8(text).ok()?.parse().ok()?,
            whole.iter().chain(fraction).all(|digit| *digit == b'0'),
        ),
    };
    let representable = value.is_finite() && (is_zero || value != 0.0);
    representable.then_some(value)
}

/// A size as configuration files spell it: a count of bytes, or with `k m g` (powers of 1000) or `kb mb gb` (powers
/// of 1024), in any letter case. No digits are zero, and what exceeds 64 bits is the most that they can say, as in
/// Redis, where the range of the setting then judges it.
pub fn memory_size(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (count, unit) = text.split_at(digits);
    let factor = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" => 1000,
        "kb" => 1 << 10,
        "m" => 1_000_000,
        "mb" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" => 1 << 30,
        _ => return None,
    };
    let count = if count.is_empty() { 0 } else { count.parse::<u64>().unwrap_or(u64::MAX) };
    Some(count.saturating_mul(factor))
}

/// Appends the shortest text that reads back as `value`, in Redis' spelling: integers up to 2^62 in full
/// (`3`, not `3.0`), small exponents written out, else `1.5e+30`; `inf`, `-inf`, `nan`, `-0`.
pub fn format_f64(value: f64, out: &mut Vec<u8>) {
    const WHOLE: f64 = (i64::MAX / 2) as f64;
    if value.abs() <= WHOLE && value.trunc() == value {
        if value.is_sign_negative() {
            out.push(b'-');
        }
        return out.extend_from_slice(itoa::Buffer::new().format(value.abs() as i64).as_bytes());
    }
    format_shortest(value, out);
}

/// Like [`format_f64`], but whole numbers with many trailing zeros take an exponent, too (`1e+20`).
pub fn format_shortest(value: f64, out: &mut Vec<u8>) {
    if value.is_nan() {
        return out.extend_from_slice(b"nan");
    }
    if value.is_sign_negative() {
        out.push(b'-');
    }
    let value = value.abs();
    if value.is_infinite() {
        return out.extend_from_slice(b"inf");
    }
    if value == 0.0 {
        return out.push(b'0');
    }
    let mut buffer = ryu::Buffer::new();
    let (digits, exponent) = significant(buffer.format_finite(value).as_bytes());
    let digits = &digits.0[..digits.1];
    // The decimal point stands after `point` digits; the first digit weighs 10^(point - 1).
    let point = digits.len() as i32 + exponent;
    if exponent >= 0 && (point - 1).abs() < digits.len() as i32 + 7 {
        out.extend_from_slice(digits);
        out.resize(out.len() + exponent as usize, b'0');
    } else if exponent < 0 && (exponent > -7 || (point - 1).abs() < 4) {
        if point <= 0 {
            out.extend_from_slice(b"0.");
            out.resize(out.len() + point.unsigned_abs() as usize, b'0');
            out.extend_from_slice(digits);
        } else {
            let (whole, fraction) = digits.split_at(point as usize);
            out.extend_from_slice(whole);
            out.push(b'.');
            out.extend_from_slice(fraction);
        }
    } else {
        out.push(digits[0]);
        if digits.len() > 1 {
            out.push(b'.');
            out.extend_from_slice(&digits[1..]);
        }
        out.extend_from_slice(if point > 0 { b"e+" } else { b"e-" });
        out.extend_from_slice(itoa::Buffer::new().format((point - 1).unsigned_abs()).as_bytes());
    }
}

/// Significant digits (array, count) and power of ten of the last one, of a positive decimal literal.
fn significant(text: &[u8]) -> (([u8; 32], usize), i32) {
    let (mut digits, mut count) = ([0u8; 32], 0);
    let (mut exponent, mut in_fraction, mut zeros) = (0i32, false, 0);
    for (i, &byte) in text.iter().enumerate() {
        match byte {
            b'.' => in_fraction = true,
            b'e' => {
                let power = std::str::from_utf8(&text[i + 1..]).ok().and_then(|e| e.parse::<i32>().ok());
                exponent += power.unwrap_or_default();
                break;
            }
            b'0' => {
                exponent -= i32::from(in_fraction);
                zeros += i32::from(count > 0);
            }
            _ => {
                exponent -= i32::from(in_fraction);
                for digit in std::iter::repeat_n(b'0', zeros as usize).chain([byte]) {
                    digits[count] = digit;
                    count += 1;
                }
                zeros = 0;
            }
        }
    }
    ((digits, count), exponent + zeros)
}

/// A float's text, taken apart.
pub(super) enum Literal<'a> {
    Infinity,
    /// `bits × 2^exponent`, and a little more if `sticky` (then `bits` has more than 120 bits).
    Hex {
        bits: u128,
        sticky: bool,
        exponent: i64,
    },
    /// Digits before and after the point (at least one of them), and the exponent, cut to ±10^12.
    Decimal {
        whole: &'a [u8],
        fraction: &'a [u8],
        exponent: i64,
    },
}

/// Sign and parts of what C's `strtod` would read as a whole; `None` if it would not, or as NaN.
pub(super) fn scan_float(text: &[u8]) -> Option<(bool, Literal<'_>)> {
    let (negative, rest) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let literal = match rest {
        [b'i' | b'I', ..] => {
            let infinite = rest.eq_ignore_ascii_case(b"inf") || rest.eq_ignore_ascii_case(b"infinity");
            infinite.then_some(Literal::Infinity)?
        }
        [b'0', b'x' | b'X', rest @ ..] => scan_hex(rest)?,
        rest => {
            let (whole, fraction, rest) = scan_digits(rest, u8::is_ascii_digit)?;
            Literal::Decimal { whole, fraction, exponent: scan_exponent(rest, b'e')? }
        }
    };
    Some((negative, literal))
}

/// Digits, optionally a point and digits; at least one digit in all.
fn scan_digits(text: &[u8], is_digit: fn(&u8) -> bool) -> Option<(&[u8], &[u8], &[u8])> {
    let digits = |text: &[u8]| text.iter().take_while(|byte| is_digit(byte)).count();
    let (whole, mut rest) = text.split_at(digits(text));
    let mut fraction = &rest[..0];
    if let [b'.', after @ ..] = rest {
        (fraction, rest) = after.split_at(digits(after));
    }
    (whole.len() + fraction.len() > 0).then_some((whole, fraction, rest))
}

/// Nothing (zero), or the mark and a signed decimal number; to the end of the text.
fn scan_exponent(text: &[u8], mark: u8) -> Option<i64> {
    let [first, rest @ ..] = text else { return Some(0) };
    let (negative, digits) = match rest {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if !first.eq_ignore_ascii_case(&mark) || digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let magnitude =
        digits.iter().fold(0, |n: i64, digit| (n * 10 + i64::from(digit - b'0')).min(1_000_000_000_000));
    Some(if negative { -magnitude } else { magnitude })
}

fn scan_hex(text: &[u8]) -> Option<Literal<'_>> {
    let (whole, fraction, rest) = scan_digits(text, u8::is_ascii_hexdigit)?;
    let mut exponent = scan_exponent(rest, b'p')? - 4 * fraction.len() as i64;
    let (mut bits, mut sticky) = (0u128, false);
    for digit in whole.iter().chain(fraction) {
        let digit = char::from(*digit).to_digit(16).unwrap_or_default();
        if bits >> 124 == 0 {
            bits = bits << 4 | u128::from(digit);
        } else {
            sticky |= digit != 0;
            exponent += 4;
        }
    }
    Some(Literal::Hex { bits, sticky, exponent })
}

/// Rounds `bits × 2^exponent` (plus a little if `sticky`) to a significand of `width` bits, or fewer where the
/// exponent would fall below `least`: significand and exponent, the former with its top bit set where possible.
/// With `sticky`, `bits` must be wider than `width`.
pub(super) fn round_bits(bits: u128, sticky: bool, exponent: i64, width: i64, least: i64) -> (u64, i64) {
    let len = 128 - i64::from(bits.leading_zeros());
    let drop = (len - width).max(least - exponent);
    if bits == 0 || drop <= 0 {
        return (if bits == 0 { 0 } else { (bits as u64) << -drop }, exponent + drop);
    }
    let rounded = shift_rounded(bits, sticky, drop);
    if rounded >> width == 0 {
        (rounded as u64, exponent + drop)
    } else {
        ((rounded >> 1) as u64, exponent + drop + 1)
    }
}

/// `bits / 2^drop` (`drop` > 0), to nearest, ties to even; `sticky` breaks a tie upwards.
pub(super) fn shift_rounded(bits: u128, sticky: bool, drop: i64) -> u128 {
    let Some(half) = u32::try_from(drop - 1).ok().and_then(|shift| 1u128.checked_shl(shift)) else {
        return 0;
    };
    let kept = bits.checked_shr(drop as u32).unwrap_or(0);
    let rest = bits & (half | (half - 1));
    let up = rest > half || rest == half && (sticky || kept & 1 == 1);
    kept + u128::from(up)
}

/// The double `significand × 2^exponent` as [`round_bits`] gives it for 53 bits; infinite when too large.
fn double((significand, exponent): (u64, i64)) -> f64 {
    const HIDDEN: u64 = 1 << 52;
    match exponent {
        _ if significand < HIDDEN => f64::from_bits(significand),
        ..=971 => f64::from_bits(((exponent + 1075) as u64) << 52 | significand & (HIDDEN - 1)),
        _ => f64::INFINITY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn integers_only_as_printed() {
        for n in [0, 1, -1, 10, i64::MAX, i64::MIN, i64::MIN + 1, 1_000_000_000_000_000_000] {
            assert_eq!(parse_i64(n.to_string().as_bytes()), Some(n));
        }
        for bad in [
            "",
            "-",
            "-0",
            "00",
            "01",
            "-01",
            "+1",
            " 1",
            "1 ",
            "1.0",
            "0x1",
            "1e3",
            "9223372036854775808",
            "-9223372036854775809",
            "99999999999999999999",
            "184467440737095516150",
            "1\0",
        ] {
            assert_eq!(parse_i64(bad.as_bytes()), None, "{bad:?}");
        }
        assert_eq!(parse_u64(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(parse_u64(b"18446744073709551616"), None);
    }

    #[test]
    fn doubles_as_redis_prints_them() {
        for (value, expected) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (3.0, "3"),
            (-3.5, "-3.5"),
            (0.1, "0.1"),
            (0.1 + 0.2, "0.30000000000000004"),
            (2.5000000000000004, "2.5000000000000004"),
            (1e17, "100000000000000000"),
            (1e18, "1000000000000000000"),
            (1e19, "1e+19"),
            (1e21, "1e+21"),
            (1.5e300, "1.5e+300"),
            (123456789012345680000.0, "123456789012345680000"),
            (0.0001, "0.0001"),
            (0.000001, "0.000001"),
            (0.0000001, "1e-7"),
            (1.5e-10, "1.5e-10"),
            (0.00012345678901234567, "1.2345678901234567e-4"),
            (0.0012345678901234567, "0.0012345678901234567"),
            (5e-324, "5e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
        ] {
            let mut out = Vec::new();
            format_f64(value, &mut out);
            assert_eq!(String::from_utf8_lossy(&out), expected);
        }
    }

    #[test]
    fn doubles_as_strtod_reads_them() {
        for (text, expected) in [
            ("1", 1.0),
            ("-0", -0.0),
            ("+1.5", 1.5),
            (".5", 0.5),
            ("5.", 5.0),
            ("1e3", 1000.0),
            ("1E+3", 1000.0),
            ("012", 12.0),
            ("inf", f64::INFINITY),
            ("+Infinity", f64::INFINITY),
            ("-iNf", f64::NEG_INFINITY),
            ("0x10", 16.0),
            ("-0X1.8p1", -3.0),
            ("0x.8", 0.5),
            ("0x1p-1074", 5e-324),
            ("0x1.fffffffffffff8p0", 2.0),
            ("0x1.fffffffffffff7p0", 1.9999999999999998),
            (
                "0x10000000000000800000000000000000000000000000001p0",
                (0x10000000000001u64 as f64) * 2f64.powi(132),
            ),
            ("0x1.fffffffffffffp1023", f64::MAX),
            ("1e-320", 1e-320),
            ("0e-999", 0.0),
            ("0x0p99999", 0.0),
        ] {
            assert_eq!(parse_f64(text.as_bytes()).map(f64::to_bits), Some(expected.to_bits()), "{text}");
        }
        for bad in [
            "",
            "-",
            "+",
            ".",
            "e5",
            "1e",
            "1e+",
            " 1",
            "1 ",
            "1a",
            "1\0",
            "nan",
            "-NAN",
            "infin",
            "0x",
            "0x.",
            "0x1p",
            "0xg",
            "--1",
            "1_0",
            "1e400",
            "-1e400",
            "1e-400",
            "0x1p1024",
            "0x1p-1076",
            "1e99999999999999999999",
        ] {
            assert_eq!(parse_f64(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn sizes_as_in_configuration_files() {
        for (text, expected) in [
            ("0", Some(0)),
            ("100b", Some(100)),
            ("1k", Some(1000)),
            ("1kb", Some(1024)),
            ("64MB", Some(64 << 20)),
            ("2m", Some(2_000_000)),
            ("1Gb", Some(1 << 30)),
            ("1g", Some(1_000_000_000)),
            ("", Some(0)),
            ("mb", Some(0)),
            ("-1", None),
            ("1.5gb", None),
            ("1 kb", None),
            ("1tb", None),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551615k", Some(u64::MAX)),
            ("18446744073709551616", Some(u64::MAX)),
        ] {
            assert_eq!(memory_size(text), expected, "{text:?}");
        }
    }

    #[test]
    fn the_shortest_form_shortens_whole_numbers() {
        for (value, expected) in
            [(0.0, "0"), (3.0, "3"), (-12345.0, "-12345"), (1e7, "10000000"), (1e8, "1e+8"), (1.5, "1.5")]
        {
            let mut out = Vec::new();
            format_shortest(value, &mut out);
            assert_eq!(String::from_utf8_lossy(&out), expected);
        }
    }

    proptest! {
        #[test]
        fn doubles_read_back_as_written(bits: u64, plain in -1_000_000i32..1_000_000) {
            for value in [f64::from_bits(bits), f64::from(plain) / 1000.0] {
                let mut text = Vec::new();
                format_f64(value, &mut text);
                prop_assert!(text.len() <= 26);
                let read = parse_f64(&text).map(f64::to_bits);
                prop_assert_eq!(read, (!value.is_nan()).then_some(value.to_bits()));
            }
        }

        #[test]
        fn numbers_from_garbage_do_not_panic(
            text in proptest::collection::vec(proptest::sample::select(&b"0019.eExXpP+-infaINF "[..]), 0..40),
        ) {
            let double = parse_f64(&text);
            let extended = crate::resp::extended::Extended::parse(&text);
            // Whatever a double holds, the wider type holds.
            prop_assert!(double.is_none() || extended.is_some());
        }
    }
}
