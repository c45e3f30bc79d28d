//! The 80-bit floating point in which Redis adds for INCRBYFLOAT and HINCRBYFLOAT, in integer arithmetic.
//!
//! Redis reads both numbers as x86's `long double` (a 64-bit significand), adds them, prints the sum with 17 digits
//! after the point and drops trailing zeros. The extra eleven bits over a double are what makes 3.0 + 1.1 print as
//! `4.1`, and the printed sum is what the stream and clients carry on with, so the arithmetic is reproduced bit for
//! bit: the text read, the sum and the text printed are each rounded once, to nearest, ties to even, as processor
//! and C library do. Rejected: `f64` (3.0 + 1.1 prints as 4.09999999999999964), and exact addition of decimals, which
//! agrees for short fractions only: from twenty digits on, Redis' sums show where the 64 bits end.
//!
//! The everyday case stays in a few machine words; numbers up to 1e4932 pass through a list of them, no longer than
//! the text that was read or is written.

use super::number::{Literal, round_bits, scan_float, shift_rounded};
use smallvec::SmallVec;
use std::ops::Add;

/// A number with a 64-bit significand and a 15-bit exponent: x86's extended precision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extended {
    negative: bool,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// `significand × 2^exponent`; the significand's top bit is set unless the exponent is the least one, or it is
    /// zero.
    Finite {
        significand: u64,
        exponent: i32,
    },
    Infinite,
    NotANumber,
}

/// Exponent of the least denormal and of the greatest number.
const LEAST_EXPONENT: i64 = -16445;
const GREATEST_EXPONENT: i64 = 16320;
/// Longest text that is read, in bytes (Redis' buffer for it).
const MAX_TEXT: usize = 5 * 1024 - 1;
/// Digits that Redis prints after the point, before it drops zeros.
const FRACTION_DIGITS: usize = 17;
/// The digits of a limb and their power of ten.
const LIMB_DIGITS: usize = 19;
const TEN_19: u64 = 10u64.pow(LIMB_DIGITS as u32);

impl Extended {
    pub const ZERO: Extended =
        Extended { negative: false, kind: Kind::Finite { significand: 0, exponent: 0 } };

    /// Reads what C's `strtold` reads in full: decimal or hexadecimal, with exponent, or `inf`. `None` for anything
    /// else, for NaN, and for numbers too large or (not being zero) too small to be represented.
    pub fn parse(text: &[u8]) -> Option<Extended> {
        if text.len() > MAX_TEXT {
            return None;
        }
        let (negative, literal) = scan_float(text)?;
        let (value, is_zero) = match literal {
            Literal::Infinity => return Some(Extended { negative, kind: Kind::Infinite }),
            Literal::Hex { bits, sticky, exponent } => {
                (Extended::nearest(negative, bits, sticky, exponent), bits == 0)
            }
            Literal::Decimal { whole, fraction, exponent } => {
                let digits: SmallVec<[u8; 64]> = whole.iter().chain(fraction).copied().collect();
                let exponent = exponent - fraction.len() as i64;
                (Extended::from_decimal(negative, &digits, exponent), digits.iter().all(|d| *d == b'0'))
            }
        };
        let representable = value.is_finite() && (is_zero || !value.is_zero());
        representable.then_some(value)
    }

    pub fn is_finite(self) -> bool {
        matches!(self.kind, Kind::Finite { .. })
    }

    pub fn is_nan(self) -> bool {
        self.kind == Kind::NotANumber
    }

