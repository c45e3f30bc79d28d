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

/// Appends the shortest text that reads back as `value`, in Redis' spelling: integers up to 2^62 in full
/// (`3`, not `3.0`), small exponents written out, else `1.5e+30`; `inf`, `-inf`, `nan`, `-0`.
pub fn format_f64(value: f64, out: &mut Vec<u8>) {
    const WHOLE: f64 = (i64::MAX / 2) as f64;
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
    if value <= WHOLE && value.trunc() == value {
        return out.extend_from_slice(itoa::Buffer::new().format(value as i64).as_bytes());
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
