//! The primitives, both ways, and where a file is refused.

use super::*;

fn write(put: impl FnOnce(&mut Output<'_>) -> io::Result<()>, compress: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut output = Output::new(&mut bytes, compress, false);
    put(&mut output).and_then(|()| output.flush()).unwrap();
    bytes
}

#[test]
fn lengths() {
    let check = |length: u64, bytes: &[u8]| {
        assert_eq!(write(|out| out.length(length), false), bytes);
        let mut input = bytes;
        assert_eq!(Source::new(&mut input, None).length().unwrap(), length);
    };
    check(0, b"\x00");
    check(63, b"\x3f");
    check(64, b"\x40\x40");
    check(16_383, b"\x7f\xff");
    check(16_384, b"\x80\0\0\x40\0");
    check(0xffff_ffff, b"\x80\xff\xff\xff\xff");
    check(1 << 32, b"\x81\0\0\0\x01\0\0\0\0");
    check(u64::MAX, b"\x81\xff\xff\xff\xff\xff\xff\xff\xff");
}

#[test]
fn strings() {
    let check = |text: &[u8], bytes: &[u8]| {
        assert_eq!(write(|out| out.string(text), true), bytes, "{}", text.escape_ascii());
        let mut input = bytes;
        assert_eq!(Source::new(&mut input, None).owned().unwrap(), text);
        let mut input = bytes;
        let mut source = Source::new(&mut input, None);
        source.skip_string().unwrap();
        assert!(source.is_at_end().unwrap());
    };
    check(b"", b"\x00");
    check(b"abc", b"\x03abc");
    check(b"0", b"\xc0\0");
    check(b"-128", b"\xc0\x80");
    check(b"128", b"\xc1\x80\0");
    check(b"-32769", b"\xc2\xff\x7f\xff\xff");
    check(b"-2147483648", b"\xc2\0\0\0\x80");
    check(b"2147483648", b"\x0a2147483648");
    check(b"007", b"\x03007");
    check(b"-0", b"\x02-0");
    check(&[b'a'; 20], b"\x14aaaaaaaaaaaaaaaaaaaa");
    check(&[b'a'; 21], b"\xc3\x05\x15\x00\x61\xe0\x0b\x00");
}

#[test]
fn what_is_read_from_a_string_longer_than_any_buffer() {
    let long: Vec<u8> = (0..700_000u32).flat_map(u32::to_le_bytes).collect();
    for compress in [false, true] {
        let bytes = write(|out| out.string(&long).and_then(|()| out.string(b"end")), compress);
        let mut input = &bytes[..];
        let mut source = Source::new(&mut input, None);
        source.record();
        assert!(source.owned().unwrap() == long);
        assert_eq!(source.owned().unwrap(), b"end");
        assert_eq!(source.offset(), bytes.len() as u64);
        let mut crc = crate::format::crc::RdbCrc::new();
        crc.update(&bytes);
        assert_eq!(source.checksum(), crc.value());
        assert!(source.end_recording() == bytes);
    }
}

#[test]
fn a_short_input_is_damage_at_its_end() {
    let check = |bytes: &[u8], at: u64| {
        let mut input = bytes;
        match Source::new(&mut input, None).owned() {
            Err(LoadError::Corrupt(corrupt)) => assert_eq!(corrupt.at, at, "{bytes:?}: {corrupt}"),
            other => panic!("{bytes:?}: {other:?}"),
        }
    };
    check(b"", 0);
    check(b"\x05abcd", 5);
    check(b"\x80\0\0", 3);
    check(b"\x81\x7f\xff\xff\xff\xff\xff\xff\xffabc", 12);
    check(b"\x82", 0);
    check(b"\xc4", 0);
    check(b"\xc3\x04\x81\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0", 11);
    check(b"\xc3\x81\x7f\xff\xff\xff\xff\xff\xff\xff\x04\0", 12);
    check(b"\xc3\x02\x05\x00a", 5);
}

#[test]
fn heads_of_files() {
    let check = |head: &[u8], expected: Result<u16, u64>| {
        let mut input = head;
        let opened = Reader::open(&mut input, true).map(|reader| reader.version);
        let seen = opened.map_err(|error| match error {
            LoadError::Corrupt(corrupt) => corrupt.at,
            other => panic!("{other}"),
        });
        assert_eq!(seen, expected, "{}", head.escape_ascii());
    };
    check(b"REDIS0001", Ok(1));
    check(b"REDIS0012", Ok(12));
    check(b"VALKEY080", Ok(80));
    check(b"REDIS0000", Err(5));
    check(b"REDIS0013", Err(5));
    check(b"REDIS+011", Err(5));
    check(b"REDIS", Err(5));
    check(b"RIDES0010", Err(0));
}

#[test]
fn module_names() {
    let id = "ReJSON-RL".bytes().fold(0, |id, letter| {
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        id << 6 | alphabet.iter().position(|l| *l == letter).unwrap() as u64
    });
    assert_eq!(module_name(id << 10 | 3), "ReJSON-RL");
}

#[test]
fn bytes_of_opcodes_and_types() {
    for (i, opcode) in Opcode::ALL.into_iter().enumerate() {
        assert_eq!((opcode as usize, Opcode::from_byte(opcode as u8)), (0xf4 + i, Some(opcode)));
    }
    let types: Vec<u8> = (0..=255).filter(|byte| ValueType::from_byte(*byte).is_some()).collect();
    assert_eq!(types, (0..=7).chain(9..=22).chain(24..=25).collect::<Vec<u8>>());
    assert!(types.iter().all(|byte| ValueType::from_byte(*byte).unwrap() as u8 == *byte));
}

#[test]
fn peek_reads_the_facts_and_verify_the_checksum() {
    let mut file = Vec::new();
    let mut output = Output::new(&mut file, true, true);
    output.header(VERSION).unwrap();
    output.aux("redis-ver", b"7.2.4").unwrap();
    output.aux("repl-offset", b"12345").unwrap();
    let checksum = output.finish().unwrap();
    let seen = peek(&mut &file[..]).unwrap();
    assert_eq!(seen.version, VERSION);
    assert_eq!(seen.aux[1], (b"repl-offset".to_vec(), b"12345".to_vec()));
    assert_eq!(verify(&mut &file[..]).unwrap(), Some(checksum));
    for len in 0..file.len() {
        assert!(verify(&mut &file[..len]).is_err(), "{len}");
    }
    let last = file.len() - 9;
    file[last] ^= 1;
    assert!(verify(&mut &file[..]).is_err());
}
