//! Listpack: bytes equal to Redis', a model, and damage. The golden bytes are entries of DUMP payloads of
//! redis-server 7.0.15.

use super::*;
use proptest::prelude::*;

#[test]
fn entries_are_encoded_as_redis_does() {
    let check = |value: &str, entry: &[u8]| {
        let lp: Listpack = [value].into_iter().collect();
        assert_eq!(&lp.as_bytes()[HEADER..lp.bytes_len() - 1], entry, "{value}");
        assert_eq!(Listpack::entry_size(value), entry.len());
        let read = Listpack::from_bytes(lp.into_bytes()).unwrap();
        assert_eq!(read.get(0).unwrap().to_vec(), value.as_bytes());
        assert_eq!(read.find(value.as_bytes(), 0), read.first());
    };
    check("0", b"\x00\x01");
    check("1", b"\x01\x01");
    check("127", b"\x7f\x01");
    check("128", b"\xc0\x80\x02");
    check("-1", b"\xdf\xff\x02");
    check("4095", b"\xcf\xff\x02");
    check("4096", b"\xf1\x00\x10\x03");
    check("-4096", b"\xd0\x00\x02");
    check("-4097", b"\xf1\xff\xef\x03");
    check("32767", b"\xf1\xff\x7f\x03");
    check("32768", b"\xf2\x00\x80\x00\x04");
    check("-32768", b"\xf1\x00\x80\x03");
    check("-32769", b"\xf2\xff\x7f\xff\x04");
    check("8388607", b"\xf2\xff\xff\x7f\x04");
    check("8388608", b"\xf3\x00\x00\x80\x00\x05");
    check("-8388608", b"\xf2\x00\x00\x80\x04");
    check("-8388609", b"\xf3\xff\xff\x7f\xff\x05");
    check("2147483647", b"\xf3\xff\xff\xff\x7f\x05");
    check("2147483648", b"\xf4\x00\x00\x00\x80\x00\x00\x00\x00\x09");
    check("-2147483648", b"\xf3\x00\x00\x00\x80\x05");
    check("-2147483649", b"\xf4\xff\xff\xff\x7f\xff\xff\xff\xff\x09");
    check("9223372036854775807", b"\xf4\xff\xff\xff\xff\xff\xff\xff\x7f\x09");
    check("-9223372036854775808", b"\xf4\x00\x00\x00\x00\x00\x00\x00\x80\x09");
    check("9223372036854775808", b"\x939223372036854775808\x14");
    check("01", b"\x8201\x03");
    check("-0", b"\x82-0\x03");
    check("-", b"\x81-\x02");
    check("", b"\x80\x01");
    check("a", b"\x81a\x02");
    check("+1", b"\x82+1\x03");
    check("1.5", b"\x831.5\x04");
}

#[test]
fn heads_and_backlens_of_long_strings() {
    let check = |len: usize, head: &[u8], back: &[u8]| {
        let lp: Listpack = [&vec![b'x'; len], &b"1".to_vec()].into_iter().collect();
        let entry = &lp.as_bytes()[HEADER..lp.bytes_len() - 3];
        assert_eq!((&entry[..head.len()], &entry[head.len() + len..]), (head, back), "{len}");
        assert_eq!(lp.last().and_then(|last| lp.prev(last)), lp.first());
        assert!(ListpackRef::new(lp.as_bytes()).is_ok());
    };
    check(63, b"\xbf", b"\x40");
    check(64, b"\xe0\x40", b"\x42");
    check(125, b"\xe0\x7d", b"\x7f");
    check(126, b"\xe0\x7e", b"\x01\x80");
    check(4095, b"\xef\xff", b"\x20\x81");
    check(4096, b"\xf0\x00\x10\x00\x00", b"\x20\x85");
    check(16_377, b"\xf0\xf9\x3f\x00\x00", b"\x7f\xfe");
    check(16_378, b"\xf0\xfa\x3f\x00\x00", b"\x00\xff\xff");
    check(2_097_145, b"\xf0\xf9\xff\x1f\x00", b"\x7f\xff\xfe");
    check(2_097_146, b"\xf0\xfa\xff\x1f\x00", b"\x00\xff\xff\xff");
}

#[test]
fn a_whole_blob() {
    let lp: Listpack = ["a", "1", "b", "-2"].into_iter().collect();
    assert_eq!(lp.as_bytes(), b"\x12\x00\x00\x00\x04\x00\x81a\x02\x01\x01\x81b\x02\xdf\xfe\x02\xff");
    assert_eq!(Listpack::new().as_bytes(), b"\x07\x00\x00\x00\x00\x00\xff");
}

