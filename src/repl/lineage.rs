//! The lineage as servers tell it to each other in the handshake (rule 20).
//!
//! A replica of ours says under which names its bytes are known, the primary of ours answers with its own:
//!
//! ```text
//! REPLCONF ringhold-lineage <id>:<end>:current[:told],<id>:<end>:<cause>[:told],…[,operator]
//! ```
//!
//! | part | meaning |
//! |---|---|
//! | first entry | the id in force and the present end of the stream |
//! | further ones | earlier ids, newest first, where each ended, and why ([`Cause::word`]) |
//! | `told` | a peer was told this id |
//! | `operator` | an operator's REPLICAOF just pointed the sender here (rule 5's exemption) |
//! | `from-nothing` | the history began on an empty directory ([`Born::from_nothing`]), which its copies must know |
//!
//! Text and not a binary form, because stock servers and people see it in MONITOR; one argument and not one for
//! each entry, because stock answers an unknown REPLCONF option with exactly one error. Words without a colon
//! that are not known are left out, so that a later version can add flags; anything else unknown is an error, and
//! the sender is then treated like one that told nothing.
//!
//! [`Born::from_nothing`]: crate::format::history::Born::from_nothing

use std::fmt::Write;

use crate::format::history::{Ancestor, Cause, MAX_LINEAGE};
use crate::units::{Offset, ReplId};

/// The REPLCONF option that carries it.
pub const OPTION: &str = "ringhold-lineage";

const CAUSES: [Cause; 5] = [Cause::Start, Cause::Promotion, Cause::Continue, Cause::Sync, Cause::Debug];
const CURRENT: &str = "current";
const TOLD: &str = "told";
const OPERATOR: &str = "operator";
const FROM_NOTHING: &str = "from-nothing";

/// What a server tells of its history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lineage {
    pub replid: ReplId,
    /// Present end of the stream.
    pub end: Offset,
    pub told: bool,
    /// Earlier names, newest first; at most [`MAX_LINEAGE`].
    pub past: Vec<Ancestor>,
    /// An operator's REPLICAOF just pointed the sender here.
    pub operator: bool,
    /// The history began on an empty directory.
    pub from_nothing: bool,
}

impl Lineage {
    pub fn encode(&self) -> String {
        let mut text = String::new();
        entry(&mut text, self.replid, self.end, CURRENT, self.told);
        for past in self.past.iter().take(MAX_LINEAGE) {
            text.push(',');
            entry(&mut text, past.replid, past.end, past.cause.word(), past.told);
        }
        for (_, word) in
            [(self.operator, OPERATOR), (self.from_nothing, FROM_NOTHING)].iter().filter(|flag| flag.0)
        {
            text.push(',');
            text.push_str(word);
        }
        text
    }

    /// Of a peer's text, any bytes. The error says what is wrong with it.
    pub fn parse(text: &[u8]) -> Result<Lineage, &'static str> {
        let text = std::str::from_utf8(text).map_err(|_| "not a text")?;
        let mut items = text.split(',');
        let (first, cause) = parse_entry(items.next().unwrap_or_default())?;
        if cause != CURRENT {
            return Err("the first entry is not the current id");
        }
        let mut lineage = Lineage {
            replid: first.replid,
            end: first.end,
            told: first.told,
            past: Vec::new(),
            operator: false,
            from_nothing: false,
        };
        for item in items {
            if !item.contains(':') {
                lineage.operator |= item == OPERATOR;
                lineage.from_nothing |= item == FROM_NOTHING;
                continue;
            }
            if lineage.past.len() == MAX_LINEAGE {
                return Err("too many entries");
            }
            let (mut past, word) = parse_entry(item)?;
            past.cause =
                CAUSES.into_iter().find(|cause| cause.word() == word).ok_or("an unknown cause of an end")?;
            lineage.past.push(past);
        }
        Ok(lineage)
    }
}

fn entry(text: &mut String, replid: ReplId, end: Offset, cause: &str, told: bool) {
    let _infallible = write!(text, "{replid}:{end}:{cause}");
    if told {
        text.push(':');
        text.push_str(TOLD);
    }
}

