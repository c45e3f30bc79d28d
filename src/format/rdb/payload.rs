//! What DUMP answers and RESTORE takes: type byte and value, version, checksum.

use super::version_is_known;
use crate::error::Corrupt;
use crate::format::crc::RdbCrc;

/// Two bytes of version, eight of checksum, little-endian.
const FOOTER: usize = 10;

/// Adds version and checksum to type byte and value.
pub fn seal_payload(payload: &mut Vec<u8>, version: u16) {
    payload.extend_from_slice(&version.to_le_bytes());
    let mut crc = RdbCrc::new();
    crc.update(payload);
    payload.extend_from_slice(&crc.value().to_le_bytes());
}

/// Type byte and value of a payload whose version is known and, if `verify`, whose checksum is right.
pub fn open_payload(payload: &[u8], verify: bool) -> Result<&[u8], Corrupt> {
    let too_short = || Corrupt::new(payload.len() as u64, "DUMP payload without footer");
    let (sealed, checksum) = payload.split_last_chunk::<8>().ok_or_else(too_short)?;
    let (content, version) = sealed.split_last_chunk::<2>().ok_or_else(too_short)?;
    debug_assert_eq!(content.len() + FOOTER, payload.len());
    let version = u16::from_le_bytes(*version);
    if !version_is_known(version) {
        let what = format!("DUMP payload of unknown version {version}");
        return Err(Corrupt::new(content.len() as u64, what));
    }
    let mut crc = RdbCrc::new();
    crc.update(sealed);
    if verify && crc.value() != u64::from_le_bytes(*checksum) {
        return Err(Corrupt::new(sealed.len() as u64, "DUMP payload with a wrong checksum"));
    }
    Ok(content)
}
