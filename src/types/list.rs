//! Lists: LPUSH, LPOP, LRANGE and their kin; the blocking ones are in [`super::list_blocking`].
//!
//! The representation is [`crate::store::list`]. What Redis decides once per command, after its last element, is
//! decided here at the same place: whether a list that shrank becomes a listpack again, and whether an empty one
//! is removed with its `del` event. LMOVE therefore shrinks its source only after the push, which may be onto the
//! same list.
//!
//! LMPOP chooses its key by what exists, so it enters the stream as the LPOP or RPOP that it was. LINSERT and LSET
//! look for their place before they make room; Redis does it after, and leaves a quicklist behind when they fail.

use super::common::bulk_entry;
use crate::commands::{
    Command, Ctx, Effect, Execute, Flags, Group, Keys, Outcome, UNCHANGED, VERBATIM, verbatim_if,
};
use crate::error::ReplyError;
use crate::format::packed::Entry;
use crate::resp::args::{Args, OwnedArgs};
use crate::resp::number::parse_i64;
use crate::resp::reply::Reply;
use crate::store::list::End;
use crate::store::{Events, List};

/// LPUSH key element ...
fn lpush(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    push(ctx, args, End::Left, false)
}

/// RPUSH key element ...
fn rpush(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    push(ctx, args, End::Right, false)
}

/// LPUSHX key element ...
fn lpushx(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    push(ctx, args, End::Left, true)
}

/// RPUSHX key element ...
fn rpushx(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    push(ctx, args, End::Right, true)
}

fn push(ctx: &mut Ctx<'_>, args: Args<'_>, end: End, if_exists: bool) -> Result<Outcome, ReplyError> {
    let (key, values) = (&args[1], args.tail(2));
    let list =
        if if_exists { ctx.db.write_as::<List>(key)? } else { Some(ctx.db.write_or_create(key, List::new)?) };
    let Some(list) = list else {
        ctx.out.int(0);
        return UNCHANGED;
    };
    list.push_all(end, values, &ctx.server.limits);
    ctx.out.int(list.len() as i64);
    ctx.db.changed(key, values.len() as u64);
    notify_pushed(ctx, key, end);
    VERBATIM
}

fn notify_pushed(ctx: &mut Ctx<'_>, key: &[u8], end: End) {
    let event = if end == End::Left { "lpush" } else { "rpush" };
    ctx.db.notify(Events::LIST, event, key);
}

/// LPOP key [count]
fn lpop(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    pop(ctx, args, End::Left)
}

/// RPOP key [count]
fn rpop(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    pop(ctx, args, End::Right)
}

fn pop(ctx: &mut Ctx<'_>, args: Args<'_>, end: End) -> Result<Outcome, ReplyError> {
    if args.len() > 3 {
        return Err(ReplyError::wrong_arity(ctx.command.name));
    }
    let key = &args[1];
    let Some(count) = args.get(2) else {
        let popped = pop_with(ctx, key, end, 1, |out, list| peek_into(out, list, end))?;
        if popped == 0 {
            ctx.out.null();
        }
        return verbatim_if(popped > 0);
    };
    let count = at_least(0, count, "ERR value is out of range, must be positive")?;
    if count == 0 && ctx.db.write_as::<List>(key)?.is_some() {
        ctx.out.array(0);
        return UNCHANGED;
    }
    let popped = pop_with(ctx, key, end, count, |out, list| range_at(out, list, end, count))?;
    if popped == 0 {
        ctx.out.null_array();
    }
    verbatim_if(popped > 0)
}

