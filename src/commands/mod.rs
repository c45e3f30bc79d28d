//! The vocabulary of commands.