    /// Appends Redis' "human friendly" text: never an exponent, up to 17 digits after the point, no trailing zeros
    /// (`5200`, `10.6`, `inf`).
    pub fn format_human(self, out: &mut Vec<u8>) {
        let (significand, exponent) = match self.kind {
            Kind::NotANumber => return out.extend_from_slice(b"nan"),
            Kind::Infinite => return out.extend_from_slice(if self.negative { b"-inf" } else { b"inf" }),
            Kind::Finite { significand, exponent } => (significand, exponent),
        };
        if exponent >= 0 {
            if self.negative && significand != 0 {
                out.push(b'-');
            }
            return write_whole(significand, exponent as usize, out);
        }
        // Below 2^121; its unit is 2^exponent × 10^-17, and rounding makes that 10^-17.
        let unit = 10u128.pow(FRACTION_DIGITS as u32);
        let scaled = shift_rounded(u128::from(significand) * unit, false, i64::from(-exponent));
        if self.negative && scaled != 0 {
            out.push(b'-');
        }
        out.extend_from_slice(itoa::Buffer::new().format(scaled / unit).as_bytes());
        let (mut fraction, mut digits) = (scaled % unit, FRACTION_DIGITS);
        if fraction != 0 {
            while fraction % 10 == 0 {
                fraction /= 10;
                digits -= 1;
            }
            let mut buffer = itoa::Buffer::new();
            let text = buffer.format(fraction);
            out.push(b'.');
            out.resize(out.len() + digits - text.len(), b'0');
            out.extend_from_slice(text.as_bytes());
        }
    }

    fn is_zero(self) -> bool {
        matches!(self.kind, Kind::Finite { significand: 0, .. })
    }

    /// The nearest to `bits × 2^exponent`, plus a little if `sticky` (then `bits` has at least 66 bits).
    fn nearest(negative: bool, bits: u128, sticky: bool, exponent: i64) -> Extended {
        let (significand, exponent) = round_bits(bits, sticky, exponent, 64, LEAST_EXPONENT);
        let kind = if significand == 0 {
            Kind::Finite { significand: 0, exponent: 0 }
        } else if exponent > GREATEST_EXPONENT {
            Kind::Infinite
        } else {
            Kind::Finite { significand, exponent: exponent as i32 }
        };
        Extended { negative, kind }
    }

    /// The nearest to the number spelled by `digits`, times `10^exponent`.
    fn from_decimal(negative: bool, digits: &[u8], exponent: i64) -> Extended {
        let leading = digits.iter().take_while(|digit| **digit == b'0').count();
        let digits = &digits[leading..];
        let trailing = digits.iter().rev().take_while(|digit| **digit == b'0').count();
        let digits = &digits[..digits.len() - trailing];
        let exponent = exponent + trailing as i64;
        // Far beyond the greatest and least numbers, so that the lists below stay short.
        let magnitude = exponent + digits.len() as i64;
        if digits.is_empty() || magnitude < -5000 {
            return Extended { negative, ..Extended::ZERO };
        }
        if magnitude > 5000 {
            return Extended { negative, kind: Kind::Infinite };
        }
        let mut limbs = Limbs::new();
        for chunk in digits.chunks(LIMB_DIGITS) {
            let n = chunk.iter().fold(0, |n, digit| n * 10 + u64::from(digit - b'0'));
            multiply_add(&mut limbs, 10u64.pow(chunk.len() as u32), n);
        }
        let powers = |count: u64| {
            let (full, rest) = (count as usize / LIMB_DIGITS, count as u32 % LIMB_DIGITS as u32);
            std::iter::repeat_n(TEN_19, full).chain([10u64.pow(rest)])
        };
        let (mut shift, mut sticky) = (0, false);
        if exponent >= 0 {
            powers(exponent as u64).for_each(|power| multiply_add(&mut limbs, power, 0));
        } else {
            // Whole limbs in front, so that the quotient keeps at least 66 bits (10 < 2^(10/3)).
            let wanted = 66 + exponent.unsigned_abs() as usize * 10 / 3 + 1;
            shift = wanted.div_ceil(64);
            limbs.insert_many(0, std::iter::repeat_n(0, shift));
            powers(exponent.unsigned_abs()).for_each(|power| sticky |= divide(&mut limbs, power) != 0);
        }
        let (bits, dropped, lost) = leading_bits(&limbs);
        Extended::nearest(negative, bits, sticky | lost, dropped - 64 * shift as i64)
    }
}

impl From<i64> for Extended {
    fn from(n: i64) -> Extended {
        Extended::nearest(n < 0, n.unsigned_abs().into(), false, 0)
    }
}

