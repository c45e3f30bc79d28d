//! Files and mapped regions behind a trait.
