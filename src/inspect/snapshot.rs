//! An RDB file, item by item, as commands walk it: [`Reader`] with the file's name in its errors, the database that is
//! selected, and a limit to what is taken into memory.
//!
//! ```text
//! open ─► next ─► Aux | Select | Resize | Function | ModuleAux ─► next …
//!            ├► Key ─► value (always, once) ─► next …
//!            └► End ─► behind: what follows the RDB file, the commands of an old log
//! ```

use std::cell::RefCell;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::spool::Spool;
use super::value::{self, Facts, Scratch, Visitor};
use super::{Failure, Result};
use crate::error::Corrupt;
use crate::format::rdb::{Item, LoadError, Reader, ValueType};

/// The longest key, AUX field, function library or stream block that is read.
pub const LONGEST: u64 = 16 << 20;

pub struct Snapshot<'a> {
    reader: Reader<'a>,
    file: PathBuf,
    scratch: Scratch,
    /// Selected now.
    pub db: u64,
    /// Where the last item begins.
    pub at: u64,
}

impl<'a> Snapshot<'a> {
    /// Reads the first nine bytes. The checksum is verified at the end.
    pub fn open(input: &'a mut dyn Read, file: &Path) -> Result<Snapshot<'a>> {
        let mut reader = Reader::open(input, true).map_err(|error| Failure::of(error, file))?;
        reader.source.longest = LONGEST;
        Ok(Snapshot { reader, file: file.to_path_buf(), scratch: Scratch::default(), db: 0, at: 9 })
    }

    /// Goes on at byte `at` of a file of this version, where `input` begins and an item too. Its checksum is not verified.
    pub fn resume(input: &'a mut dyn Read, file: &Path, version: u16, at: u64, db: u64) -> Snapshot<'a> {
        Snapshot::resume_of(Reader::resume(input, version, at, None), file, at, db)
    }

    /// The same, reading no more than `size` bytes at a time.
    pub fn resume_briefly(
        input: &'a mut dyn Read,
        file: &Path,
        version: u16,
        at: u64,
        db: u64,
        size: usize,
    ) -> Snapshot<'a> {
        Snapshot::resume_of(Reader::resume(input, version, at, Some(size)), file, at, db)
    }

    fn resume_of(mut reader: Reader<'a>, file: &Path, at: u64, db: u64) -> Snapshot<'a> {
        reader.source.longest = LONGEST;
        Snapshot { reader, file: file.to_path_buf(), scratch: Scratch::default(), db, at }
    }

    pub fn version(&self) -> u16 {
        self.reader.version
    }
    /// Of the last [`Item::Key`].
    pub fn key(&self) -> &[u8] {
        &self.reader.key
    }
    /// Of the next byte.
    pub fn offset(&self) -> u64 {
        self.reader.source.offset()
    }
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The next item. After a key its value must be taken; after the end there is none.
    #[inline]
    pub fn next_item(&mut self) -> Result<Item> {
        self.at = self.offset();
        let item = self.reader.next_item().map_err(|error| Failure::of(error, &self.file))?;
        match item {
            Item::Select(db) => self.db = db,
            // Nothing can be shown of it.
            Item::ModuleAux(_) => {
                self.reader.skip_module().map_err(|error| Failure::of(error, &self.file))?;
            }
            _ => {}
        }
        Ok(item)
    }

    /// Walks the value of the last key.
    #[inline]
    pub fn value(&mut self, kind: ValueType, visitor: &mut impl Visitor) -> Result<Facts> {
        let found = value::walk(&mut self.reader, kind, &mut self.scratch, visitor);
        found.map_err(|error| self.in_key(error))
    }

    /// The same, while the value's bytes go to `spool`, and nothing else.
    pub fn value_into(
        &mut self,
        kind: ValueType,
        visitor: &mut impl Visitor,
        spool: &Rc<RefCell<Spool>>,
    ) -> Result<Facts> {
        spool.borrow_mut().clear();
        let taker = Rc::clone(spool);
        self.reader.source.record_to(Box::new(move |bytes| taker.borrow_mut().put(bytes)));
        let found = value::walk(&mut self.reader, kind, &mut self.scratch, visitor);
        self.reader.source.end_recording();
        spool.borrow_mut().check()?;
        found.map_err(|error| self.in_key(error))
    }

    /// Steps over the value of the last key, looking only for its end.
    #[inline]
    pub fn skip(&mut self, kind: ValueType) -> Result<()> {
        let found = self.reader.skip_value(kind);
        found.map_err(|error| self.in_key(error))
    }

    /// Damage in the value of the last key.
    pub fn in_key(&self, error: LoadError) -> Failure {
        match Failure::of(error, &self.file) {
            Failure::Corrupt(damage) => {
                let key = super::text::shortened(self.key(), 60);
                let what = format!("{} (key '{key}' in db {})", damage.what, self.db);
                Failure::Corrupt(Corrupt { what: what.into(), ..damage })
            }
            other => other,
        }
    }

    /// After the end: the first bytes behind it that were read already; empty at the end of the input.
    pub fn behind(mut self) -> Result<Vec<u8>> {
        self.reader.source.is_at_end().map_err(|error| Failure::of(error, &self.file))?;
        Ok(self.reader.source.buffered().to_vec())
    }
}