impl From<f64> for Extended {
    /// Exact: every double is representable.
    fn from(value: f64) -> Extended {
        let negative = value.is_sign_negative();
        if !value.is_finite() {
            let kind = if value.is_nan() { Kind::NotANumber } else { Kind::Infinite };
            return Extended { negative, kind };
        }
        let (fraction, biased) = (value.to_bits() & ((1 << 52) - 1), (value.to_bits() >> 52 & 0x7ff) as i64);
        let hidden = u64::from(biased > 0) << 52;
        Extended::nearest(negative, (fraction | hidden).into(), false, biased.max(1) - 1075)
    }
}

impl Add for Extended {
    type Output = Extended;

    fn add(self, other: Extended) -> Extended {
        let nan = Extended { negative: false, kind: Kind::NotANumber };
        match (self.kind, other.kind) {
            (Kind::Finite { significand: 0, .. }, _) => other,
            (_, Kind::Finite { significand: 0, .. }) => self,
            (Kind::Finite { exponent: a, .. }, Kind::Finite { exponent: b, .. }) if a < b => {
                add_aligned(other, self)
            }
            (Kind::Finite { .. }, Kind::Finite { .. }) => add_aligned(self, other),
            (Kind::NotANumber, _) | (_, Kind::NotANumber) => nan,
            (Kind::Infinite, Kind::Infinite) if self.negative != other.negative => nan,
            (Kind::Infinite, _) => self,
            (_, Kind::Infinite) => other,
        }
    }
}

/// The sum of two finite numbers that are not zero, of which `a` has no smaller exponent.
fn add_aligned(a: Extended, b: Extended) -> Extended {
    let (Kind::Finite { significand: x, exponent }, Kind::Finite { significand: y, exponent: low }) =
        (a.kind, b.kind)
    else {
        return a;
    };
    // Two bits of headroom above, 62 below: bits of `b` that fall out there cannot meet a cancellation.
    let (x, y) = (u128::from(x) << 62, u128::from(y) << 62);
    let distance = exponent.abs_diff(low);
    let shifted = y.checked_shr(distance).unwrap_or(0);
    let lost = shifted.checked_shl(distance) != Some(y);
    let (negative, bits) = if a.negative == b.negative {
        (a.negative, x + shifted)
    } else if x >= shifted {
        (a.negative && x > shifted, x - shifted - u128::from(lost))
    } else {
        (b.negative, shifted - x)
    };
    Extended::nearest(negative, bits, lost, i64::from(exponent) - 62)
}

/// A large integer, least limb first.
type Limbs = SmallVec<[u64; 8]>;

fn multiply_add(limbs: &mut Limbs, factor: u64, add: u64) {
    let mut carry = add;
    for limb in limbs.iter_mut() {
        let product = u128::from(*limb) * u128::from(factor) + u128::from(carry);
        *limb = product as u64;
        carry = (product >> 64) as u64;
    }
    if carry != 0 {
        limbs.push(carry);
    }
}

/// Divides in place and returns the remainder; drops leading zero limbs.
fn divide(limbs: &mut Limbs, divisor: u64) -> u64 {
    let mut remainder = 0;
    for limb in limbs.iter_mut().rev() {
        let dividend = u128::from(remainder) << 64 | u128::from(*limb);
        *limb = (dividend / u128::from(divisor)) as u64;
        remainder = (dividend % u128::from(divisor)) as u64;
    }
    while limbs.last() == Some(&0) {
        limbs.pop();
    }
    remainder
}

/// The two highest limbs, the bits below them, and whether any of those is set. Two limbs hold at least 65 bits
/// (the highest is not zero), and three are read so that they hold 128.
fn leading_bits(limbs: &[u64]) -> (u128, i64, bool) {
    let limb = |i: usize| limbs.len().checked_sub(i + 1).map_or(0, |at| limbs[at]);
    let zeros = limb(0).leading_zeros();
    let high = u128::from(limb(0)) << 64 | u128::from(limb(1));
    let next = u128::from(limb(2)) << 64;
    let bits = if zeros == 0 { high } else { high << zeros | next >> (128 - zeros) };
    let lost =
        limb(2) << zeros != 0 || limbs.len() > 3 && limbs[..limbs.len() - 3].iter().any(|limb| *limb != 0);
    (bits, 64 * (limbs.len() as i64 - 2) - i64::from(zeros), lost)
}

