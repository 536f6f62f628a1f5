//! ErrorResponse and NoticeResponse with all their fields (protocol chapter 55.8).

use std::fmt;

use super::reader::Reader;
use crate::Result;

/// The fields of an ErrorResponse or NoticeResponse, as sent.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ServerError {
    /// Field code (`S`, `V`, `C`, `M`, `D`, `H`, `P`, …) and text, in the server's order.
    pub(crate) fields: Vec<(u8, String)>,
    /// The message's own length word: the bytes of its body and of the length itself (pg shows it as `length`).
    pub(crate) length: u32,
}

impl ServerError {
    /// Reads the body: Byte1 field code and String, until a zero byte. `length` is the message's length word.
    pub(super) fn parse(body: &[u8], length: u32) -> Result<ServerError> {
        let mut reader = Reader::new(body);
        let mut fields = Vec::with_capacity(16);
        loop {
            match reader.byte()? {
                0 => break,
                code => fields.push((code, reader.string()?)),
            }
        }
        reader.end()?;
        Ok(ServerError { fields, length })
    }

    /// The text of one field, by its protocol letter.
    pub fn field(&self, code: u8) -> Option<&str> {
        self.fields
            .iter()
            .find(|(c, _)| *c == code)
            .map(|(_, text)| text.as_str())
    }

    /// All fields, in the server's order.
    pub fn fields(&self) -> impl Iterator<Item = (u8, &str)> {
        self.fields.iter().map(|(code, text)| (*code, text.as_str()))
    }

    /// The primary message (field `M`).
    pub fn message(&self) -> &str {
        self.field(b'M').unwrap_or("the server sent an error without a message")
    }

    /// The SQLSTATE (field `C`), five characters.
    pub fn code(&self) -> &str {
        self.field(b'C').unwrap_or("XX000")
    }

    /// The severity that is never localized (field `V`), else the localized one (`S`).
    pub fn severity(&self) -> &str {
        self.field(b'V').or_else(|| self.field(b'S')).unwrap_or("ERROR")
    }

    /// The message's length word.
    pub fn length(&self) -> u32 {
        self.length
    }
}

impl fmt::Debug for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.fields.iter().map(|(c, t)| (*c as char, t)))
            .finish()
    }
}
