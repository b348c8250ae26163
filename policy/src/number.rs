//! Numbers as people read them.

/// A number as people read it: 4,211.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::grouped;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([1, 999, 1_000, 4_211, 1_234_567].map(grouped).join(" "), "1 999 1,000 4,211 1,234,567");
    }
}
