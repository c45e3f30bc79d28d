//! LCS: the longest common subsequence of two strings, its length, and where it lies in both.
//!
//! The textbook table: cell `(i, j)` is the length for the first `i` bytes of one and `j` of the other. The path
//! back through it must choose as Redis does where several subsequences are longest, so the whole table is kept,
//! four bytes a cell; linear-space methods find another one. The table may not exceed `proto-max-bulk-len`.

use super::string::row;
use crate::commands::{Command, Ctx, Flags, Keys, Outcome, UNCHANGED};
use crate::error::ReplyError;
use crate::resp::args::Args;
use crate::store::View;

#[derive(Default)]
struct Options {
    len: bool,
    idx: bool,
    with_match_len: bool,
    min_match_len: i64,
}

/// LCS key1 key2 [LEN | IDX [MINMATCHLEN n] [WITHMATCHLEN]]
fn lcs(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let mut texts = [Vec::new(), Vec::new()];
    for (text, key) in texts.iter_mut().zip([&args[1], &args[2]]) {
        match ctx.db.read(key) {
            Some(View::Str(value)) => *text = value.to_vec(),
            Some(_) => return Err(ReplyError::new("ERR The specified keys must contain string values")),
            None => {}
        }
    }
    let options = options(args)?;
    let [a, b] = &texts;
    let table = Table::new(a, b, ctx.server.limits.string_max_bytes)?;
    if options.idx {
        reply_matches(ctx, &table, a, b, &options);
    } else if options.len {
        ctx.out.int(table.at(a.len(), b.len()).into());
    } else {
        let mut common = Vec::new();
        table.walk_back(a, b, |run| common.extend(a[run.a..run.a + run.len].iter().rev()));
        common.reverse();
        ctx.out.bulk(&common);
    }
    UNCHANGED
}

fn options(args: Args<'_>) -> Result<Options, ReplyError> {
    let mut options = Options::default();
    let mut i = 3;
    while i < args.len() {
        if args.is(i, "IDX") {
            options.idx = true;
        } else if args.is(i, "LEN") {
            options.len = true;
        } else if args.is(i, "WITHMATCHLEN") {
            options.with_match_len = true;
        } else if args.is(i, "MINMATCHLEN") && i + 1 < args.len() {
            i += 1;
            options.min_match_len = args.int(i)?;
        } else {
            return Err(ReplyError::SYNTAX);
        }
        i += 1;
    }
    if options.idx && options.len {
        return Err(ReplyError::new("ERR If you want both the length and indexes, please just use IDX."));
    }
    Ok(options)
}

fn reply_matches(ctx: &mut Ctx<'_>, table: &Table, a: &[u8], b: &[u8], options: &Options) {
    let out = &mut ctx.out;
    out.map(2);
    out.bulk_str("matches");
    let matches = out.deferred_array();
    let mut count = 0;
    table.walk_back(a, b, |run| {
        if (run.len as i64) < options.min_match_len {
            return;
        }
        out.array(2 + usize::from(options.with_match_len));
        for start in [run.a, run.b] {
            out.array(2);
            out.int(start as i64);
            out.int((start + run.len - 1) as i64);
        }
        if options.with_match_len {
            out.int(run.len as i64);
        }
        count += 1;
    });
    out.close(matches, count);
    out.bulk_str("len");
    out.int(table.at(a.len(), b.len()).into());
}

/// Bytes `a..a + len` of one string that are matched to `b..b + len` of the other.
struct Run {
    a: usize,
    b: usize,
    len: usize,
}

struct Table {
    cells: Vec<u32>,
    width: usize,
}

impl Table {
    fn new(a: &[u8], b: &[u8], limit: usize) -> Result<Table, ReplyError> {
        const TOO_LONG: usize = u32::MAX as usize - 1;
        if a.len() >= TOO_LONG || b.len() >= TOO_LONG {
            return Err(ReplyError::new("ERR String too long for LCS"));
        }
        let width = b.len() + 1;
        let size = (a.len() + 1) * width;
        if size.checked_mul(size_of::<u32>()).is_none_or(|bytes| bytes > limit) {
            return Err(ReplyError::new(
                "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len",
            ));
        }
        let mut cells = Vec::new();
        cells.try_reserve_exact(size).map_err(|_| {
            ReplyError::new("ERR Insufficient memory, failed allocating transient memory for LCS")
        })?;
        cells.resize(size, 0u32);
        for (i, byte) in a.iter().enumerate() {
            let (above, row) = cells[i * width..(i + 2) * width].split_at_mut(width);
            for (j, other) in b.iter().enumerate() {
                row[j + 1] = if byte == other { above[j] + 1 } else { above[j + 1].max(row[j]) };
            }
        }
        Ok(Table { cells, width })
    }