/// Pops at most `count` > 0 elements at `end` after `reply` has written them; 0 without a reply if there is no
/// list.
pub(super) fn pop_with(
    ctx: &mut Ctx<'_>,
    key: &[u8],
    end: End,
    count: usize,
    reply: impl FnOnce(&mut Reply<'_>, &List),
) -> Result<usize, ReplyError> {
    let Some(list) = ctx.db.write_as::<List>(key)? else { return Ok(0) };
    let taken = count.min(list.len());
    reply(&mut ctx.out, list);
    list.drop_end(end, taken);
    list.shrink(&ctx.server.limits);
    report_popped(ctx, key, end, taken);
    Ok(taken)
}

fn report_popped(ctx: &mut Ctx<'_>, key: &[u8], end: End, count: usize) {
    let event = if end == End::Left { "lpop" } else { "rpop" };
    ctx.db.notify(Events::LIST, event, key);
    ctx.db.remove_if_empty(key);
    ctx.db.changed(key, count as u64);
}

/// Writes the outermost element.
pub(super) fn peek_into(out: &mut Reply<'_>, list: &List, end: End) {
    match list.peek(end) {
        Some(element) => bulk_entry(out, element),
        None => out.null(),
    }
}

/// Writes an array of the `count` outermost elements, in the order in which popping meets them.
fn range_at(out: &mut Reply<'_>, list: &List, end: End, count: usize) {
    let count = count.min(list.len());
    out.array(count);
    match end {
        End::Left => list.range(0, count).for_each(|element| bulk_entry(out, element)),
        End::Right => list.iter().rev().take(count).for_each(|element| bulk_entry(out, element)),
    }
}

/// LMPOP numkeys key ... LEFT|RIGHT [COUNT count]
fn lmpop(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let wanted = MultiPop::parse(args, 1)?;
    match wanted.pop(ctx)? {
        Some(outcome) => Ok(outcome),
        None => {
            ctx.out.null_array();
            UNCHANGED
        }
    }
}

/// What LMPOP and BLMPOP ask for.
pub(super) struct MultiPop<'a> {
    pub keys: Args<'a>,
    end: End,
    count: usize,
}

