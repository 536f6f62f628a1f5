//! What a text tells by itself, read once.

use std::sync::LazyLock;

use super::lexer::{Lexer, Token};

/// What heys-db may do with a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traits {
    /// It can be prepared under a name without its results changing: a single statement that is planned, and without
    /// constants that PostgreSQL reads once at Parse although their meaning changes (`'now'`, `'today'`; names of
    /// types and roles as `regtype`, `regrole`).
    pub nameable: bool,
    /// Others may wait behind it: a plain SELECT without locking clause whose functions are all on a fixed list of
    /// ones that neither wait nor write.
    pub leads: bool,
}

impl Traits {
    /// Reads a text. What is not understood gets neither.
    pub fn of(text: &str) -> Traits {
        let mut reader = Reader::default();
        for token in Lexer::new(text) {
            if !reader.token(token) {
                return Traits::default();
            }
        }
        reader.traits()
    }
}

/// Statements that PostgreSQL plans; the others gain nothing from a name.
const PLANNED: [&str; 7] = ["delete", "insert", "merge", "select", "update", "values", "with"];

/// Functions that neither wait, write nor call what users defined.
const FUNCTIONS: &str = "\
    abs age array_agg array_append array_cat array_length array_position array_prepend array_remove array_to_json \
    array_to_string array_upper avg bit_length bool_and bool_or btrim cardinality ceil ceiling char_length \
    character_length coalesce concat concat_ws count cume_dist date date_part date_trunc decode dense_rank div encode \
    every exp extract first_value floor format greatest initcap isfinite json_agg json_array_elements \
    json_array_elements_text json_array_length json_build_array json_build_object json_each json_each_text \
    json_extract_path json_extract_path_text json_object_agg json_typeof jsonb_agg jsonb_array_elements \
    jsonb_array_elements_text jsonb_array_length jsonb_build_array jsonb_build_object jsonb_each jsonb_each_text \
    jsonb_extract_path jsonb_extract_path_text jsonb_object_agg jsonb_set jsonb_typeof lag last_value lead least left \
    length ln log lower lpad ltrim make_date make_interval max md5 min mod now nth_value ntile nullif octet_length \
    percent_rank percentile_cont percentile_disc position power rank replace reverse right round row_number \
    row_to_json rpad rtrim sign split_part sqrt starts_with string_agg string_to_array strpos substr substring sum \
    to_char to_json to_jsonb trim to_timestamp trunc unnest upper width_bucket";

/// Words that a parenthesis may follow without a function being called.
const KEYWORDS: &str = "\
    all and any array as between bit by case cast char character cross cube decimal distinct else end except exists \
    filter float from grouping having ilike in intersect interval is join lateral like limit not null numeric offset \
    on only or over partition rollup row select sets similar some then time timestamp timestamptz union using values \
    varchar varying when where";

/// Types whose constants name something that may be made anew under the same name. (`regclass` is not among them: plans
/// depend on the table that it names and are made again with it.)
const NAMES_AS_CONSTANTS: &str = "\
    regcollation regconfig regdictionary regnamespace regoper regoperator regproc regprocedure regrole regtype";

/// Behind these a parenthesis calls nothing that others should not wait for.
static HARMLESS: LazyLock<Vec<&str>> = LazyLock::new(|| sorted(&[FUNCTIONS, KEYWORDS]));
static CONSTANTS: LazyLock<Vec<&str>> = LazyLock::new(|| sorted(&[NAMES_AS_CONSTANTS]));

/// The words of all lists, to be searched.
fn sorted(lists: &[&'static str]) -> Vec<&'static str> {
    let mut words: Vec<_> = lists.iter().flat_map(|list| list.split(' ')).collect();
    words.sort_unstable();
    words
}

struct Reader {
    first: Option<bool>,
    /// The first word is SELECT.
    selects: bool,
    nameable: bool,
    leads: bool,
    /// A semicolon came: anything behind it would be a second statement.
    ended: bool,
    /// The last token, if it was a word: whether a parenthesis behind it calls something that is not on the list.
    calls: bool,
    /// The last token was a full stop.
    qualified: bool,
}

impl Default for Reader {
    fn default() -> Reader {
        Reader {
            first: None,
            selects: false,
            nameable: true,
            leads: true,
            ended: false,
            calls: false,
            qualified: false,
        }
    }
}

impl Reader {
    /// False: neither trait is left.
    fn token(&mut self, token: Token<'_>) -> bool {
        if self.ended && token != Token::Symbol(b';') {
            return false;
        }
        let calls = std::mem::take(&mut self.calls);
        let qualified = std::mem::take(&mut self.qualified);
        match token {
            Token::Unclear => return false,
            Token::Word(word) => self.word(word, qualified),
            // A quoted name calls whatever has that name.
            Token::Quoted => self.calls = true,
            Token::Literal(text) => self.nameable &= !changes_meaning(text),
            Token::Value => {}
            Token::Symbol(b'(') => self.leads &= !calls,
            Token::Symbol(b';') => self.ended = true,
            Token::Symbol(b'.') => self.qualified = true,
            Token::Symbol(_) => {}
        }
        if self.first.is_none() && token != Token::Symbol(b'(') {
            // Neither a word nor a parenthesis begins a statement.
            return token == Token::Symbol(b';');
        }
        self.nameable || self.leads
    }

    fn word(&mut self, word: &[u8], qualified: bool) {
        let mut buffer = [0; 32];
        let word = lower(word, &mut buffer);
        if self.first.is_none() {
            let planned = word.is_some_and(|word| PLANNED.contains(&word));
            self.first = Some(planned);
            self.nameable &= planned;
            self.selects = word == Some("select");
            self.leads &= self.selects;
        }
        self.nameable &= word.is_none_or(|word| CONSTANTS.binary_search(&word).is_err());
        // FOR UPDATE and its kin lock; SELECT INTO writes.
        self.leads &= !matches!(word, Some("for" | "into"));
        let known = word.is_some_and(|word| HARMLESS.binary_search(&word).is_ok());
        self.calls = qualified || !known;
    }

    fn traits(&self) -> Traits {
        let is_statement = self.first == Some(true);
        Traits {
            nameable: self.nameable && is_statement,
            leads: self.leads && is_statement && self.selects,
        }
    }
}

/// A word in lower case; `None` when it is longer than any that matters.
fn lower<'a>(word: &[u8], buffer: &'a mut [u8]) -> Option<&'a str> {
    let slots = buffer.get_mut(..word.len())?;
    slots.copy_from_slice(word);
    slots.make_ascii_lowercase();
    std::str::from_utf8(slots).ok()
}