/// An entry and the word of its cause, which is the caller's to judge.
fn parse_entry(item: &str) -> Result<(Ancestor, &str), &'static str> {
    let mut parts = item.split(':');
    let replid =
        parts.next().and_then(|id| ReplId::parse(id.as_bytes())).ok_or("a replid is not 40 hex digits")?;
    let end = parts.next().and_then(parse_offset).ok_or("an end is not an offset")?;
    let word = parts.next().ok_or("an end without cause")?;
    let told = match parts.next() {
        None => false,
        Some(TOLD) => true,
        Some(_) => return Err("an unknown mark of an entry"),
    };
    match parts.next() {
        None => Ok((Ancestor { replid, end: Offset(end), cause: Cause::Start, told }, word)),
        Some(_) => Err("an entry of too many parts"),
    }
}

/// Offsets are at most what the protocol's signed integers hold.
fn parse_offset(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|end| digits && *end < i64::MAX as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(byte: u8) -> ReplId {
        ReplId::from_random([byte; 20])
    }

    #[test]
    fn the_text_is_as_described() {
        let first = Ancestor { replid: id(1), end: Offset(70), cause: Cause::Start, told: true };
        let lineage = Lineage {
            replid: id(2),
            end: Offset(90),
            told: false,
            past: vec![first],
            operator: true,
            from_nothing: true,
        };
        let (one, two) = (id(1), id(2));
        assert_eq!(lineage.encode(), format!("{two}:90:current,{one}:70:start:told,operator,from-nothing"));
        assert_eq!(Lineage::parse(lineage.encode().as_bytes()), Ok(lineage));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let good = format!("{}:90:current", id(1));
        let check = |text: &str, expected: Result<bool, &str>| {
            let text = text.replace("GOOD", &good).replace("ID", id(2).as_str());
            assert_eq!(Lineage::parse(text.as_bytes()).map(|lineage| lineage.operator), expected, "{text}");
        };
        check("GOOD", Ok(false));
        check("GOOD,later,operator,ID:3:sync", Ok(true));
        check("", Err("a replid is not 40 hex digits"));
        check("OK", Err("a replid is not 40 hex digits"));
        check("ID", Err("an end is not an offset"));
        check("ID:-1:current", Err("an end is not an offset"));
        check("ID:+1:current", Err("an end is not an offset"));
        check("ID:9223372036854775807:current", Err("an end is not an offset"));
        check("ID:1", Err("an end without cause"));
        check("ID:1:start", Err("the first entry is not the current id"));
        check("GOOD,ID:1:current", Err("an unknown cause of an end"));
        check("GOOD,ID:1:start:maybe", Err("an unknown mark of an entry"));
        check("GOOD,ID:1:start:told:told", Err("an entry of too many parts"));
        check(
            &"GOOD,ID:1:start".replace("GOOD", &format!("{good}{}", ",ID:1:sync".repeat(MAX_LINEAGE))),
            Err("too many entries"),
        );
    }

    proptest! {
        #[test]
        fn any_lineage_survives(ids in prop::collection::vec((any::<[u8; 20]>(), 0..i64::MAX as u64, 0usize..5, any::<bool>()), 0..20), operator: bool) {
            let past = ids.into_iter().map(|(replid, end, cause, told)| Ancestor {
                replid: ReplId::from_random(replid),
                end: Offset(end),
                cause: CAUSES[cause],
                told,
            });
            let (past, told, from_nothing) = (past.collect(), operator, !operator);
            let lineage = Lineage { replid: id(9), end: Offset(77), told, past, operator, from_nothing };
            prop_assert_eq!(Lineage::parse(lineage.encode().as_bytes()), Ok(lineage));
        }

        #[test]
        fn no_text_makes_it_panic(bytes: Vec<u8>, text in "[0-9a-f]{38,41}(:[0-9]{0,20}(:[a-z]{0,8}){0,4}(,[a-z:0-9]{0,50}){0,4})?") {
            let _any = Lineage::parse(&bytes);
            let _any = Lineage::parse(text.as_bytes());
        }
    }
}
