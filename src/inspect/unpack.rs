//! Packed input, gzip or zstd, as the bytes that were packed.
//!
//! ```text
//! gzip: member │ member …        zstd: [skippable frame] │ frame │ frame …        (what parallel packers and `cat` write)
//! ```
//!
//! Every member and frame is read, and its checksum verified where it has one. A frame of zstd says how far back it
//! refers (its window), and so much of it must be in memory: up to [`WINDOW`], the most that `zstd -d` takes unasked; what needs
//! more is refused before it is unpacked. What is wrong with the packing is [`Damage`], told from a
//! failed read so that it becomes a place in the file; bytes count unpacked there as everywhere, and the packed place is
//! told beside it. Of a damaged zstd frame what lies in its window is not given out: up to 8 MiB before the damage, as it is
//! packed by default.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read};

use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// How the bytes are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    Gzip,
    Zstd,
}

/// A read of the packed file.
const STEP: usize = 256 << 10;
/// The largest window of a zstd frame.
pub const WINDOW: u64 = 128 << 20;

/// The packing is damaged, or ends too early.
#[derive(Debug)]
pub struct Damage {
    /// Bytes that were unpacked before.
    pub at: u64,
    pub what: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Damage {}

impl Damage {
    /// The damage that a read failed of, if that was it.
    pub fn of(error: &io::Error) -> Option<&Damage> {
        error.get_ref()?.downcast_ref()
    }
}

/// What the first bytes of a file tell.
pub fn packing(head: &[u8]) -> Option<Packing> {
    match head {
        [0x1f, 0x8b, 8, ..] => Some(Packing::Gzip),
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Packing::Zstd),
        _ => None,
    }
}

/// What was packed in `packed`.
pub fn unpack(packing: Packing, packed: Box<dyn Read>) -> Box<dyn Read> {
    let source = BufReader::with_capacity(STEP, Source { inner: packed, at: 0, failed: None, ended: false });
    let from = match packing {
        Packing::Gzip => From::Gzip(Box::new(flate2::bufread::MultiGzDecoder::new(source))),
        Packing::Zstd => From::Zstd(Box::new(Frames { source, decoder: None, window: 0 })),
    };
    Box::new(Unpacked { from, at: 0 })
}

/// Remembers how reading the packed file ended, since decoders make errors of their own of it.
struct Source {
    inner: Box<dyn Read>,
    /// Bytes that were read.
    at: u64,
    failed: Option<io::ErrorKind>,
    ended: bool,
}

impl Read for Source {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let got = self.inner.read(buf);
        self.ended = matches!(got, Ok(0)) && !buf.is_empty();
        self.at += *got.as_ref().unwrap_or(&0) as u64;
        self.failed =
            got.as_ref().err().map(io::Error::kind).filter(|kind| *kind != io::ErrorKind::Interrupted);
        got
    }
}

enum From {
    Gzip(Box<flate2::bufread::MultiGzDecoder<BufReader<Source>>>),
    Zstd(Box<Frames>),
}

struct Unpacked {
    from: From,
    at: u64,
}

impl Read for Unpacked {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let (got, source, name) = match &mut self.from {
            From::Gzip(members) => (members.read(buf), members.get_ref(), "gzip"),
            From::Zstd(frames) => (frames.read(buf), &frames.source, "zstd"),
        };
        let at_end = source.get_ref().ended && source.buffer().is_empty();
        let error = match got {
            Ok(got) => {
                self.at += got as u64;
                return Ok(got);
            }
            Err(error) => error,
        };
        if error.kind() == io::ErrorKind::Interrupted || source.get_ref().failed.is_some() {
            return Err(error);
        }
        let what = match at_end || error.kind() == io::ErrorKind::UnexpectedEof {
            true => format!("the {name} data end here, before their end"),
            false => format!("the {name} data are damaged: {error}"),
        };
        let packed = source.get_ref().at - source.buffer().len() as u64;
        let what = format!("{what} (about byte {packed} of the packed file)");
        Err(io::Error::new(io::ErrorKind::InvalidData, Damage { at: self.at, what }))
    }
}

