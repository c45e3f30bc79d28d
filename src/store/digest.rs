//! DEBUG DIGEST: twenty bytes that tell whether two datasets are the same, computed as Redis 7.2 computes them so
//! that the two can be compared.
//!
//! What has an order (characters of a string, elements of a list, entries of a stream) is *mixed* into a digest:
//! `d = sha1(d xor sha1(x))`. What has none (members, fields, keys) is xored: `d ^= sha1(x)`. The deadline itself
//! takes no part, only that there is one; access stamps and encodings take none at all. Redis before 7.2 prints
//! fractional scores with seventeen digits, so sorted sets with such scores compare only with 7.2.

use super::value::{NEVER, Type, View};
use super::{Database, Entry, Hash, Stream, Zset};
use crate::format::rdb::stream::visit_entries;
use crate::format::sha1::{LEN, sha1};
use crate::resp::number::format_shortest;
use crate::store::partitions::Item;

pub type Digest = [u8; LEN];

fn xor(digest: &mut Digest, bytes: &[u8]) {
    digest.iter_mut().zip(sha1(bytes)).for_each(|(to, from)| *to ^= from);
}

fn mix(digest: &mut Digest, bytes: &[u8]) {
    xor(digest, bytes);
    *digest = sha1(digest);
}

/// The digest of all databases.
pub fn of_dataset(dbs: &[Database]) -> Digest {
    let mut digest = [0; LEN];
    for (index, database) in dbs.iter().enumerate().filter(|(_, database)| !database.entries.is_empty()) {
        mix(&mut digest, &(index as u32).to_be_bytes());
        for entry in database.entries.iter() {
            let mut own = [0; LEN];
            mix(&mut own, entry.key());
            add_value(&mut own, entry);
            xor(&mut digest, &own);
        }
    }
    digest
}

/// The digest of a value and of whether it has a deadline (DEBUG DIGEST-VALUE).
pub fn of_value(entry: &Entry) -> Digest {
    let mut digest = [0; LEN];
    add_value(&mut digest, entry);
    digest
}

fn add_value(digest: &mut Digest, entry: &Entry) {
    let value = entry.value();
    mix(digest, &type_number(value.kind()).to_be_bytes());
    let mut number = itoa::Buffer::new();
    match value {
        View::Str(text) => mix(digest, &text.to_vec()),
        View::List(list) => list.iter().for_each(|element| mix(digest, element.bytes(&mut number))),
        View::Set(set) => set.iter().for_each(|member| xor(digest, member.bytes(&mut number))),
        View::Hash(hash) => add_hash(digest, hash),
        View::Zset(zset) => add_zset(digest, zset),
        View::Stream(stream) => add_stream(digest, stream),
    }
    if entry.expires() != NEVER {
        xor(digest, b"!!expire!!");
    }
}

/// Redis' number of the type.
fn type_number(kind: Type) -> u32 {
    match kind {
        Type::Str => 0,
        Type::List => 1,
        Type::Set => 2,
        Type::Zset => 3,
        Type::Hash => 4,
        Type::Stream => 6,
    }
}

fn add_hash(digest: &mut Digest, hash: &Hash) {
    let mut number = itoa::Buffer::new();
    for (field, value) in hash.iter() {
        let mut pair = [0; LEN];
        mix(&mut pair, field.bytes(&mut number));
        mix(&mut pair, value.bytes(&mut number));
        xor(digest, &pair);
    }
}

fn add_zset(digest: &mut Digest, zset: &Zset) {
    let (mut number, mut text) = (itoa::Buffer::new(), Vec::new());
    for (member, score) in zset.iter() {
        text.clear();
        format_shortest(score, &mut text);
        let mut pair = [0; LEN];
        mix(&mut pair, member.bytes(&mut number));
        mix(&mut pair, &text);
        xor(digest, &pair);
    }
}

fn add_stream(digest: &mut Digest, stream: &Stream) {
    let mut number = itoa::Buffer::new();
    // The payload was checked when the value was made, so that nothing is left out here.
    let _checked = visit_entries(stream.payload(), |(ms, seq), fields| {
        mix(digest, format!("{ms}.{seq}").as_bytes());
        for (field, value) in fields {
            mix(digest, field.bytes(&mut number));
            mix(digest, value.bytes(&mut number));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::sha1::hex;
    use crate::store::{Limits, List, Set, Str, Value, value::Kind};

    fn digest(value: Value, expires: i64) -> String {
        hex(&of_value(&Entry::new(b"k", value, expires, 0)))
    }

    /// Values as redis-server 7.0.15 gives them.
    #[test]
    fn values_as_in_redis() {
        let limits = Limits::default();
        let list = List::from_values([&b"a"[..], b"1", b"b"], &limits);
        let mut set = Set::for_members(b"1", 2, &limits);
        set.insert(1, &limits);
        set.insert(2, &limits);
        let hash = Hash::from_pairs([(&b"f"[..], &b"v"[..]), (b"g", b"2")], 2, &limits).unwrap();
        let mut zset = Zset::for_members(1, 2, &limits);
        zset.insert(b"m", 1.0, &limits);
        zset.insert(b"n", 2.5, &limits);
        for (value, expires, expected) in [
            (Str::new(b"hello").wrap(), NEVER, STRING),
            (Str::new(b"hello").wrap(), 5, STRING_WITH_DEADLINE),
            (Str::new(b"123").wrap(), NEVER, NUMBER),
            (list.wrap(), NEVER, LIST),
            (set.wrap(), NEVER, SET),
            (hash.wrap(), NEVER, HASH),
            (zset.wrap(), NEVER, ZSET),
        ] {
            assert_eq!(digest(value, expires), expected);
        }
    }
    const STRING: &str = "36b23a1456b2dce2c3ed252c456761301dba8060";
    const STRING_WITH_DEADLINE: &str = "d037c4eb8a8b36b602fbced4000daeab0714c1e3";
    const NUMBER: &str = "89f7f51b707418f666d5b45e053bd5bbbf82ac2b";
    const LIST: &str = "d5f44352f6226abea9252dad248ef5de0d964396";
    const SET: &str = "5d9842e5bd79f833c83b3535ec4a6836aba6d1fd";
    const HASH: &str = "9dc7e1ed596e8ccab4b91d04b8317fc85b68294a";
    const ZSET: &str = "22735e22d6970bb3459dd0812ad607df6ce34e05";

    #[test]
    fn datasets() {
        let mut dbs = vec![Database::default(); 3];
        assert_eq!(of_dataset(&dbs), [0; LEN]);
        dbs[0].put(Entry::new(b"a", Str::new(b"1").wrap(), NEVER, 0));
        dbs[2].put(Entry::new(b"b", Str::new(b"x").wrap(), 9, 0));
        assert_eq!(hex(&of_dataset(&dbs)), "cfa39cb7c9f4e1b8eace83358922823a323ce867");
        let swapped = [dbs[2].clone(), dbs[1].clone(), dbs[0].clone()];
        assert_ne!(of_dataset(&swapped), of_dataset(&dbs));
    }
}
