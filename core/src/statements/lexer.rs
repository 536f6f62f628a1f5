//! SQL into tokens, as far as [`super::Traits`] needs them (PostgreSQL documentation, chapter 4.1).

/// A piece of a statement; blanks and comments are no tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// A keyword or an identifier without quotes.
    Word(&'a [u8]),
    /// `"identifier"`.
    Quoted,
    /// The inside of a string constant.
    Literal(&'a [u8]),
    /// A number or a parameter.
    Value,
    /// Any other character.
    Symbol(u8),
    /// What ends inside a quote or a comment, or a string whose meaning depends on `standard_conforming_strings`.
    Unclear,
}

/// The tokens of a text.
pub(super) struct Lexer<'a> {
    rest: &'a [u8],
    /// The last token was the word `E`: the string behind it has backslash escapes.
    escapes: bool,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Lexer<'a> {
        Lexer {
            rest: text.as_bytes(),
            escapes: false,
        }
    }

    fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at_checked(length).unwrap_or((self.rest, &[]));
        self.rest = rest;
        taken
    }

    /// Passes blanks and comments; false when a comment has no end.
    fn pass_blanks(&mut self) -> bool {
        loop {
            match self.rest {
                [first, ..] if first.is_ascii_whitespace() || *first == 0x0b => {
                    self.take(1);
                }
                [b'-', b'-', ..] => {
                    let end = self.rest.iter().position(|&byte| matches!(byte, b'\n' | b'\r'));
                    self.take(end.unwrap_or(self.rest.len()));
                }
                [b'/', b'*', ..] => {
                    // Comments nest.
                    let mut depth = 0;
                    loop {
                        match self.rest {
                            [b'/', b'*', ..] => {
                                depth += 1;
                                self.take(2);
                            }
                            [b'*', b'/', ..] => {
                                depth -= 1;
                                self.take(2);
                            }
                            [] => return false,
                            _ => {
                                self.take(1);
                            }
                        }
                        if depth == 0 {
                            break;
                        }
                    }
                }
                _ => return true,
            }
        }
    }

    /// The inside of what `quote` encloses; doubled quotes belong to it. `None`: it has no end.
    fn quoted(&mut self, quote: u8, escapes: bool) -> Option<&'a [u8]> {
        let mut end = 1;
        loop {
            match self.rest.get(end..)? {
                [b'\\', _, ..] if escapes => end += 2,
                [first, second, ..] if *first == quote && *second == quote => end += 2,
                [first, ..] if *first == quote => break,
                [] => return None,
                _ => end += 1,
            }
        }
        let whole = self.take(end + 1);
        whole.get(1..end)
    }

    /// `$tag$ … $tag$`; `None`: it is none.
    fn dollar_quoted(&mut self) -> Option<&'a [u8]> {
        let tag = 1 + self
            .rest
            .get(1..)?
            .iter()
            .position(|&byte| !is_word(byte) || byte == b'$')?;
        if self.rest.get(tag) != Some(&b'$') || self.rest.get(1).is_some_and(u8::is_ascii_digit) {
            return None;
        }
        let mark = self.rest.get(..=tag)?;
        let inside = self.rest.get(tag + 1..)?;
        let end = inside.windows(mark.len()).position(|window| window == mark)?;
        self.take(mark.len() + end + mark.len());
        inside.get(..end)
    }
}

impl<'a> Iterator for Lexer<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        if !self.pass_blanks() {
            return Some(Token::Unclear);
        }
        let escapes = std::mem::take(&mut self.escapes);
        let &first = self.rest.first()?;
        let token = match first {
            b'\'' => match self.quoted(b'\'', escapes) {
                Some(inside) if escapes || !inside.contains(&b'\\') => Token::Literal(inside),
                Some(_) => Token::Unclear,
                None => {
                    self.rest = &[];
                    Token::Unclear
                }
            },
            b'"' => match self.quoted(b'"', false) {
                Some(_) => Token::Quoted,
                None => {
                    self.rest = &[];
                    Token::Unclear
                }
            },
            b'$' => match self.dollar_quoted() {
                Some(inside) => Token::Literal(inside),
                None => {
                    let digits = self
                        .rest
                        .iter()
                        .skip(1)
                        .take_while(|byte| byte.is_ascii_digit())
                        .count();
                    self.take(1 + digits);
                    if digits == 0 { Token::Unclear } else { Token::Value }
                }
            },
            b'0'..=b'9' => {
                let length = self
                    .rest
                    .iter()
                    .take_while(|&&byte| is_word(byte) || byte == b'.')
                    .count();
                self.take(length);
                Token::Value
            }
            byte if is_word(byte) => {
                let length = self.rest.iter().take_while(|&&byte| is_word(byte)).count();
                let word = self.take(length);
                self.escapes = matches!(word, b"e" | b"E") && self.rest.first() == Some(&b'\'');
                Token::Word(word)
            }
            byte => {
                self.take(1);
                Token::Symbol(byte)
            }
        };
        Some(token)
    }
}

/// Letters beyond ASCII belong to words.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}