/// The frames of a zstd file, one after another.
struct Frames {
    source: BufReader<Source>,
    /// The frame that is being read.
    decoder: Option<FrameDecoder>,
    window: u64,
}

impl Read for Frames {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while !buf.is_empty() {
            let Some(decoder) = &mut self.decoder else {
                if self.source.fill_buf()?.is_empty() {
                    return Ok(0);
                }
                self.begin()?;
                continue;
            };
            if decoder.can_collect() > 0 {
                return decoder.read(buf);
            }
            if decoder.is_finished() {
                let (said, found) = (decoder.get_checksum_from_data(), decoder.get_calculated_checksum());
                if said.is_some() && said != found {
                    return Err(invalid("the frame's checksum is another"));
                }
                self.decoder = None;
                continue;
            }
            let more = BlockDecodingStrategy::UptoBlocks(1);
            decoder.decode_blocks(&mut self.source, more).map_err(plain)?;
        }
        Ok(0)
    }
}

impl Frames {
    /// Reads a frame's header, or steps over a skippable frame.
    fn begin(&mut self) -> io::Result<()> {
        let mut head = vec![0; 5];
        self.source.read_exact(&mut head)?;
        if let [0x50..=0x5f, 0x2a, 0x4d, 0x18, low] = head[..] {
            let mut rest = [0; 3];
            self.source.read_exact(&mut rest)?;
            let len = u32::from_le_bytes([low, rest[0], rest[1], rest[2]]);
            let skipped = io::copy(&mut (&mut self.source).take(len.into()), &mut io::sink())?;
            return if skipped < len.into() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) };
        }
        if !head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            return Err(invalid("no frame begins where one ends"));
        }
        let rest = header_len(head[4]);
        head.resize(5 + rest, 0);
        self.source.read_exact(&mut head[5..])?;
        self.window = window(&head[4..]);
        if self.window > WINDOW {
            let mib = |bytes: u64| bytes.div_ceil(1 << 20);
            let what = format!(
                "a window of {} MiB, at most {} are taken into memory: unpack it with zstd -d --long=31 -c and pipe it here",
                mib(self.window),
                mib(WINDOW)
            );
            return Err(invalid(&what));
        }
        let mut decoder = FrameDecoder::new();
        decoder.init(&head[..]).map_err(plain)?;
        self.decoder = Some(decoder);
        Ok(())
    }
}

/// Bytes of a frame's header behind its descriptor: window, dictionary, size of the content.
/// (RFC 8878, 3.1.1.1)
fn header_len(descriptor: u8) -> usize {
    let is_single = descriptor & 0x20 != 0;
    let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let size = match descriptor >> 6 {
        0 => usize::from(is_single),
        n => 1 << n,
    };
    usize::from(!is_single) + dictionary + size
}

