//! What servers answer their clients, and whether it is true.

use super::super::scenario::shown;
use super::super::world::Answer;
use super::machine::Verdict;
use super::net::host;
use super::run::Runner;

impl Runner<'_> {
    /// A reply has left.
    pub(super) fn answered(&mut self, n: usize, answer: &Answer) -> Verdict {
        self.tell(|| {
            let reply = shown(std::slice::from_ref(&answer.reply)).replace("\r\n", " ");
            let wrote = answer.wrote().map(|end| format!(" (stream to {end})")).unwrap_or_default();
            format!("      {} {} -> {reply}{wrote}", host(n), shown(&answer.asked.words[..1]))
        });
        if let Some(end) = answer.wrote() {
            // PUBLISH promises nothing of the medium (rule 25).
            self.machines[n].acknowledged(end, answer.asked.data.filter(|_| answer.synced));
        }
        match answer.asked.words.first().map(Vec::as_slice) {
            Some(b"WAIT") => self.judge_wait(n, answer),
            Some(b"WAITAOF") => self.judge_waitaof(n, answer),
            // Who waited for a key has what another one's write brings.
            Some(b"BLPOP") => Ok(()),
            _ => self.judge_min_replicas(n, answer),
        }
    }

    /// Who had all of that on the medium? If this server says that it has, that is a promise.
    fn judge_waitaof(&mut self, n: usize, answer: &Answer) -> Verdict {
        let text = String::from_utf8_lossy(&answer.reply);
        let numbers: Option<Vec<usize>> = text.strip_prefix("*2\r\n").map(|text| {
            text.split_terminator("\r\n").filter_map(|n| n.strip_prefix(':')?.parse().ok()).collect()
        });
        let (Some(&[local, told]), Some(at)) = (numbers.as_deref(), answer.asked.wrote) else {
            return Ok(());
        };
        let others = self.all().filter(|other| *other != n);
        let had = others.filter(|other| self.machines[*other].ever_synced(&self.machines[n], at)).count();
        if told > had {
            let what = format!(
                "{}: WAITAOF counts {told} replicas, though {had} ever had the log up to {at} synced",
                host(n)
            );
            return Err(("P1", what));
        }
        if local > 0 {
            self.machines[n].acknowledged(at, Some(at));
        }
        Ok(())
    }

    /// Who had all that the client wrote?
    fn judge_wait(&self, n: usize, answer: &Answer) -> Verdict {
        let text = String::from_utf8_lossy(&answer.reply);
        let Some(told) = text.strip_prefix(':').and_then(|text| text.trim_end().parse::<usize>().ok()) else {
            return Ok(());
        };
        let Some(at) = answer.asked.wrote else { return Ok(()) };
        let others = self.all().filter(|other| *other != n);
        let had = others.filter(|other| self.machines[*other].ever_had(&self.machines[n], at)).count();
        if told > had {
            let what = format!(
                "{}: WAIT counts {told} replicas, though {had} ever had the stream up to {at}",
                host(n)
            );
            return Err(("P1", what));
        }
        Ok(())
    }

    /// `min-replicas-to-write`: so many had said something within `min-replicas-max-lag`, or have just begun to follow, which counts
    /// like a word.
    fn judge_min_replicas(&self, n: usize, answer: &Answer) -> Verdict {
        let (Some(_), Some(when)) = (answer.asked.data, answer.asked.executed) else { return Ok(()) };
        let wanted = self.machines[n].world.look(|node| {
            let settings = &node.config().settings;
            (settings.min_replicas_to_write as usize, i64::from(settings.min_replicas_max_lag))
        });
        let Some((wanted, lag)) = wanted.filter(|(wanted, lag)| *wanted > 0 && *lag > 0) else {
            return Ok(());
        };
        let recent = |at: &i64| when - at < (lag + 1) * 1_000_000;
        let others = self.all().filter(|from| *from != n);
        let heard = others.filter(|from| self.heard.get(&(*from, n)).is_some_and(recent)).count();
        let heard = heard + usize::from(self.machines[n].joined.as_ref().is_some_and(recent));
        if heard < wanted {
            let what = format!(
                "{}: takes a write, though {heard} replicas instead of {wanted} said anything within {lag} s",
                host(n)
            );
            return Err(("–", what));
        }
        Ok(())
    }
}
