//! The names of statements that heys-db prepares by itself.

/// `__heys_` and a number, without an allocation.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Name {
    bytes: [u8; 17],
    length: usize,
}

const PREFIX: &[u8] = b"__heys_";

impl Name {
    pub(super) fn of(number: u32) -> Name {
        let mut name = Name::default();
        let mut digits = [0; 10];
        let mut count = 0;
        let mut rest = number;
        for slot in digits.iter_mut().rev() {
            *slot = b'0' + (rest % 10) as u8;
            rest /= 10;
            count += 1;
            if rest == 0 {
                break;
            }
        }
        let digits = digits.iter().skip(digits.len() - count);
        for (slot, &byte) in name.bytes.iter_mut().zip(PREFIX.iter().chain(digits)) {
            *slot = byte;
            name.length += 1;
        }
        name
    }

    pub(super) fn as_str(&self) -> &str {
        let bytes = self.bytes.get(..self.length).unwrap_or_default();
        std::str::from_utf8(bytes).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_its_name() {
        for number in [0, 1, 9, 10, 4_294_967_295] {
            assert_eq!(Name::of(number).as_str(), format!("__heys_{number}"));
        }
        assert_eq!(Name::default().as_str(), "");
    }
}