#[test]
fn damage_is_refused_with_its_place() {
    let check = |bytes: &[u8], at: u64| {
        let error = ListpackRef::new(bytes).unwrap_err();
        assert_eq!(error.at, at, "{bytes:?}: {error}");
    };
    check(b"", 0);
    check(b"\x06\x00\x00\x00\x00\x00", 0);
    check(b"\x08\x00\x00\x00\x00\x00\xff", 0); // total
    check(b"\x07\x00\x00\x00\x00\x00\x00", 6); // no end
    check(b"\x07\x00\x00\x00\x01\x00\xff", 4); // count
    check(b"\x09\x00\x00\x00\x01\x00\x01\x02\xff", 6); // backlen
    check(b"\x09\x00\x00\x00\x01\x00\xff\x01\xff", 6); // end inside
    check(b"\x09\x00\x00\x00\x01\x00\xf5\x01\xff", 6); // unknown head
    check(b"\x0b\x00\x00\x00\x02\x00\x01\x01\xbf\x40\xff", 8); // string beyond the end
    check(b"\x0e\x00\x00\x00\x01\x00\xf0\xff\xff\xff\xff\x61\x06\xff", 6);
    check(b"\x08\x00\x00\x00\x01\x00\x01\xff", 6); // no backlen
}

#[test]
fn what_redis_accepts_though_it_would_not_write_it() {
    // A number kept as text, a short string with a long head, an unknown count.
    let bytes = b"\x14\x00\x00\x00\xff\xff\x8212\x03\xf0\x01\x00\x00\x00a\x06\x05\x01\xff";
    let lp = Listpack::from_bytes(bytes.to_vec()).unwrap();
    assert_eq!(lp.len(), 3);
    assert_eq!(lp.find(b"12", 0), lp.first());
    assert_eq!(lp.get(0), Some(Entry::Int(12)));
    assert_eq!(lp.get(1), Some(Entry::from("a")));
    assert_eq!(lp.get(-1), Some(Entry::Int(5)));
}

#[test]
fn counts_beyond_the_field() {
    let mut lp: Listpack = (0..65_534i64).map(|n| n % 100).collect();
    assert_eq!(count_field(lp.as_bytes()), 65_534);
    lp.push(1);
    lp.push(2);
    assert_eq!((count_field(lp.as_bytes()), lp.len()), (COUNT_UNKNOWN, 65_536));
    assert_eq!(lp.remove_range(Pos(HEADER as u32), 65_530), 65_530);
    assert_eq!((lp.len(), lp.get(-1)), (6, Some(Entry::Int(2))));
    assert!(Listpack::from_bytes(lp.into_bytes()).is_ok());
}

#[test]
fn find_skips() {
    let lp: Listpack = ["f", "v", "v", "f", "10", "20"].into_iter().collect();
    let index = |pos: Option<Pos>| pos.map(|pos| lp.positions().position(|(p, _)| p == pos).unwrap());
    let check =
        |value: &[u8], skip, found| assert_eq!(index(lp.find(value, skip)), found, "{value:?} {skip}");
    check(b"v", 0, Some(1));
    check(b"v", 1, Some(2));
    check(b"10", 1, Some(4));
    check(b"20", 1, None);
    check(b"20", 0, Some(5));
    check(b"x", 2, None);
    assert_eq!(index(lp.find_from(lp.seek(2).unwrap(), b"f", 0)), Some(3));
    assert_eq!(lp.find_from(lp.end(), b"f", 0), None);
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        any::<i64>().prop_map(|n| n.to_string().into_bytes()),
        (-200i64..200).prop_map(|n| n.to_string().into_bytes()),
        proptest::collection::vec(any::<u8>(), 0..20),
        (0usize..5000).prop_map(|n| vec![b'x'; n]),
    ]
}

#[derive(Clone, Debug)]
enum Step {
    Insert(prop::sample::Index, Vec<u8>),
    Replace(prop::sample::Index, Vec<u8>),
    Remove(prop::sample::Index, usize),
    SplitAndSwap(prop::sample::Index),
}

