//! Secrets from the system's generator.

use crate::error::DeviceError;

/// Length of an access token or of a password that nobody chose.
const SECRET_CHARS: usize = 20;
const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
/// The largest multiple of the alphabet's length in a byte: bytes from here on would favour its first letters.
const UNBIASED: u8 = 248;

/// `N` random bytes.
pub(crate) fn bytes<const N: usize>() -> Result<[u8; N], DeviceError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| DeviceError::NoSecret(error.to_string()))?;
    Ok(bytes)
}

/// Twenty random letters and digits.
pub(crate) fn secret() -> Result<String, DeviceError> {
    let mut secret = String::with_capacity(SECRET_CHARS);
    while secret.len() < SECRET_CHARS {
        for byte in bytes::<32>()? {
            if let Some(letter) = letter(byte)
                && secret.len() < SECRET_CHARS
            {
                secret.push(letter);
            }
        }
    }
    Ok(secret)
}

fn letter(byte: u8) -> Option<char> {
    if byte >= UNBIASED {
        return None;
    }
    ALPHABET.get(usize::from(byte) % ALPHABET.len()).map(|&letter| letter as char)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_twenty_letters_and_digits_and_differ() {
        let (one, other) = (secret().unwrap(), secret().unwrap());
        assert_eq!(one.len(), SECRET_CHARS);
        assert!(one.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{one}");
        assert_ne!(one, other);
    }

    #[test]
    fn every_letter_is_as_likely_as_any_other() {
        let mut counts = std::collections::HashMap::new();
        for byte in 0..=u8::MAX {
            *counts.entry(letter(byte)).or_insert(0) += 1;
        }
        assert_eq!(counts.remove(&None), Some(8));
        assert!(counts.len() == ALPHABET.len() && counts.values().all(|&count| count == 4));
    }
}
