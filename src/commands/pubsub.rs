//! Messages between clients: channels, patterns of channels, shard channels.
//!
//! Messages go to the outputs of their listeners as they are published, so every listener sees them in the order
//! in which the commands ran. Replies of (un)subscribing are pushes, one for each channel.

use super::help::{help, unknown_form};
use super::{Command, Ctx, Effect, Flags, Group, Keys, Outcome, UNCHANGED};
use crate::error::ReplyError;
use crate::resp::args::Args;
use crate::resp::glob;
use crate::state::pubsub::Kind;

/// SUBSCRIBE channel ..., PSUBSCRIBE pattern ..., SSUBSCRIBE channel ...
fn subscribe(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let kind = kind_of(ctx.command.name);
    for name in args.tail(1) {
        ctx.server.pubsub.subscribe(&mut ctx.server.sessions, ctx.slot, kind, name);
        confirm(ctx, kind, Some(name));
    }
    UNCHANGED
}

/// UNSUBSCRIBE [channel ...], PUNSUBSCRIBE [pattern ...], SUNSUBSCRIBE [channel ...]
fn unsubscribe(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let kind = kind_of(ctx.command.name);
    let named = args.tail(1).iter().map(<[u8]>::to_vec);
    let own = ctx.session().subscribed(kind);
    let names: Vec<Vec<u8>> = if args.len() > 1 { named.collect() } else { own.iter().cloned().collect() };
    for name in &names {
        ctx.server.pubsub.unsubscribe(&mut ctx.server.sessions, ctx.slot, kind, name);
        confirm(ctx, kind, Some(name));
    }
    if names.is_empty() {
        confirm(ctx, kind, None);
    }
    UNCHANGED
}

fn kind_of(command: &str) -> Kind {
    match command.as_bytes()[0] {
        b'p' => Kind::Pattern,
        b's' if !command.starts_with("sub") => Kind::Shard,
        _ => Kind::Channel,
    }
}

/// Tells a client of one subscription or its end, and how many it has left (shard channels are counted apart).
fn confirm(ctx: &mut Ctx<'_>, kind: Kind, name: Option<&[u8]>) {
    let session = ctx.session();
    let count = match kind {
        Kind::Shard => session.shard_channels.len(),
        Kind::Channel | Kind::Pattern => session.channels.len() + session.patterns.len(),
    };
    ctx.out.push(3);
    ctx.out.bulk_str(ctx.command.name);
    match name {
        Some(name) => ctx.out.bulk(name),
        None => ctx.out.null(),
    }
    ctx.out.int(count as i64);
}

/// PUBLISH channel message, SPUBLISH channel message
fn publish(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let shard = ctx.command.name == "spublish";
    let receivers = ctx.server.publish(&args[1], &args[2], shard);
    ctx.out.int(receivers as i64);
    Ok(Outcome::Done(effect_of_publish(ctx, &args[1])))
}

/// Sentinels say this to each server themselves, every two seconds, to one that is no primary any more as well.
const HELLO: &[u8] = b"__sentinel__:hello";

/// Messages enter the stream only for replicas that are attached, or were a moment ago (rule 25); a replica's own
/// stream is its primary's; and none does while the log cannot be written (rule 23): subscribers here get them. (Sentinels' never do: an old primary that still hears them would get beyond the place where
/// its replicas left it.)
fn effect_of_publish(ctx: &Ctx<'_>, channel: &[u8]) -> Effect {
    let followed = ctx.server.upstream().is_none() && ctx.server.is_followed(ctx.now);
    let log_works = ctx.server.persistence.failed.is_none();
    if followed && log_works && channel != HELLO { Effect::Message } else { Effect::None }
}

/// PUBSUB CHANNELS [pattern], PUBSUB SHARDCHANNELS [pattern]
fn channels(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    if args.len() > 3 {
        return Err(unknown_form(args));
    }
    let shard = ctx.command.name == "pubsub|shardchannels";
    let pubsub = &ctx.server.pubsub;
    let map = if shard { &pubsub.shard_channels } else { &pubsub.channels };
    let fits = |name: &&Vec<u8>| args.get(2).is_none_or(|pattern| glob::matches(pattern, name, false));
    let found: Vec<&Vec<u8>> = map.keys().filter(fits).collect();
    ctx.out.array(found.len());
    found.into_iter().for_each(|name| ctx.out.bulk(name));
    UNCHANGED
}

/// PUBSUB NUMSUB [channel ...], PUBSUB SHARDNUMSUB [channel ...]
fn numsub(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let shard = ctx.command.name == "pubsub|shardnumsub";
    let pubsub = &ctx.server.pubsub;
    let map = if shard { &pubsub.shard_channels } else { &pubsub.channels };
    ctx.out.array(2 * (args.len() - 2));
    for name in args.tail(2) {
        ctx.out.bulk(name);
        ctx.out.int(map.get(name).map_or(0, Vec::len) as i64);
    }
    UNCHANGED
}

