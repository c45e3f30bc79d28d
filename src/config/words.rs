//! The settings that are one word out of a few.
//!
//! Spellings stand in Redis' order, which its error message shows; a value with two spellings is shown by the first.

use super::row::Spec;
use super::scalars::{How, Refusal, Setting, not_one_of};

macro_rules! words {
    ($( $(#[$meta:meta])* $name:ident { $( $(#[$of:meta])* $variant:ident = $word:literal $(| $other:literal)? ),+ $(,)? } )+) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $( $(#[$of])* $variant ),+ }

        impl $name {
            /// The word, as in a configuration file.
            pub fn name(self) -> &'static str {
                match self { $( $name::$variant => $word ),+ }
            }
        }

        impl Setting for $name {
            fn set(&mut self, words: &[&[u8]], _: How, _: &Spec) -> Result<(), Refusal> {
                const CHOICE: &[(&str, $name)] =
                    &[$( ($word, $name::$variant), $( ($other, $name::$variant), )? )+];
                let found = match words {
                    [word] => CHOICE.iter().find(|(known, _)| known.as_bytes().eq_ignore_ascii_case(word)),
                    _ => None,
                };
                let (_, value) =
                    found.ok_or_else(|| not_one_of(&CHOICE.iter().map(|(word, _)| *word).collect::<Vec<_>>()))?;
                *self = *value;
                Ok(())
            }
            fn show(&self) -> Vec<u8> {
                self.name().as_bytes().to_vec()
            }
        }
    )+};
}

words! {
    /// When the append-only log reaches the medium.
    AppendFsync { Everysec = "everysec", Always = "always", No = "no" }

    /// Least important message that is logged.
    LogLevel { Debug = "debug", Verbose = "verbose", Notice = "notice", Warning = "warning", Nothing = "nothing" }

    /// Which keys go when memory is full.
    MaxmemoryPolicy {
        VolatileLru = "volatile-lru", VolatileLfu = "volatile-lfu", VolatileRandom = "volatile-random",
        VolatileTtl = "volatile-ttl", AllkeysLru = "allkeys-lru", AllkeysLfu = "allkeys-lfu",
        AllkeysRandom = "allkeys-random", NoEviction = "noeviction",
    }

    /// Who may do something delicate.
    Allow {
        No = "no",
        Yes = "yes",
        /// Only clients of this machine.
        Local = "local",
    }

    /// Whose payloads are checked in depth.
    Sanitize { No = "no", Yes = "yes", Clients = "clients" }

    /// Whether and how the out-of-memory scores are set.
    OomScoreAdj { No = "no", Relative = "yes" | "relative", Absolute = "absolute" }

    /// Channels of a new user.
    AclPubsubDefault { AllChannels = "allchannels", ResetChannels = "resetchannels" }

    /// Whether a replica loads a full sync without a file in between.
    DisklessLoad { Disabled = "disabled", OnEmptyDb = "on-empty-db", SwapDb = "swapdb" }

    /// What a primary does with a replica that holds more than itself.
    BetterReplica { Refuse = "refuse", Overwrite = "overwrite" }
}

impl Allow {
    /// The verdict for a client that is `local`, that is, on this machine.
    pub fn allows(self, local: bool) -> bool {
        match self {
            Allow::No => false,
            Allow::Yes => true,
            Allow::Local => local,
        }
    }
}
