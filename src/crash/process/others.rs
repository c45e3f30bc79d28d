//! Who stands beside the server: a stock replica, a copy of its directory, a replica of ours that is killed as it is.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::peer::{LOOK_AGAIN, Launch, PATIENCE, Peer, copy_live, free_port};
use super::{Campaign, NO_PROMISE, Verdict, Wrong, digest};

/// Disk steps of a replica within which it dies: a full sync has about a hundred.
const STEPS: u64 = 300;

impl Campaign<'_> {
    /// The same server, in another directory.
    fn beside(&self, dir: PathBuf) -> Verdict<Launch> {
        Ok(Launch { dir, port: free_port()?, die_at: None, medium: None, ..self.launch.clone() })
    }

    /// A stock replica that has been there through all kills.
    pub(super) fn check_stock(&mut self, peer: &mut Peer) -> Verdict {
        let Some(program) = self.plan.stock.clone().filter(|_| self.has_stock) else { return Ok(()) };
        if self.stock.is_none() {
            let replicaof = format!("127.0.0.1 {}", self.launch.port);
            let named = [("replicaof", replicaof.as_str()), ("save", ""), ("repl-diskless-load", "disabled")];
            let launch = Launch {
                program,
                dir: self.dir.join("stock"),
                port: free_port()?,
                directives: named.map(|(name, value)| (name.to_string(), value.to_string())).to_vec(),
                die_at: None,
                medium: None,
            };
            let started = launch.start()?;
            self.stock =
                Some(started.map_err(|ended| Wrong(NO_PROMISE, format!("the stock server: {}", ended.log)))?);
        }
        let Some(stock) = &self.stock else { return Ok(()) };
        let mut replica = Peer::connect(stock.port)?;
        let held = self.stock_held.take();
        self.tally.stock_after_cuts += u64::from(held.is_some());
        match held {
            Some(held) if self.is_refused(peer, &mut replica)? => {
                self.tell(format!("the stock replica, at {}, is refused", held.0));
                if digest(&mut replica)? != held {
                    return Err(Wrong(
                        "P6",
                        "the stock replica was refused, and has other data than before".into(),
                    ));
                }
                self.stock = None;
                std::fs::remove_dir_all(self.dir.join("stock"))?; // the next one begins with nothing
                Ok(())
            }
            _ => self.agree(peer, &mut replica, "the stock replica"),
        }
    }

    /// The server's power is about to be cut.
    pub(super) fn note_stock(&mut self) -> Verdict {
        let Some(stock) = &self.stock else { return Ok(()) };
        let mut replica = Peer::connect(stock.port)?;
        let until = Instant::now() + PATIENCE;
        while replica.info("replication", "master_link_status")? == "up"
            || replica.info("persistence", "loading")? == "1"
        {
            if Instant::now() > until {
                return Err(Wrong(
                    NO_PROMISE,
                    "the stock replica does not see that its primary is gone".into(),
                ));
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        self.stock_held = Some(digest(&mut replica)?);
        Ok(())
    }

    /// What the replica asks for is refused in a way that lets it keep what it has.
    fn is_refused(&mut self, peer: &mut Peer, replica: &mut Peer) -> Verdict<bool> {
        let (replid, at) = (replica.info("replication", "master_replid")?, replica.offset()?);
        let mut asks = Peer::connect(self.launch.port)?;
        asks.call(&["REPLCONF", "capa", "eof", "capa", "psync2"])?;
        let said = asks.call(&["PSYNC", &replid, &at.next_byte().to_string()])?.text;
        let is_refused = said.starts_with("NOMASTERLINK");
        if is_refused && self.is_always() && at <= peer.offset()? {
            return Err(Wrong("P4", format!("a stock replica at {replid}:{at} is refused: {said}")));
        }
        Ok(is_refused)
    }

    /// Waits until a replica is where the server is, and compares.
    fn agree(&mut self, peer: &mut Peer, replica: &mut Peer, who: &str) -> Verdict {
        let until = Instant::now() + PATIENCE;
        loop {
            let (at, expected) = digest(peer)?;
            let up = replica.info("replication", "master_link_status")? == "up";
            if up && replica.offset()? == at {
                let (there, found) = digest(replica)?;
                if there == at && found == expected {
                    return Ok(());
                }
                if there == at {
                    return Err(Wrong("P3", format!("{who} is at {at}, with other data")));
                }
            }
            if Instant::now() > until {
                return Err(Wrong("P4", format!("{who} does not come to {at}")));
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// A copy of the directory of the running server is started beside it, written to, and told to follow.
    /// Both are written then; `stop` ends the load, as what is compared has to stand still.
    pub(super) fn try_copy(&mut self, peer: &mut Peer, stop: &AtomicBool) -> Verdict {
        self.tally.copies += 1;
        let to = self.dir.join(format!("copy-{}", self.tally.copies));
        let rng = &mut self.rng;
        copy_live(&self.launch.dir, &to, &mut |paths| rng.shuffle(paths))?;
        stop.store(true, Ordering::SeqCst);
        let launch = self.beside(to.clone())?;
        let copy = match launch.start()? {
            Ok(copy) => copy,
            Err(ended) if ended.log.contains(&*to.to_string_lossy()) => {
                self.tell("the copy refuses".into());
                return Ok(());
            }
            Err(ended) => {
                return Err(Wrong("P5", format!("a copy refuses and names no file: {}", ended.log)));
            }
        };
        let mut other = Peer::connect(copy.port)?;
        self.tell(format!("the copy serves {}", other.offset()?));
        for n in 0..10 {
            other.call(&["SET", &format!("copy:{n}"), "1"])?;
            peer.call(&["SET", &format!("original:{n}"), "1"])?;
        }
        other.call(&["REPLICAOF", "127.0.0.1", &self.launch.port.to_string()])?;
        self.agree(peer, &mut other, "the copy that follows")?;
        drop(copy);
        std::fs::remove_dir_all(&to)?;
        Ok(())
    }

    /// A replica of ours, killed while it follows; as it often begins on nothing, also in the middle of a full sync. In the end it
    /// is left alone, and must become equal.
    pub(super) fn try_replica(&mut self, peer: &mut Peer, stop: &AtomicBool) -> Verdict {
        let dir = self.dir.join("replica");
        if dir.exists() && self.rng.bool() {
            std::fs::remove_dir_all(&dir)?;
        }
        let mut launch = self.beside(dir)?;
        launch.directives.push(("replicaof".into(), format!("127.0.0.1 {}", self.launch.port)));
        for _ in 0..self.rng.u8(1..=3) {
            launch.die_at = self.fail_point(STEPS);
            let mut replica = launch.spawn()?;
            std::thread::sleep(Duration::from_millis(self.rng.u64(1..250)));
            self.tally.kills += 1;
            match replica.ended()? {
                None => replica.kill()?,
                Some(ended) if ended.killed => self.tally.deaths += 1,
                Some(ended) => return Err(refused("a killed replica", &ended.log)),
            }
        }
        stop.store(true, Ordering::SeqCst);
        launch.die_at = None;
        let replica = launch.start()?.map_err(|ended| refused("a killed replica", &ended.log))?;
        let mut other = Peer::connect(replica.port)?;
        self.agree(peer, &mut other, "the replica that was killed")?;
        self.tally.replicas += 1;
        Ok(())
    }
}

pub(super) fn refused(who: &str, log: &str) -> Wrong {
    Wrong("P5", format!("{who} does not start: {}", log.trim_end()))
}