/// PUBSUB NUMPAT
fn numpat(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<Outcome, ReplyError> {
    ctx.out.int(ctx.server.pubsub.patterns.len() as i64);
    UNCHANGED
}

const LISTEN: Flags = Flags::PUBSUB.union(Flags::NOSCRIPT).union(Flags::LOADING).union(Flags::STALE);
const SPEAK: Flags =
    Flags::PUBSUB.union(Flags::LOADING).union(Flags::STALE).union(Flags::FAST).union(Flags::MAY_REPLICATE);
const ASK: Flags = Flags::PUBSUB.union(Flags::LOADING).union(Flags::STALE);

const fn row(name: &'static str, arity: i32, flags: Flags, keys: Keys, run: super::Execute) -> Command {
    Command::new(name, arity, flags, keys, run).group(Group::Pubsub)
}

const fn ask(name: &'static str, arity: i32, run: super::Execute) -> Command {
    row(name, arity, ASK, Keys::None, run)
}

pub const COMMANDS: &[Command] = &[
    row("subscribe", -2, LISTEN, Keys::None, subscribe).doc("2.0.0", "Listens to channels."),
    row("unsubscribe", -1, LISTEN, Keys::None, unsubscribe).doc("2.0.0", "Stops listening to channels."),
    row("psubscribe", -2, LISTEN, Keys::None, subscribe)
        .doc("2.0.0", "Listens to channels whose names match patterns."),
    row("punsubscribe", -1, LISTEN, Keys::None, unsubscribe).doc("2.0.0", "Stops listening to patterns."),
    row("ssubscribe", -2, LISTEN, Keys::CHANNELS, subscribe).doc("7.0.0", "Listens to shard channels."),
    row("sunsubscribe", -1, LISTEN, Keys::CHANNELS, unsubscribe)
        .doc("7.0.0", "Stops listening to shard channels."),
    row("publish", 3, SPEAK, Keys::None, publish).doc("2.0.0", "Sends a message to a channel."),
    row("spublish", 3, SPEAK, Keys::CHANNEL, publish).doc("7.0.0", "Sends a message to a shard channel."),
    row("pubsub", -2, Flags::empty(), Keys::None, help)
        .doc("2.8.0", "Looks into subscriptions.")
        .subcommands(&[
            ask("pubsub|channels", -2, channels).doc("2.8.0", "Lists channels that have listeners."),
            ask("pubsub|numpat", 2, numpat).doc("2.8.0", "Counts the patterns listened to."),
            ask("pubsub|numsub", -2, numsub).doc("2.8.0", "Counts the listeners of channels."),
            ask("pubsub|shardchannels", -2, channels)
                .doc("7.0.0", "Lists shard channels that have listeners."),
            ask("pubsub|shardnumsub", -2, numsub).doc("7.0.0", "Counts the listeners of shard channels."),
            row("pubsub|help", 2, Flags::LOADING.union(Flags::STALE), Keys::None, help)
                .doc("6.2.0", "Lists the subcommands."),
        ]),
];

#[cfg(test)]
mod tests {
    use crate::commands::testing::Bench;
    use crate::resp::reply::Protocol;

    #[test]
    fn subscribing_is_confirmed_by_channel() {
        let mut bench = Bench::default();
        bench.check(
            "SUBSCRIBE a b a",
            "*3 $9 subscribe $1 a :1 *3 $9 subscribe $1 b :2 *3 $9 subscribe $1 a :2",
        );
        bench.check("PSUBSCRIBE x*", "*3 $10 psubscribe $2 x* :3");
        bench.check("SSUBSCRIBE s", "*3 $10 ssubscribe $1 s :1");
        bench.check("UNSUBSCRIBE a", "*3 $11 unsubscribe $1 a :2");
        bench.check("UNSUBSCRIBE nothing", "*3 $11 unsubscribe $7 nothing :2");
        bench.check("UNSUBSCRIBE", "*3 $11 unsubscribe $1 b :1");
        bench.check("UNSUBSCRIBE", "*3 $11 unsubscribe $-1 :1");
        bench.proto = Protocol::Resp3;
        bench.check("PUNSUBSCRIBE", ">3 $12 punsubscribe $2 x* :0");
        bench.check("SUNSUBSCRIBE", ">3 $12 sunsubscribe $1 s :0");
        bench.check("SUNSUBSCRIBE", ">3 $12 sunsubscribe _ :0");
    }

    #[test]
    fn messages_reach_their_listeners() {
        let mut bench = Bench::default();
        bench.check("PUBLISH a m", ":0");
        let (speaker, listener) = (bench.slot, bench.connect());
        bench.slot = listener;
        bench.run("SUBSCRIBE a");
        bench.run("PSUBSCRIBE a*");
        bench.run("SSUBSCRIBE a");
        bench.slot = speaker;
        bench.check("PUBLISH a m", ":2");
        bench.check("SPUBLISH a m", ":1");
        let out = std::mem::take(&mut bench.server.sessions.get_mut(listener).unwrap().out);
        let text = String::from_utf8(out).unwrap().replace("\r\n", " ");
        assert_eq!(text, "*3 $7 message $1 a $1 m *4 $8 pmessage $2 a* $1 a $1 m *3 $8 smessage $1 a $1 m ");
        bench.check_effects(&[]);
        bench.check("PUBSUB CHANNELS", "*1 $1 a");
        bench.check("PUBSUB CHANNELS b*", "*0");
        let refused = "-ERR unknown subcommand or wrong number of arguments for 'CHANNELS'. Try PUBSUB HELP.";
        bench.check("PUBSUB CHANNELS a b", refused);
        bench.check("PUBSUB NUMSUB a b", "*4 $1 a :1 $1 b :0");
        bench.check("PUBSUB NUMSUB", "*0");
        bench.check("PUBSUB NUMPAT", ":1");
        bench.check("PUBSUB SHARDCHANNELS", "*1 $1 a");
        bench.check("PUBSUB SHARDNUMSUB a", "*2 $1 a :1");
    }
}