/// Whether a constant means another time each time it is read (PostgreSQL documentation, table 8.13).
fn changes_meaning(literal: &[u8]) -> bool {
    let words = literal.split(|byte| !byte.is_ascii_alphabetic());
    let special = ["now", "today", "tomorrow", "yesterday"];
    words.filter(|word| (3..=9).contains(&word.len())).any(|word| {
        special
            .iter()
            .any(|special| word.eq_ignore_ascii_case(special.as_bytes()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traits(text: &str) -> (bool, bool) {
        let Traits { nameable, leads } = Traits::of(text);
        (nameable, leads)
    }

    #[test]
    fn a_plain_select_can_be_named_and_lead() {
        for text in [
            "SELECT id, name FROM t WHERE id = $1",
            "select count(*), max(a.b) from \"Tables\" a where x in ($1, $2) and lower(y) like '%x%'",
            " -- a comment\n SELECT now() /* and /* another */ one */ ;",
            "SELECT $1::numeric(10, 2), $tag$ FOR UPDATE $tag$, 'it''s for; update', E'\\' for'",
            "SELECT substr(name, 1, 3) FROM t LEFT JOIN u USING (id) ORDER BY 1 LIMIT 5",
        ] {
            assert_eq!(traits(text), (true, true), "{text}");
        }
    }

    #[test]
    fn every_function_on_the_list_leads() {
        for name in FUNCTIONS.split(' ') {
            assert_eq!(traits(&format!("SELECT {name}($1)")), (true, true), "{name}");
        }
    }

    #[test]
    fn what_locks_writes_or_calls_others_does_not_lead() {
        for text in [
            "SELECT 1 FROM t FOR UPDATE",
            "select * from t for share",
            "SELECT pg_sleep(1)",
            "SELECT f(1)",
            "SELECT s.count(1)",
            "SELECT \"count\"(1)",
            "SELECT pg_advisory_lock ($1)",
            "INSERT INTO t VALUES ($1)",
            "WITH x AS (DELETE FROM t RETURNING 1) SELECT * FROM x",
            "UPDATE t SET a = 1",
        ] {
            assert_eq!(traits(text), (true, false), "{text}");
        }
    }

    #[test]
    fn what_is_read_once_at_parse_is_not_named() {
        for text in [
            "SELECT 'now'::timestamptz",
            "SELECT * FROM t WHERE at > 'Today 10:00' AND id = $1",
            "SELECT timestamp 'tomorrow'",
            "SELECT 'app'::regrole",
            "SELECT 'mood'::regtype",
        ] {
            assert!(!Traits::of(text).nameable, "{text}");
        }
        for text in [
            "SELECT now(), 'knowledge'",
            "SELECT nextval('s'), 't'::regclass",
            "SELECT snow FROM today",
        ] {
            assert!(Traits::of(text).nameable, "{text}");
        }
    }

    #[test]
    fn what_is_not_one_clear_statement_gets_neither() {
        for text in [
            "",
            ";",
            "BEGIN",
            "SET x = 1",
            "SELECT 1; SELECT 2",
            "SELECT 1;;x",
            "SELECT 'open",
            "SELECT \"open",
            "SELECT /* open",
            "SELECT 'back\\slash'",
            "SELECT $",
            "VACUUM",
            "EXPLAIN SELECT 1",
            "1",
        ] {
            assert_eq!(traits(text), (false, false), "{text}");
        }
        assert_eq!(traits("SELECT 1;;"), (true, true));
        assert!(Traits::of("(SELECT 1) UNION (SELECT 2)").nameable);
    }
}
