//! Lists to wait for: BLPOP, BRPOP, BLMPOP, BLMOVE, BRPOPLPUSH.
//!
//! Each is "pop, or wait": it does what its plain form does if a list is there and else returns the keys it waits
//! for; the node runs it again when one of them appears. So the order in which keys are looked at is that of the
//! arguments also for a client that waited, as in Redis 7.2. What enters the stream is the plain form, since
//! nothing may block where the stream is replayed.

use super::list::{MultiPop, end_of, move_element, peek_into, pop_with, row};
use crate::commands::{Block, Command, Ctx, Flags, Keys, Outcome, TimeoutReply, deadline_after, rewrite};
use crate::error::ReplyError;
use crate::resp::args::Args;
use crate::store::Type;
use crate::store::list::End;

/// BLPOP key ... timeout
fn blpop(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    pop_or_wait(ctx, args, End::Left)
}

/// BRPOP key ... timeout
fn brpop(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    pop_or_wait(ctx, args, End::Right)
}

fn pop_or_wait(ctx: &mut Ctx<'_>, args: Args<'_>, end: End) -> Result<Outcome, ReplyError> {
    let last = args.len() - 1;
    let deadline = deadline_after(ctx.now, &args[last])?;
    let keys = args.head(last).tail(1);
    for key in keys {
        let popped = pop_with(ctx, key, end, 1, |out, list| {
            out.array(2);
            out.bulk(key);
            peek_into(out, list, end);
        })?;
        if popped > 0 {
            return rewrite(&[if end == End::Left { b"LPOP" } else { b"RPOP" }, key]);
        }
    }
    Ok(wait(ctx, keys, deadline, TimeoutReply::NullArray))
}

/// BLMPOP timeout numkeys key ... LEFT|RIGHT [COUNT count]
fn blmpop(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let wanted = MultiPop::parse(args, 2)?;
    let deadline = deadline_after(ctx.now, &args[1])?;
    match wanted.pop(ctx)? {
        Some(outcome) => Ok(outcome),
        None => Ok(wait(ctx, wanted.keys, deadline, TimeoutReply::NullArray)),
    }
}

/// BLMOVE source destination LEFT|RIGHT LEFT|RIGHT timeout
fn blmove(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let (from, to) = (end_of(args, 3)?, end_of(args, 4)?);
    let deadline = deadline_after(ctx.now, &args[5])?;
    if move_element(ctx, &args[1], &args[2], from, to)? {
        return rewrite(&[b"LMOVE", &args[1], &args[2], &args[3], &args[4]]);
    }
    Ok(wait(ctx, args.head(2).tail(1), deadline, TimeoutReply::Null))
}

/// BRPOPLPUSH source destination timeout
fn brpoplpush(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let deadline = deadline_after(ctx.now, &args[3])?;
    if move_element(ctx, &args[1], &args[2], End::Right, End::Left)? {
        return rewrite(&[b"RPOPLPUSH", &args[1], &args[2]]);
    }
    Ok(wait(ctx, args.head(2).tail(1), deadline, TimeoutReply::Null))
}

/// `denied` is the reply where waiting is not allowed; who waits in vain gets a null array, whatever the command.
fn wait(ctx: &mut Ctx<'_>, keys: Args<'_>, deadline: i64, denied: TimeoutReply) -> Outcome {
    if ctx.deny_blocking {
        match denied {
            TimeoutReply::NullArray => ctx.out.null_array(),
            TimeoutReply::Null => ctx.out.null(),
        }
        return Outcome::Done(crate::commands::Effect::None);
    }
    let keys = keys.iter().map(<[u8]>::to_vec).collect();
    Outcome::Block(Block { keys, wants: Type::List, deadline, on_timeout: TimeoutReply::NullArray })
}

const TAKE: Flags = Flags::WRITE.union(Flags::BLOCKING);
const MOVE: Flags = TAKE.union(Flags::DENYOOM);
const BEFORE_TIMEOUT: Keys = Keys::Range { first: 1, last: -2, step: 1 };
const COUNTED: Keys = Keys::Counted { count_at: 2, also: 0 };

pub const COMMANDS: &[Command] = &[
    row("blpop", -3, TAKE, BEFORE_TIMEOUT, blpop)
        .doc("2.0.0", "Takes the first element of a list; waits for one if there is none."),
    row("brpop", -3, TAKE, BEFORE_TIMEOUT, brpop)
        .doc("2.0.0", "Takes the last element of a list; waits for one if there is none."),
    row("blmpop", -5, TAKE.union(Flags::MOVABLE_KEYS), COUNTED, blmpop)
        .doc("7.0.0", "Takes elements from one of several lists; waits if there is none."),
    row("blmove", 6, MOVE, Keys::TWO, blmove)
        .doc("6.2.0", "Moves an element between lists; waits if there is none."),
    row("brpoplpush", 4, MOVE, Keys::TWO, brpoplpush)
        .doc("2.2.0", "Moves the last element of a list to another's front; waits if there is none."),
];
