//! The entry, read back after everything that may be done to it; what a snapshot holds stays.

use proptest::prelude::*;

use super::*;
use crate::store::Limits;

fn string(key: &[u8], text: &[u8], expires: i64) -> Entry {
    Entry::string(key, text, expires, 7)
}

/// What can be read of a string's entry.
fn seen(entry: &Entry) -> (Vec<u8>, Vec<u8>, &'static str, i64, u32) {
    let text = entry.text();
    (entry.key().to_vec(), text.to_vec(), text.encoding(), entry.expires(), entry.access())
}

#[test]
fn a_string_lies_where_it_takes_less() {
    let check = |key: usize, text: usize, expires: i64, own: usize, heap: usize| {
        let entry = string(&vec![b'k'; key], &vec![b'x'; text], expires);
        assert_eq!((entry.own_bytes(), entry.heap_bytes()), (own, heap), "{key} {text}");
        assert_eq!((entry.key().len(), entry.text().len(), entry.expires()), (key, text, expires));
    };
    check(10, 0, NEVER, 48, 0);
    check(10, 14, NEVER, 48, 0);
    check(10, 15, NEVER, 64, 0);
    check(10, 15, 5, 64, 0);
    check(16, 100, NEVER, 160, 0);
    check(10, 1000, NEVER, 48, 1016);
    check(70_000, 1, NEVER, 81_920, 17);
    check(10, 100_000, 5, 48, 100_016);
}

#[test]
fn numbers_are_their_canonical_text_only() {
    for (text, encoding) in
        [("12", "int"), ("-1", "int"), ("012", "embstr"), ("9223372036854775808", "embstr"), ("", "embstr")]
    {
        let entry = string(b"k", text.as_bytes(), NEVER);
        assert_eq!((entry.text().encoding(), entry.text().to_vec()), (encoding, text.as_bytes().to_vec()));
        assert_eq!(Entry::new(b"k", entry.to_value(), NEVER, 0).text().encoding(), encoding);
    }
}

#[test]
fn an_overwritten_string_is_like_a_new_one_or_left_alone() {
    let long = |byte: u8, len| vec![byte; len];
    let check = |old: &[u8], expires: i64, new: &[u8], new_expires: i64, done: bool| {
        let mut entry = string(b"key", old, expires);
        assert_eq!(entry.overwrite(new, new_expires), done, "{} {}", old.escape_ascii(), new.escape_ascii());
        let expected = if done { string(b"key", new, new_expires) } else { string(b"key", old, expires) };
        assert_eq!(seen(&entry), seen(&expected));
        // Not what a snapshot holds.
        let mut entry = string(b"key", old, expires);
        let held = entry.clone();
        assert!(!entry.overwrite(new, new_expires));
        assert_eq!(seen(&held), seen(&string(b"key", old, expires)));
    };
    check(b"old", NEVER, b"new", NEVER, true);
    check(b"old", 5, b"new", 6, true);
    check(b"old", NEVER, b"new", 6, false);
    check(b"old", 5, b"new", NEVER, false);
    check(b"old", NEVER, b"longer", NEVER, false);
    check(b"old", NEVER, b"123", NEVER, false);
    check(b"123", NEVER, b"old", NEVER, false);
    check(b"123", NEVER, b"45678", NEVER, true);
    check(b"123", 5, b"45678", 9, true);
    check(&long(b'x', 5000), 5, &long(b'y', 5000), 9, true);
    check(&long(b'x', 5000), 5, &long(b'y', 5001), 9, false);
}

#[test]
fn a_buffer_keeps_key_deadline_and_what_a_snapshot_holds() {
    for text in [&b"12"[..], b"text", &[b'x'; 5000]] {
        for expires in [NEVER, 5] {
            let mut entry = string(b"key", text, expires);
            let held = entry.clone();
            entry.buffer().unwrap().extend_from_slice(b"ab");
            let between = entry.clone();
            entry.buffer().unwrap().extend_from_slice(b"cd");
            assert_eq!(seen(&held), seen(&string(b"key", text, expires)));
            assert_eq!(between.text().to_vec(), [text, b"ab"].concat());
            assert_eq!(seen(&entry), (b"key".to_vec(), [text, b"abcd"].concat(), "raw", expires, 7));
        }
    }
    let mut list = Entry::new(b"key", List::from_values([&b"a"[..]], &Limits::default()).wrap(), NEVER, 0);
    assert!(list.buffer().is_none() && list.value_mut::<Hash>().is_none());
}

#[test]
fn a_collection_of_a_snapshot_is_copied_before_it_is_changed() {
    let limits = Limits::default();
    let mut entry = Entry::new(b"key", Hash::new().wrap(), 5, 7);
    let held = entry.clone();
    entry.value_mut::<Hash>().unwrap().set(b"field", b"value", &limits);
    let again = entry.to_value();
    entry.value_mut::<Hash>().unwrap().set(b"other", b"value", &limits);
    assert_eq!((held.value().elements(), again.view().elements(), entry.value().elements()), (0, 1, 2));
    assert_eq!((entry.key(), entry.expires(), entry.access()), (&b"key"[..], 5, 7));
    assert!(held.value().is_empty() && !entry.value().is_empty());
}

proptest! {
    /// Whatever is done to it, an entry is a key with a string, a deadline and a stamp, and its clones stay as they were.
    #[test]
    fn behaves_like_its_parts(
        key in proptest::collection::vec(any::<u8>(), 0..300),
        texts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 1..4),
        steps in proptest::collection::vec((0usize..6, any::<u32>()), 0..12),
    ) {
        let (mut text, mut expires, mut access) = (texts[0].clone(), NEVER, 7);
        let mut entry = string(&key, &text, expires);
        let mut held = None;
        for (step, number) in steps {
            match step {
                0 => {
                    expires = if number % 3 == 0 { NEVER } else { number.into() };
                    entry.set_expires(expires);
                }
                1 => {
                    entry.set_int(number.into());
                    text = number.to_string().into_bytes();
                }
                2 => {
                    let new = &texts[number as usize % texts.len()];
                    if !entry.overwrite(new, expires) {
                        entry = Entry::string(&key, new, expires, access);
                    }
                    text = new.clone();
                }
                3 => {
                    entry.buffer().unwrap().push(b'x');
                    text.push(b'x');
                }
                4 => {
                    access = number;
                    entry.set_access(access);
                }
                _ => held = Some((entry.clone(), text.clone(), expires)),
            }
            prop_assert_eq!((entry.key(), entry.text().to_vec()), (&key[..], text.clone()));
            prop_assert_eq!((entry.expires(), entry.access(), entry.due()), (expires, access, expires));
            if let Some((held, text, expires)) = &held {
                prop_assert_eq!((held.key(), held.text().to_vec(), held.expires()), (&key[..], text.clone(), *expires));
            }
        }
    }
}
