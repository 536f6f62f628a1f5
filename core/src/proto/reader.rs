//! Reads the fields of a message body; every read is checked against the body's end.

use memchr::memchr;

use crate::{Error, Result};

/// What is left of a message body.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(body: &'a [u8]) -> Reader<'a> {
        Reader { rest: body }
    }

    /// Byte1.
    pub(crate) fn byte(&mut self) -> Result<u8> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    /// Int16.
    pub(crate) fn i16(&mut self) -> Result<i16> {
        Ok(i16::from_be_bytes(self.array()?))
    }

    /// Int32.
    pub(crate) fn i32(&mut self) -> Result<i32> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    /// Int32 that counts from zero to 2^32 (an oid).
    pub(crate) fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    /// Byte<N>.
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (head, rest) = self.rest.split_first_chunk().ok_or_else(short)?;
        self.rest = rest;
        Ok(*head)
    }

    /// Byten.
    pub(crate) fn bytes(&mut self, length: usize) -> Result<&'a [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or_else(short)?;
        self.rest = rest;
        Ok(bytes)
    }

    /// String: the bytes before the next NUL.
    pub(crate) fn cstr(&mut self) -> Result<&'a [u8]> {
        let end = memchr(0, self.rest).ok_or_else(short)?;
        let (text, rest) = self.rest.split_at_checked(end).ok_or_else(short)?;
        self.rest = rest.get(1..).unwrap_or_default();
        Ok(text)
    }

    /// String, as UTF-8 with U+FFFD for what is not (before authentication a server may use any encoding).
    pub(crate) fn string(&mut self) -> Result<String> {
        Ok(String::from_utf8_lossy(self.cstr()?).into_owned())
    }

    /// All that is left.
    pub(crate) fn rest(self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The body must end here.
    pub(crate) fn end(self) -> Result<()> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(Error::protocol(
                "The server sent a message that is longer than its content",
            ))
        }
    }
}

fn short() -> Error {
    Error::protocol("The server sent a message that ends in the middle of a field")
}