/// How far back a frame refers; `header` begins with its descriptor and is whole.
fn window(header: &[u8]) -> u64 {
    let descriptor = header[0];
    if descriptor & 0x20 == 0 {
        let (exponent, mantissa) = (header[1] >> 3, u64::from(header[1] & 7));
        let base = 1 << (10 + u32::from(exponent));
        return base + base / 8 * mantissa;
    }
    let size = match descriptor >> 6 {
        0 => 1,
        n => 1 << n,
    };
    let mut bytes = [0; 8];
    bytes[..size].copy_from_slice(&header[header.len() - size..]);
    u64::from_le_bytes(bytes) + if size == 2 { 256 } else { 0 }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// What the decoder says, without the names of its types.
fn plain(error: ruzstd::decoding::errors::FrameDecoderError) -> io::Error {
    use ruzstd::decoding::errors::FrameDecoderError as E;
    let what = match error {
        E::DictNotProvided { dict_id } => format!("it needs the dictionary {dict_id}"),
        E::ReadFrameHeaderError(_) | E::FrameHeaderError(_) => "a frame's header".into(),
        E::FailedToReadBlockHeader(_) => "a block's header".into(),
        E::FailedToReadBlockBody(_) => "a block's content".into(),
        E::FailedToReadChecksum(_) => "a frame's checksum".into(),
        _ => error.to_string(),
    };
    invalid(&what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::input;
    use std::io::Write;

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        packed.write_all(bytes).unwrap();
        packed.finish().unwrap()
    }

    fn unpacked(packed: &[u8]) -> std::result::Result<Vec<u8>, (u64, String)> {
        let found = packing(packed).unwrap();
        let mut all = Vec::new();
        match unpack(found, Box::new(io::Cursor::new(packed.to_vec()))).read_to_end(&mut all) {
            Ok(_) => Ok(all),
            Err(error) => {
                let damage = Damage::of(&error).unwrap();
                assert_eq!(damage.at, all.len() as u64);
                Err((damage.at, damage.what.clone()))
            }
        }
    }

    #[test]
    fn all_frames_and_members_are_read() {
        let text: Vec<u8> = (0..300_000u32).flat_map(|n| (n % 1000).to_le_bytes()).collect();
        let (a, b) = text.split_at(400_000);
        let skipped = b"\x53\x2a\x4d\x18\x05\0\0\0hello".to_vec();
        for packed in [
            zstd(&text),
            [zstd(a), zstd(b)].concat(),
            [skipped.clone(), zstd(a), skipped.clone(), zstd(&[]), zstd(b), skipped].concat(),
            gzip(&text),
            [gzip(a), gzip(b)].concat(),
        ] {
            assert!(unpacked(&packed).unwrap() == text);
        }
    }

    #[test]
    fn damage_is_told_with_its_place() {
        let text: Vec<u8> = (0..30_000u32).flat_map(|n| (n * n).to_le_bytes()).collect();
        for whole in [zstd(&text), gzip(&text)] {
            for cut in [1, 4, 5, 7, 100, whole.len() / 2, whole.len() - 1] {
                if packing(&whole[..cut]).is_some() {
                    let (at, what) = unpacked(&whole[..cut]).unwrap_err();
                    assert!(at < text.len() as u64 + 1 && what.contains("data end here"), "{cut}: {what}");
                }
            }
            let (_, what) = unpacked(&[whole.clone(), b"garbage".to_vec()].concat()).unwrap_err();
            assert!(what.contains("damaged") || what.contains("end here"), "{what}");
            for at in (4..whole.len()).step_by(997) {
                let mut damaged = whole.clone();
                damaged[at] ^= 0x10;
                // Never a panic; what comes out as if whole is whole, but for a frame without a checksum.
                let _told = unpacked(&damaged);
            }
        }
    }

    #[test]
    fn windows_are_what_the_header_says() {
        let check = |header: &[u8], len: usize, expected: u64| {
            assert_eq!((header_len(header[0]), window(header)), (len, expected), "{header:?}");
        };
        check(&[0x00, 0x00], 1, 1024);
        check(&[0x04, 0x69], 1, (8 << 20) + (1 << 20));
        check(&[0x20, 7], 1, 7);
        check(&[0x60, 1, 0], 2, 257);
        check(&[0xa1, 9, 0, 0, 1, 0], 5, 65_536);
        check(&[0xc0, 0x88, 0, 0, 0, 0, 0, 0, 0, 0], 9, 1 << 27);
        // Two terabytes, of which nothing is taken.
        let (at, what) = unpacked(&[0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xff, 1, 0, 0]).unwrap_err();
        assert!(at == 0 && what.contains("window") && what.contains("--long"), "{what}");
    }

    #[test]
    fn a_packed_file_that_ends_early_is_damaged_not_unreadable() {
        let plain = b"REDIS0003\xfe\0\0\x01k\x01v\0\x01l\x01w\xff";
        let packed = gzip(plain);
        let raw = Box::new(io::Cursor::new(packed[..packed.len() - 6].to_vec()));
        let report = match input::of_reader(raw, std::path::Path::new("x"), None) {
            Ok(input) => crate::inspect::check::check_input(input).unwrap(),
            Err(failure) => panic!("{failure}"),
        };
        let problem = report.problem.unwrap();
        assert!(problem.file.is_some() && problem.what.contains("data end here"), "{problem}");
    }
}
