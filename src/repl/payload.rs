//! The payload of a full sync that ends with a mark: `$EOF:<40 bytes>`, data of unknown length, the same 40 bytes.
//!
//! A primary that sends a snapshot while it makes it does not know the length beforehand. [`MarkFinder`] hands the
//! data through as they come, in constant memory, and keeps back what might be the beginning of the mark, so that
//! no byte of the mark is ever taken for data wherever the network cuts it. Comparing only the last 40 bytes of
//! each read, as stock does, was rejected: it needs the end of the payload to be the end of a read.

use std::borrow::Cow;

use memchr::memmem::Finder;

/// Bytes of a mark.
pub const MARK: usize = 40;

#[derive(Clone, Debug)]
pub struct MarkFinder {
    finder: Finder<'static>,
    /// A beginning of the mark that stands at the end of what came so far; shorter than the mark.
    held: Vec<u8>,
}

impl MarkFinder {
    pub fn new(mark: [u8; MARK]) -> MarkFinder {
        MarkFinder { finder: Finder::new(&mark).into_owned(), held: Vec::new() }
    }

    /// Takes the next data off the front of `input`, perhaps none. `true`: the mark stood behind them and was taken
    /// too; what is left of `input` comes after the payload. If it was not, call again until `input` is empty.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> (Cow<'a, [u8]>, bool) {
        let bytes = *input;
        if !self.held.is_empty() {
            return self.next_behind_held(input);
        }
        if let Some(at) = self.finder.find(bytes) {
            *input = &bytes[at + MARK..];
            return (Cow::Borrowed(&bytes[..at]), true);
        }
        let (data, held) = bytes.split_at(bytes.len() - self.overlap(bytes));
        self.held.extend_from_slice(held);
        *input = &[];
        (Cow::Borrowed(data), false)
    }

    /// A mark that begins in what is held ends within the next 39 bytes, or there is none.
    fn next_behind_held<'a>(&mut self, input: &mut &'a [u8]) -> (Cow<'a, [u8]>, bool) {
        let bytes = *input;
        let look = bytes.len().min(MARK - 1);
        let mut window = std::mem::take(&mut self.held);
        let held = window.len();
        window.extend_from_slice(&bytes[..look]);
        if let Some(at) = self.finder.find(&window) {
            window.truncate(at);
            *input = &bytes[at + MARK - held..];
            return (Cow::Owned(window), true);
        }
        if look == bytes.len() {
            self.held = window.split_off(window.len() - self.overlap(&window));
            *input = &[];
        } else {
            window.truncate(held);
        }
        (Cow::Owned(window), false)
    }

    /// How many of the last bytes are a beginning of the mark.
    fn overlap(&self, bytes: &[u8]) -> usize {
        let mark = self.finder.needle();
        let most = bytes.len().min(MARK - 1);
        (0..=most).rev().find(|n| bytes.ends_with(&mark[..*n])).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Feeds `bytes` in pieces: the data, and what came after the mark, if it came.
    fn run(mark: [u8; MARK], bytes: &[u8], sizes: &[usize]) -> (Vec<u8>, Option<Vec<u8>>) {
        let (mut finder, mut data, mut rest) = (MarkFinder::new(mark), Vec::new(), bytes);
        let mut sizes = sizes.iter().cycle();
        while !rest.is_empty() {
            let (mut piece, after) =
                rest.split_at(sizes.next().copied().unwrap_or(usize::MAX).min(rest.len()));
            while !piece.is_empty() {
                let (some, end) = finder.next(&mut piece);
                data.extend_from_slice(&some);
                assert!(finder.held.len() < MARK);
                if end {
                    return (data, Some([piece, after].concat()));
                }
            }
            rest = after;
        }
        (data, None)
    }

    #[test]
    fn the_mark_is_found_across_any_cut() {
        let mark: [u8; MARK] = std::array::from_fn(|i| b'a' + (i % 7) as u8);
        let bytes = [b"data", &mark[..39], b"abcdefgabc", &mark[..], b"*1\r\n"].concat();
        let data = &bytes[..4 + 39 + 10];
        for size in 1..bytes.len() {
            let (found, rest) = run(mark, &bytes, &[size]);
            assert_eq!((&found[..], rest.as_deref()), (data, Some(&b"*1\r\n"[..])), "pieces of {size}");
        }
    }

    proptest! {
        /// Marks and data of few letters, so that they nearly meet often; the first whole mark ends the payload.
        #[test]
        fn as_if_it_came_at_once(letters in prop::collection::vec(0u8..2, 40), data in prop::collection::vec(0u8..2, 0..300),
                                 sizes in prop::collection::vec(1usize..60, 1..20), planted in 0usize..300) {
            let mark: [u8; MARK] = letters.try_into().unwrap();
            let mut bytes = data;
            let at = planted.min(bytes.len());
            bytes.splice(at..at, mark);
            let (found, rest) = run(mark, &bytes, &sizes);
            let at = memchr::memmem::find(&bytes, &mark).unwrap();
            prop_assert_eq!(&found[..], &bytes[..at]);
            prop_assert_eq!(rest.unwrap(), &bytes[at + MARK..]);
        }
    }
}
