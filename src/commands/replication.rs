//! Whom this server follows and who follows it: REPLICAOF, PSYNC and SYNC, REPLCONF, ROLE.
//!
//! REPLCONF says things about the speaker: it only notes them. PSYNC and REPLICAOF change links, which are not the
//! core's: they become a [`Request`].

use super::{Command, Ctx, FailoverOrder, Flags, Group, Keys, Outcome, Request, UNCHANGED};
use crate::error::ReplyError;
use crate::resp::args::Args;
use crate::resp::number::parse_i64;
use crate::state::{LinkState, Mandate, Role, Stage};
use crate::units::{Offset, ReplId};

/// REPLICAOF host port, REPLICAOF NO ONE
fn replicaof(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    if ctx.server.failover.is_some() {
        return Err(ReplyError::new("ERR REPLICAOF not allowed while failing over."));
    }
    if args.is(1, "NO") && args.is(2, "ONE") {
        return Ok(Outcome::Request(Request::ReplicaOf(None)));
    }
    let port = parse_i64(&args[2]).and_then(|port| u16::try_from(port).ok());
    let port = port.ok_or(ReplyError::new("ERR Invalid master port"))?;
    let host = String::from_utf8_lossy(&args[1]).into_owned();
    if let Role::Replica(upstream) = &mut ctx.server.role
        && upstream.host.eq_ignore_ascii_case(&host)
        && upstream.port == port
        && !upstream.leaving
    {
        // To one whom the primary refuses, it is the word that its data may go (rule 5).
        if upstream.link != LinkState::Connected {
            upstream.mandate = Some(Mandate::Given(ctx.now));
        }
        ctx.out.simple("OK Already connected to specified master");
        return UNCHANGED;
    }
    Ok(Outcome::Request(Request::ReplicaOf(Some((host, port)))))
}

/// PSYNC replid offset [FAILOVER]
fn psync(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let failover = args.len() > 3 && args.is(3, "FAILOVER"); // other words are passed over
    if failover && ctx.server.upstream().is_none() {
        return Err(ReplyError::new("ERR PSYNC FAILOVER can't be sent to a master."));
    }
    let Some(next) = parse_i64(&args[2]) else {
        let who = ctx.session().addr.clone();
        ctx.server.remark(format!("Replica {who} asks for synchronization but with a wrong offset"));
        return Err(ReplyError::NOT_INTEGER);
    };
    if !failover {
        may_follow(ctx)?;
    }
    let replid = ReplId::parse(&args[1]);
    Ok(Outcome::Request(Request::Psync { replid, next, failover, old: false }))
}