/// Appends `significand × 2^shift` in decimal.
fn write_whole(significand: u64, shift: usize, out: &mut Vec<u8>) {
    let mut limbs: Limbs = std::iter::repeat_n(0, shift / 64).collect();
    let shifted = u128::from(significand) << (shift % 64);
    limbs.extend([shifted as u64, (shifted >> 64) as u64]);
    let mut chunks: SmallVec<[u64; 8]> = SmallVec::new();
    while !limbs.is_empty() {
        chunks.push(divide(&mut limbs, TEN_19));
    }
    let mut buffer = itoa::Buffer::new();
    let mut chunks = chunks.iter().rev().skip_while(|chunk| **chunk == 0);
    out.extend_from_slice(buffer.format(chunks.next().copied().unwrap_or(0)).as_bytes());
    for chunk in chunks {
        let text = buffer.format(*chunk).as_bytes();
        out.resize(out.len() + LIMB_DIGITS - text.len(), b'0');
        out.extend_from_slice(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(a: &str, b: &str) -> Option<String> {
        let mut out = Vec::new();
        (Extended::parse(a.as_bytes())? + Extended::parse(b.as_bytes())?).format_human(&mut out);
        Some(String::from_utf8_lossy(&out).into_owned())
    }

    #[test]
    fn everyday_sums() {
        for (a, b, expected) in [
            ("3.0", "1.1", "4.1"),
            ("10.5", "0.1", "10.6"),
            ("5.0e3", "2.0e2", "5200"),
            ("1", "-1", "0"),
            ("-1e-20", "0", "0"),
            ("-0.5", "0.25", "-0.25"),
            ("0x1p-1", "0x.8", "1"),
            ("17179869184", "1.5", "17179869185.5"),
            ("9223372036854775807", "1", "9223372036854775808"),
            ("inf", "1", "inf"),
            ("inf", "-inf", "nan"),
        ] {
            assert_eq!(sum(a, b).as_deref(), Some(expected), "{a} + {b}");
        }
    }

    #[test]
    fn refuses_what_is_no_number_or_not_representable() {
        let long = "1".repeat(MAX_TEXT + 1);
        for bad in
            ["", "nan", " 1", "1 ", "1x", "0x", "1e", "1e5000", "-1e99999999999999999999", "1e-5000", &long]
        {
            assert_eq!(Extended::parse(bad.as_bytes()), None, "{bad:?}");
        }
        for good in ["0e-99999", "1e4932", "4e-4951", "0x1p16383", &long[1..4000]] {
            assert!(Extended::parse(good.as_bytes()).is_some(), "{good:?}");
        }
    }

    /// Sums noted from redis-server 7.0.15 on x86-64: `a b sum` a line.
    #[test]
    fn sums_equal_those_of_stock_redis() {
        let table = include_str!("../../tests/golden/incrbyfloat.txt");
        let rows = table.lines().filter(|line| !line.starts_with('#'));
        let mut count = 0;
        for row in rows {
            let fields: Vec<&str> = row.split(' ').collect();
            let [a, b, expected] = fields[..] else { panic!("malformed row {row:?}") };
            assert_eq!(sum(a, b).as_deref(), Some(expected), "{a} + {b}");
            count += 1;
        }
        assert!(count > 300);
    }

    #[test]
    fn doubles_and_integers_enter_exactly() {
        for value in [0.1, -0.1, 1.0 / 3.0, 5e-324, f64::MIN_POSITIVE, 1e22, f64::MAX, 123456.789] {
            assert_eq!(Extended::from(value) + Extended::from(-value), Extended::ZERO, "{value}");
            let mut text = Vec::new();
            Extended::from(value).format_human(&mut text);
            if value.abs() >= 0.01 {
                assert_eq!(String::from_utf8_lossy(&text).parse::<f64>().ok(), Some(value));
            }
        }
        for n in [0, 1, -1, i64::MAX, i64::MIN] {
            assert_eq!(Some(Extended::from(n)), Extended::parse(n.to_string().as_bytes()));
        }
    }
}
