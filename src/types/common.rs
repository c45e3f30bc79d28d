//! What the commands of several types share: elements as replies, counts of random members, results that are
//! stored.

use crate::commands::{Ctx, Outcome, UNCHANGED, VERBATIM};
use crate::error::ReplyError;
use crate::format::packed::Entry;
use crate::resp::args::Args;
use crate::resp::reply::Reply;
use crate::store::{Events, Value};

/// An element as a bulk string.
pub fn bulk_entry(out: &mut Reply<'_>, entry: Entry<'_>) {
    match entry {
        Entry::Int(n) => out.bulk_int(n),
        Entry::Str(bytes) => out.bulk(bytes),
    }
}

pub fn owned<'a>(entries: impl IntoIterator<Item = Entry<'a>>) -> Vec<Vec<u8>> {
    entries.into_iter().map(Entry::to_vec).collect()
}

/// The count of SRANDMEMBER and its kin: how many, if negative with repetition.
pub fn random_count(args: Args<'_>, at: usize) -> Result<i64, ReplyError> {
    const RANGE: ReplyError = ReplyError::new(
        "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
    );
    args.int(at).and_then(|count| if count == i64::MIN { Err(RANGE) } else { Ok(count) })
}

/// What SSCAN, HSCAN and ZSCAN answer for a key that is not there.
pub fn empty_scan(out: &mut Reply<'_>) {
    out.array(2);
    out.bulk(b"0");
    out.array(0);
}

/// Ends a command that stores its result at `key`: replies its length `len`; an empty result removes the key.
pub fn store_or_remove(
    ctx: &mut Ctx<'_>,
    key: &[u8],
    result: Value,
    len: usize,
    class: Events,
    event: &'static str,
) -> Result<Outcome, ReplyError> {
    ctx.out.int(len as i64);
    if len > 0 {
        ctx.db.set(key, result);
        ctx.db.notify(class, event, key);
        return VERBATIM;
    }
    let Some(removed) = ctx.db.remove(key) else { return UNCHANGED };
    ctx.db.discard(removed);
    ctx.db.notify(Events::GENERIC, "del", key);
    VERBATIM
}