impl<'a> MultiPop<'a> {
    /// Reads the arguments from `numkeys`, which is number `count_at`, to the end.
    pub fn parse(args: Args<'a>, count_at: usize) -> Result<MultiPop<'a>, ReplyError> {
        let numkeys = at_least(1, &args[count_at], "ERR numkeys should be greater than 0")?;
        let end_at = (count_at + 1).saturating_add(numkeys);
        if end_at >= args.len() {
            return Err(ReplyError::SYNTAX);
        }
        let end = end_of(args, end_at)?;
        let count = match args.len() - end_at {
            1 => 1,
            3 if args.is(end_at + 1, "COUNT") => {
                at_least(1, &args[end_at + 2], "ERR count should be greater than 0")?
            }
            _ => return Err(ReplyError::SYNTAX),
        };
        Ok(MultiPop { keys: args.head(end_at).tail(count_at + 1), end, count })
    }

    /// Pops from the first key that holds a list and replies; `None` if no key does.
    pub fn pop(&self, ctx: &mut Ctx<'_>) -> Result<Option<Outcome>, ReplyError> {
        for key in self.keys {
            let popped = pop_with(ctx, key, self.end, self.count, |out, list| {
                out.array(2);
                out.bulk(key);
                range_at(out, list, self.end, self.count);
            })?;
            if popped > 0 {
                let name: &[u8] = if self.end == End::Left { b"LPOP" } else { b"RPOP" };
                let effect = OwnedArgs::from_slices(&[name, key]).with_int(popped as i64);
                return Ok(Some(Outcome::Done(Effect::Rewrite(vec![effect]))));
            }
        }
        Ok(None)
    }
}

/// LMOVE source destination LEFT|RIGHT LEFT|RIGHT
fn lmove(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let (from, to) = (end_of(args, 3)?, end_of(args, 4)?);
    move_or_null(ctx, args, from, to)
}

/// RPOPLPUSH source destination
fn rpoplpush(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    move_or_null(ctx, args, End::Right, End::Left)
}

fn move_or_null(ctx: &mut Ctx<'_>, args: Args<'_>, from: End, to: End) -> Result<Outcome, ReplyError> {
    let moved = move_element(ctx, &args[1], &args[2], from, to)?;
    if !moved {
        ctx.out.null();
    }
    verbatim_if(moved)
}

/// Moves an element and replies with it; `false` without a reply if there is no source.
pub(super) fn move_element(
    ctx: &mut Ctx<'_>,
    source: &[u8],
    target: &[u8],
    from: End,
    to: End,
) -> Result<bool, ReplyError> {
    let Some(list) = ctx.db.write_as::<List>(source)? else { return Ok(false) };
    let Some(element) = list.peek(from).map(|element| element.to_vec()) else { return Ok(false) };
    ctx.db.write_as::<List>(target)?; // refuses another type before anything has changed
    if let Some(list) = ctx.db.write_as::<List>(source)? {
        list.drop_end(from, 1);
    }
    let list = ctx.db.write_or_create(target, List::new)?;
    list.push_all(to, [&element[..]], &ctx.server.limits);
    ctx.db.changed(target, 0);
    notify_pushed(ctx, target, to);
    ctx.out.bulk(&element);
    if let Some(list) = ctx.db.write_as::<List>(source)? {
        list.shrink(&ctx.server.limits);
    }
    report_popped(ctx, source, from, 1);
    Ok(true)
}

/// LLEN key
fn llen(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let len = ctx.db.read_as::<List>(&args[1])?.map_or(0, List::len);
    ctx.out.int(len as i64);
    UNCHANGED
}

/// LINDEX key index
fn lindex(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let Some(list) = ctx.db.read_as::<List>(&args[1])? else {
        ctx.out.null();
        return UNCHANGED;
    };
    let index = index_in(args.int(2)?, list.len());
    match index.and_then(|index| list.get(index)) {
        Some(element) => bulk_entry(&mut ctx.out, element),
        None => ctx.out.null(),
    }
    UNCHANGED
}

/// LSET key index element
fn lset(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let key = &args[1];
    let list = ctx.db.write_as::<List>(key)?.ok_or(ReplyError::NO_SUCH_KEY)?;
    let index = index_in(args.int(2)?, list.len()).ok_or(ReplyError::INDEX_OUT_OF_RANGE)?;
    list.set(index, &args[3], &ctx.server.limits);
    ctx.db.changed(key, 1);
    ctx.db.notify(Events::LIST, "lset", key);
    ctx.out.ok();
    VERBATIM
}

/// LRANGE key start stop
fn lrange(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let (start, stop) = (args.int(2)?, args.int(3)?);
    let Some(list) = ctx.db.read_as::<List>(&args[1])? else {
        ctx.out.array(0);
        return UNCHANGED;
    };
    let (start, count) = clamp(start, stop, list.len());
    ctx.out.array(count);
    list.range(start, count).for_each(|element| bulk_entry(&mut ctx.out, element));
    UNCHANGED
}

/// LTRIM key start stop
fn ltrim(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let (key, start, stop) = (&args[1], args.int(2)?, args.int(3)?);
    let Some(list) = ctx.db.write_as::<List>(key)? else {
        ctx.out.ok();
        return UNCHANGED;
    };
    let len = list.len();
    let (start, count) = clamp(start, stop, len);
    list.drop_end(End::Right, len - start - count);
    list.drop_end(End::Left, start);
    list.shrink(&ctx.server.limits);
    ctx.db.notify(Events::LIST, "ltrim", key);
    ctx.db.remove_if_empty(key);
    ctx.db.changed(key, (len - count) as u64);
    ctx.out.ok();
    verbatim_if(count < len)
}

/// LREM key count element
fn lrem(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let (key, count) = (&args[1], args.int(2)?);
    let from = if count < 0 { End::Right } else { End::Left };
    let most = if count == 0 { usize::MAX } else { count.unsigned_abs() as usize };
    let removed = match ctx.db.write_as::<List>(key)? {
        Some(list) => list.remove_equal(&args[3], from, most),
        None => 0,
    };
    ctx.out.int(removed as i64);
    if removed == 0 {
        return UNCHANGED;
    }
    if let Some(list) = ctx.db.write_as::<List>(key)? {
        list.shrink(&ctx.server.limits);
    }
    ctx.db.changed(key, removed as u64);
    ctx.db.notify(Events::LIST, "lrem", key);
    ctx.db.remove_if_empty(key);
    VERBATIM
}

/// LINSERT key BEFORE|AFTER pivot element
fn linsert(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let (key, after) = (&args[1], args.is(2, "AFTER"));
    if !after && !args.is(2, "BEFORE") {
        return Err(ReplyError::SYNTAX);
    }
    let Some(list) = ctx.db.write_as::<List>(key)? else {
        ctx.out.int(0);
        return UNCHANGED;
    };
    if !list.insert_beside(&args[3], &args[4], after, &ctx.server.limits) {
        ctx.out.int(-1);
        return UNCHANGED;
    }
    ctx.out.int(list.len() as i64);
    ctx.db.changed(key, 1);
    ctx.db.notify(Events::LIST, "linsert", key);
    VERBATIM
}

/// LPOS key element [RANK rank] [COUNT count] [MAXLEN len]
fn lpos(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let (mut rank, mut count, mut max_len) = (1, None, 0);
    for i in (3..args.len()).step_by(2) {
        let value = args.get(i + 1).ok_or(ReplyError::SYNTAX)?;
        if args.is(i, "RANK") {
            rank = rank_of(args.int(i + 1)?)?;
        } else if args.is(i, "COUNT") {
            count = Some(at_least(0, value, "ERR COUNT can't be negative")?);
        } else if args.is(i, "MAXLEN") {
            max_len = at_least(0, value, "ERR MAXLEN can't be negative")?;
        } else {
            return Err(ReplyError::SYNTAX);
        }
    }
    let Some(list) = ctx.db.read_as::<List>(&args[1])? else {
        match count {
            Some(_) => ctx.out.array(0),
            None => ctx.out.null(),
        }
        return UNCHANGED;
    };
    let len = list.len();
    let max_len = if max_len == 0 { len } else { max_len };
    let most = match count {
        None => 1,
        Some(0) => usize::MAX,
        Some(count) => count,
    };
    let skip = rank.unsigned_abs() as usize - 1;
    let equal = |(index, element): (usize, Entry<'_>)| element.eq_bytes(&args[2]).then_some(index);
    let mut found: Box<dyn Iterator<Item = usize>> = if rank > 0 {
        Box::new(list.iter().enumerate().take(max_len).filter_map(equal).skip(skip))
    } else {
        let backwards = list.iter().rev().enumerate().take(max_len).filter_map(equal).skip(skip);
        Box::new(backwards.map(move |index| len - 1 - index))
    };
    if count.is_some() {
        let open = ctx.out.deferred_array();
        let written = found.take(most).map(|index| ctx.out.int(index as i64)).count();
        ctx.out.close(open, written);
    } else {
        match found.next() {
            Some(index) => ctx.out.int(index as i64),
            None => ctx.out.null(),
        }
    }
    UNCHANGED
}

fn rank_of(rank: i64) -> Result<i64, ReplyError> {
    match rank {
        0 => Err(ReplyError::new(
            "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use negative \
             to start from the end of the list",
        )),
        i64::MIN => Err(ReplyError::new(
            "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
        )),
        rank => Ok(rank),
    }
}

/// `LEFT` or `RIGHT`.
pub(super) fn end_of(args: Args<'_>, at: usize) -> Result<End, ReplyError> {
    match () {
        _ if args.is(at, "LEFT") => Ok(End::Left),
        _ if args.is(at, "RIGHT") => Ok(End::Right),
        _ => Err(ReplyError::SYNTAX),
    }
}

/// An integer from `least` on, or that error.
fn at_least(least: i64, text: &[u8], error: &'static str) -> Result<usize, ReplyError> {
    parse_i64(text).filter(|n| *n >= least).map(|n| n as usize).ok_or(ReplyError::new(error))
}

/// An index that may count from the end, if it is within the list.
fn index_in(index: i64, len: usize) -> Option<usize> {
    let index = if index < 0 { index.checked_add(len as i64)? } else { index };
    usize::try_from(index).ok().filter(|index| *index < len)
}

/// First element and count of an inclusive range whose ends may count from the end of the list.
fn clamp(start: i64, stop: i64, len: usize) -> (usize, usize) {
    let from_end = |index: i64| if index < 0 { index.saturating_add(len as i64) } else { index };
    let start = from_end(start).max(0);
    let stop = from_end(stop).min(len as i64 - 1);
    if start > stop { (0, 0) } else { (start as usize, (stop - start + 1) as usize) }
}

const WRITE: Flags = Flags::WRITE.union(Flags::DENYOOM);
const FAST_WRITE: Flags = WRITE.union(Flags::FAST);
const FAST_TAKE: Flags = Flags::WRITE.union(Flags::FAST);
const COUNTED: Keys = Keys::Counted { count_at: 1, also: 0 };

pub const COMMANDS: &[Command] = &[
    row("lpush", -3, FAST_WRITE, Keys::ONE, lpush).doc("1.0.0", "Adds elements at the left end of a list."),
    row("rpush", -3, FAST_WRITE, Keys::ONE, rpush).doc("1.0.0", "Adds elements at the right end of a list."),
    row("lpushx", -3, FAST_WRITE, Keys::ONE, lpushx)
        .doc("2.2.0", "Adds elements at the left end if the list exists."),
    row("rpushx", -3, FAST_WRITE, Keys::ONE, rpushx)
        .doc("2.2.0", "Adds elements at the right end if the list exists."),
    row("lpop", -2, FAST_TAKE, Keys::ONE, lpop).doc("1.0.0", "Takes elements from the left end of a list."),
    row("rpop", -2, FAST_TAKE, Keys::ONE, rpop).doc("1.0.0", "Takes elements from the right end of a list."),
    row("lmpop", -4, Flags::WRITE.union(Flags::MOVABLE_KEYS), COUNTED, lmpop)
        .doc("7.0.0", "Takes elements from the first of several lists that exists."),
    row("lmove", 5, WRITE, Keys::TWO, lmove)
        .doc("6.2.0", "Moves an element from an end of one list to an end of another."),
    row("rpoplpush", 3, WRITE, Keys::TWO, rpoplpush)
        .doc("1.2.0", "Moves the last element of one list to the front of another."),
    row("llen", 2, Flags::READONLY.union(Flags::FAST), Keys::ONE, llen)
        .doc("1.0.0", "Returns a list's length."),
    row("lindex", 3, Flags::READONLY, Keys::ONE, lindex).doc("1.0.0", "Returns the element at an index."),
    row("lset", 4, WRITE, Keys::ONE, lset).doc("1.0.0", "Replaces the element at an index."),
    row("lrange", 4, Flags::READONLY, Keys::ONE, lrange).doc("1.0.0", "Returns a range of elements."),
    row("ltrim", 4, Flags::WRITE, Keys::ONE, ltrim).doc("1.0.0", "Keeps only a range of elements."),
    row("lrem", 4, Flags::WRITE, Keys::ONE, lrem).doc("1.0.0", "Removes elements equal to a value."),
    row("linsert", 5, WRITE, Keys::ONE, linsert).doc("2.2.0", "Inserts an element before or after another."),
    row("lpos", -3, Flags::READONLY, Keys::ONE, lpos)
        .doc("6.0.6", "Returns the indexes of elements equal to a value."),
];

pub(super) const fn row(name: &'static str, arity: i32, flags: Flags, keys: Keys, run: Execute) -> Command {
    Command::new(name, arity, flags, keys, run).group(Group::List)
}

#[cfg(test)]
#[path = "list_tests.rs"]
mod tests;