    fn at(&self, i: usize, j: usize) -> u32 {
        self.cells[i * self.width + j]
    }

    /// Visits the runs of one longest common subsequence, the last run first.
    fn walk_back(&self, a: &[u8], b: &[u8], mut visit: impl FnMut(Run)) {
        let (mut i, mut j) = (a.len(), b.len());
        let mut run: Option<Run> = None;
        while i > 0 && j > 0 {
            if a[i - 1] != b[j - 1] {
                if self.at(i - 1, j) > self.at(i, j - 1) {
                    i -= 1
                } else {
                    j -= 1
                }
                run.take().into_iter().for_each(&mut visit);
                continue;
            }
            (i, j) = (i - 1, j - 1);
            run = Some(Run { a: i, b: j, len: run.map_or(0, |run| run.len) + 1 });
        }
        run.into_iter().for_each(visit);
    }
}

pub const COMMANDS: &[Command] = &[row("lcs", -3, Flags::READONLY, Keys::TWO, lcs)
    .doc("7.0.0", "Finds the longest common subsequence of two strings.")];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::testing::Bench;
    use crate::resp::reply::Protocol;
    use proptest::prelude::*;

    #[test]
    fn forms_of_the_answer() {
        let mut bench = Bench::default();
        bench.run("MSET a ohmytext b mynewtext");
        for (line, reply) in [
            ("LCS a b", "$6 mytext"),
            ("LCS a b LEN", ":6"),
            ("LCS a x", "$0"),
            ("LCS a x LEN", ":0"),
            ("LCS a x IDX", "*4 $7 matches *0 $3 len :0"),
            ("LCS a b IDX", "*4 $7 matches *2 *2 *2 :4 :7 *2 :5 :8 *2 *2 :2 :3 *2 :0 :1 $3 len :6"),
            ("LCS a b IDX MINMATCHLEN 4", "*4 $7 matches *1 *2 *2 :4 :7 *2 :5 :8 $3 len :6"),
            ("LCS a b IDX MINMATCHLEN 4 WITHMATCHLEN", "*4 $7 matches *1 *3 *2 :4 :7 *2 :5 :8 :4 $3 len :6"),
            ("LCS a b IDX LEN", "-ERR If you want both the length and indexes, please just use IDX."),
            ("LCS a b MINMATCHLEN", "-ERR syntax error"),
            ("LCS a b MINMATCHLEN x", "-ERR value is not an integer or out of range"),
        ] {
            bench.check(line, reply);
        }
        bench.proto = Protocol::Resp3;
        bench.check("LCS a x IDX", "%2 $7 matches *0 $3 len :0");
        bench.server.limits.string_max_bytes = 359;
        bench.check(
            "LCS a b",
            "-ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len",
        );
        bench.server.limits.string_max_bytes = 360;
        bench.check("LCS a b", "$6 mytext");
    }

    fn is_subsequence(part: &[u8], of: &[u8]) -> bool {
        let mut rest = of.iter();
        part.iter().all(|byte| rest.any(|other| other == byte))
    }

    proptest! {
        #[test]
        fn the_runs_spell_a_common_subsequence_of_that_length(a in "[abc]{0,24}", b in "[abc]{0,24}") {
            let (a, b) = (a.as_bytes(), b.as_bytes());
            let table = Table::new(a, b, usize::MAX).unwrap();
            let mut runs = Vec::new();
            table.walk_back(a, b, |run| runs.push(run));
            let common: Vec<u8> = runs.iter().rev().flat_map(|run| &a[run.a..run.a + run.len]).copied().collect();
            prop_assert!(runs.iter().all(|run| a[run.a..][..run.len] == b[run.b..][..run.len]));
            prop_assert!(is_subsequence(&common, a) && is_subsequence(&common, b));
            prop_assert_eq!(common.len(), table.at(a.len(), b.len()) as usize);
        }
    }
}