fn step() -> impl Strategy<Value = Step> {
    let at = any::<prop::sample::Index>;
    prop_oneof![
        4 => (at(), value()).prop_map(|(at, v)| Step::Insert(at, v)),
        2 => (at(), value()).prop_map(|(at, v)| Step::Replace(at, v)),
        1 => (at(), 0usize..4).prop_map(|(at, n)| Step::Remove(at, n)),
        1 => at().prop_map(Step::SplitAndSwap),
    ]
}

fn apply(step: Step, lp: &mut Listpack, model: &mut Vec<Vec<u8>>) {
    let place = |lp: &Listpack, index: usize| lp.seek(index as i64).unwrap_or(lp.end());
    match step {
        Step::Insert(at, value) => {
            let at = at.index(model.len() + 1);
            lp.insert(place(lp, at), &value);
            model.insert(at, value);
        }
        Step::Replace(at, value) => {
            let at = at.index(model.len() + 1);
            lp.replace(place(lp, at), &value);
            if let Some(old) = model.get_mut(at) {
                *old = value;
            }
        }
        Step::Remove(at, count) => {
            let at = at.index(model.len() + 1);
            let to = (at + count).min(model.len());
            assert_eq!(lp.remove_range(place(lp, at), count), to - at);
            model.drain(at..to);
        }
        Step::SplitAndSwap(at) => {
            let at = at.index(model.len() + 1);
            let mut tail = lp.split_off(place(lp, at));
            tail.append(lp.view());
            *lp = tail;
            model.rotate_left(at);
        }
    }
}

proptest! {
    #[test]
    fn behaves_like_a_vector(steps in proptest::collection::vec(step(), 0..40)) {
        let (mut lp, mut model) = (Listpack::new(), Vec::<Vec<u8>>::new());
        for step in steps {
            apply(step, &mut lp, &mut model);
            prop_assert!(ListpackRef::new(lp.as_bytes()).is_ok());
        }
        prop_assert_eq!(lp.len(), model.len());
        prop_assert_eq!(lp.iter().map(Entry::to_vec).collect::<Vec<_>>(), model.clone());
        let backwards: Vec<_> = lp.iter().rev().map(Entry::to_vec).collect();
        prop_assert_eq!(backwards, model.iter().rev().cloned().collect::<Vec<_>>());
        let pairs: Vec<_> = lp.pairs().map(|(a, b)| [a.to_vec(), b.to_vec()]).collect();
        prop_assert_eq!(pairs, model.as_chunks::<2>().0.to_vec());
        for (i, value) in model.iter().enumerate() {
            prop_assert!(lp.get(i as i64).is_some_and(|entry| entry.eq_bytes(value)));
            prop_assert_eq!(lp.seek(i as i64), lp.seek(i as i64 - model.len() as i64));
            let first = model.iter().position(|v| v == value).unwrap();
            prop_assert_eq!(lp.find(value, 0), lp.seek(first as i64));
        }
        prop_assert_eq!(lp.get(model.len() as i64), None);
        prop_assert_eq!(lp.get(-1 - model.len() as i64), None);
        prop_assert!(lp.heap_bytes() <= (lp.bytes_len() * 2).max(32));
    }

    #[test]
    fn flipped_bits_are_refused_or_harmless(
        values in proptest::collection::vec(value(), 0..8), at in any::<prop::sample::Index>(), bit in 0u8..8,
    ) {
        let mut bytes = values.iter().collect::<Listpack>().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        whole_or_refused(bytes);
    }

    #[test]
    fn garbage_never_panics(body in proptest::collection::vec(any::<u8>(), 0..60), claim in 0u16..8) {
        let mut bytes = (body.len() as u32 + 7).to_le_bytes().to_vec();
        bytes.extend_from_slice(&claim.to_le_bytes());
        bytes.extend_from_slice(&body);
        bytes.push(END);
        whole_or_refused(bytes);
        whole_or_refused(body);
    }
}

/// What passes the check reads the same in both directions and survives being rewritten.
fn whole_or_refused(bytes: Vec<u8>) {
    let Ok(lp) = Listpack::from_bytes(bytes.clone()) else { return };
    assert_eq!(lp.as_bytes(), bytes);
    let forwards: Vec<_> = lp.iter().collect();
    let mut backwards: Vec<_> = lp.iter().rev().collect();
    backwards.reverse();
    assert_eq!(forwards, backwards);
    assert_eq!(forwards.len(), lp.len());
    let rewritten: Listpack = forwards.iter().copied().collect();
    assert!(rewritten.iter().eq(lp.iter()));
}