/// SYNC
fn sync(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<Outcome, ReplyError> {
    may_follow(ctx)?;
    Ok(Outcome::Request(Request::Psync { replid: None, next: -1, failover: false, old: true }))
}

fn may_follow(ctx: &mut Ctx<'_>) -> Result<(), ReplyError> {
    if ctx.server.failover.is_some() {
        return Err(ReplyError::new("NOMASTERLINK Can't SYNC while failing over"));
    }
    let session = ctx.session();
    // The reply under construction is the driver's part; what is older must have left.
    let pending = session.output_buffer > 0;
    if let Some(upstream) = ctx.server.upstream()
        && upstream.link != crate::state::LinkState::Connected
    {
        return Err(ReplyError::new("NOMASTERLINK Can't SYNC while not connected with my master"));
    }
    if pending {
        return Err(ReplyError::new("ERR SYNC and PSYNC are invalid with pending output"));
    }
    Ok(())
}

/// FAILOVER [TO host port [FORCE]] [ABORT] [TIMEOUT milliseconds]
fn failover(_: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    if args.len() == 2 && args.is(1, "ABORT") {
        return Ok(Outcome::Request(Request::Failover(None)));
    }
    let mut order = FailoverOrder::default();
    let mut at = 1;
    while at < args.len() {
        if args.is(at, "TIMEOUT") && at + 1 < args.len() && order.timeout_ms.is_none() {
            let timeout = parse_i64(&args[at + 1]).ok_or(ReplyError::NOT_INTEGER)?;
            if timeout <= 0 {
                return Err(ReplyError::new("ERR FAILOVER timeout must be greater than 0"));
            }
            order.timeout_ms = Some(timeout);
            at += 2;
        } else if args.is(at, "TO") && at + 2 < args.len() && order.target.is_none() {
            let port = parse_i64(&args[at + 2]).ok_or(ReplyError::NOT_INTEGER)?;
            let host = String::from_utf8_lossy(&args[at + 1]).into_owned();
            order.target = Some((host, u16::try_from(port).unwrap_or_default()));
            at += 3;
        } else if args.is(at, "FORCE") && !order.force {
            order.force = true;
            at += 1;
        } else {
            return Err(ReplyError::SYNTAX);
        }
    }
    Ok(Outcome::Request(Request::Failover(Some(order))))
}

/// REPLCONF option value ...
fn replconf(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    if args.len().is_multiple_of(2) {
        return Err(ReplyError::SYNTAX);
    }
    for at in (1..args.len()).step_by(2) {
        let value = &args[at + 1];
        let replica = ctx.session().replica.get_or_insert_default();
        if args.is(at, "listening-port") {
            let port = parse_i64(value).ok_or(ReplyError::NOT_INTEGER)?;
            replica.port = u16::try_from(port).unwrap_or_default();
        } else if args.is(at, "ip-address") {
            if value.len() > 255 {
                return Err(ReplyError::from(format!(
                    "ERR REPLCONF ip-address provided by replica instance is too long: {} bytes",
                    value.len()
                )));
            }
            replica.ip = String::from_utf8_lossy(value).into_owned();
        } else if args.is(at, "capa") {
            replica.eof |= value.eq_ignore_ascii_case(b"eof");
            replica.psync2 |= value.eq_ignore_ascii_case(b"psync2");
        } else if args.is(at, "ack") || args.is(at, "fack") {
            // An ACK gets no answer, wherever it stands.
            return acknowledge(ctx, args);
        } else if args.is(at, "getack") {
            return UNCHANGED; // a question for replicas; it is answered where the stream arrives
        } else if args.is(at, "rdb-only") {
            replica.rdb_only = range_01(value)?;
        } else if args.is(at, "rdb-filter-only") {
            replica.functions_only = filter(value)?;
        } else if args.is(at, "version") {
            // Nothing depends on it.
        } else if args.is(at, "ringhold-lineage") {
            return Ok(Outcome::Request(Request::ShowLineage(value.to_vec())));
        } else {
            let option = String::from_utf8_lossy(&args[at]);
            return Err(ReplyError::from(format!("ERR Unrecognized REPLCONF option: {option}")));
        }
    }
    ctx.out.ok();
    UNCHANGED
}

fn range_01(value: &[u8]) -> Result<bool, ReplyError> {
    match parse_i64(value) {
        Some(0) => Ok(false),
        Some(1) => Ok(true),
        Some(_) => Err(ReplyError::new("ERR value is out of range, value must between 0 and 1")),
        None => Err(ReplyError::NOT_INTEGER),
    }
}

/// `rdb-filter-only`: which parts of a snapshot are wanted; of the parts only `functions` can be asked for alone.
fn filter(value: &[u8]) -> Result<bool, ReplyError> {
    let mut only = false;
    for word in value.split(|byte| *byte == b' ').filter(|word| !word.is_empty()) {
        if !word.eq_ignore_ascii_case(b"functions") {
            let word = String::from_utf8_lossy(word);
            return Err(ReplyError::from(format!("ERR Unsupported rdb-filter-only option: {word}")));
        }
        only = true;
    }
    Ok(only)
}

/// REPLCONF ACK offset [FACK offset]
fn acknowledge(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let now = ctx.now;
    let replica = ctx.session().replica.get_or_insert_default();
    if replica.stage == Stage::Handshake {
        return UNCHANGED;
    }
    for at in (1..args.len().saturating_sub(1)).step_by(2) {
        let Some(offset) = parse_i64(&args[at + 1]).and_then(|offset| u64::try_from(offset).ok()) else {
            continue;
        };
        if args.is(at, "ack") {
            replica.ack = replica.ack.max(Offset(offset));
        } else if args.is(at, "fack") {
            replica.durable = replica.durable.max(Offset(offset));
        }
    }
    (replica.ack_ms, replica.outlived) = (now, false);
    replica.acks += 1;
    Ok(Outcome::Request(Request::Acknowledged))
}

/// ROLE
fn role(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<Outcome, ReplyError> {
    let end = ctx.server.history.end.0 as i64;
    match ctx.server.shown_upstream() {
        None => {
            let online = |stage| stage == Stage::Online;
            let replicas = ctx.server.replicas();
            let replicas: Vec<_> = replicas.iter().filter(|(_, _, replica)| online(replica.stage)).collect();
            ctx.out.array(3);
            ctx.out.bulk_str("master");
            ctx.out.int(end);
            ctx.out.array(replicas.len());
            for (_, session, replica) in replicas {
                let (ip, port) = session.replica_address();
                ctx.out.array(3);
                ctx.out.bulk_str(&ip);
                ctx.out.bulk_str(&port.to_string());
                ctx.out.bulk_str(&replica.ack.to_string());
            }
        }
        Some(upstream) => {
            ctx.out.array(5);
            ctx.out.bulk_str("slave");
            ctx.out.bulk_str(&upstream.host);
            ctx.out.int(upstream.port.into());
            ctx.out.bulk_str(upstream.link.word());
            ctx.out.int(if upstream.link == LinkState::Connected { end } else { -1 });
        }
    }
    UNCHANGED
}

const ADMIN: Flags = Flags::ADMIN.union(Flags::NOSCRIPT);
const LINK: Flags = ADMIN.union(Flags::NO_MULTI).union(Flags::NO_ASYNC_LOADING);
const TALK: Flags = ADMIN.union(Flags::LOADING).union(Flags::STALE).union(Flags::ALLOW_BUSY);
const SWITCH: Flags = ADMIN.union(Flags::NO_ASYNC_LOADING).union(Flags::STALE);
const ASK: Flags =
    Flags::LOADING.union(Flags::STALE).union(Flags::FAST).union(Flags::NOSCRIPT).union(Flags::DANGEROUS);

const fn row(name: &'static str, arity: i32, flags: Flags, run: super::Execute) -> Command {
    Command::new(name, arity, flags, Keys::None, run).group(Group::Server)
}

pub const COMMANDS: &[Command] = &[
    row("replicaof", 3, SWITCH, replicaof)
        .doc("5.0.0", "Makes the server a replica of another, or a primary."),
    row("slaveof", 3, SWITCH, replicaof).doc("1.0.0", "The old name of REPLICAOF."),
    row("failover", -1, ADMIN.union(Flags::STALE), failover).doc("6.2.0", "Hands over to a replica."),
    row("psync", -3, LINK, psync).doc("2.8.0", "Asks for the stream from an offset; for replicas."),
    row("sync", 1, LINK, sync).doc("1.0.0", "Asks for a snapshot and the stream; for old replicas."),
    row("replconf", -1, TALK, replconf).doc("3.0.0", "What replica and primary tell each other."),
    row("role", 1, ASK, role).doc("2.8.12", "Returns the part the server plays in replication."),
];

#[cfg(test)]
mod tests {
    use crate::commands::testing::Bench;

    #[test]
    fn what_replicas_say() {
        let check = |command: &str, expected: &str| Bench::default().check(command, expected);
        check("REPLCONF listening-port 7000 capa eof capa psync2", "+OK");
        check("REPLCONF listening-port x", "-ERR value is not an integer or out of range");
        check("REPLCONF capa", "-ERR syntax error");
        check("REPLCONF rdb-only 2", "-ERR value is out of range, value must between 0 and 1");
        check("REPLCONF colour red", "-ERR Unrecognized REPLCONF option: colour");
        check("REPLCONF ack 5", "");
        check("ROLE", "*3 $6 master :0 *0");
    }

    #[test]
    fn whom_to_follow() {
        let check = |command: &str, expected: &str| Bench::default().check(command, expected);
        check("REPLICAOF host x", "-ERR Invalid master port");
        check("SLAVEOF host 70000", "-ERR Invalid master port");
        check("PSYNC ? x", "-ERR value is not an integer or out of range");
        check("PSYNC ? x junk", "-ERR value is not an integer or out of range");
        check("PSYNC ? x failover", "-ERR PSYNC FAILOVER can't be sent to a master.");
    }
}
