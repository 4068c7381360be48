//! X.509 certificates: as much of them as decides who a device is (device API §3.4).
//!
//! A device is found by the hash of its whole certificate, so what a certificate says of itself is never a reason to
//! trust it. Read are its dates, the common name of its subject, its key, what its issuer signed, and whether it may
//! sign others; other extensions are not, and certificates of version 1, which many small authorities still make, are read like others. No allocation
//! follows from what a length says, and nothing is read twice.
//! Not here: who may connect with one (`chain.rs`), and the proof that its key is there (the TLS handshake).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use wireglot_model::Timestamp;

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OBJECT_ID: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const BOOLEAN: u8 = 0x01;
const OCTET_STRING: u8 = 0x04;
/// What stands before the extensions, if it is there: identifiers of issuer and subject.
const UNIQUE_IDS: [u8; 2] = [0x81, 0x82];
const EXTENSIONS: u8 = 0xA3;
/// The version, which a certificate of version 1 does not have.
const VERSION: u8 = 0xA0;
/// 2.5.4.3
const COMMON_NAME: [u8; 3] = [0x55, 0x04, 0x03];
/// 2.5.29.19
const BASIC_CONSTRAINTS: [u8; 3] = [0x55, 0x1D, 0x13];

/// The parts of a certificate that are looked at; they borrow its DER.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Certificate<'a> {
    /// What the issuer signed.
    pub signed: &'a [u8],
    /// How: the content of an `AlgorithmIdentifier`.
    pub signature_algorithm: &'a [u8],
    /// The issuer's signature.
    pub signature: &'a [u8],
    /// The key of whom the certificate speaks of.
    pub key: PublicKey<'a>,
    not_before: Timestamp,
    not_after: Timestamp,
    subject: &'a [u8],
    is_authority: bool,
}

/// A public key as a certificate states it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PublicKey<'a> {
    /// The whole `SubjectPublicKeyInfo`.
    pub info: &'a [u8],
    /// Its kind: the content of an `AlgorithmIdentifier`.
    pub algorithm: &'a [u8],
    /// The key itself.
    pub bits: &'a [u8],
}

/// The bytes are no certificate.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the bytes are not an X.509 certificate")]
pub struct InvalidCertificate;

impl<'a> Certificate<'a> {
    /// Reads the DER of a certificate.
    pub fn parse(der: &'a [u8]) -> Result<Self, InvalidCertificate> {
        read(der).ok_or(InvalidCertificate)
    }

    /// Whether `now` lies between its dates; both belong to it.
    pub fn is_valid_at(&self, now: Timestamp) -> bool {
        // The end is a whole second.
        self.not_before <= now && now.0 < self.not_after.0.saturating_add(1_000)
    }

    /// When it ends.
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// Whether it says that it may sign certificates.
    pub fn is_authority(&self) -> bool {
        self.is_authority
    }

    /// The first common name of its subject.
    pub fn common_name(&self) -> Option<String> {
        let mut names = Der(self.subject);
        while let Some(set) = names.take(SET) {
            let mut set = Der(set.content);
            while let Some(pair) = set.take(SEQUENCE) {
                let mut pair = Der(pair.content);
                let kind = pair.take(OBJECT_ID)?;
                let value = pair.next()?;
                if kind.content == COMMON_NAME {
                    return text(&value);
                }
            }
        }
        None
    }
}

/// The form in which certificates are stored and looked up: the base64 of the DER, on one line.
pub(crate) fn base64_of(der: &[u8]) -> String {
    STANDARD.encode(der)
}

fn read(der: &[u8]) -> Option<Certificate<'_>> {
    let mut whole = Der(der);
    let mut certificate = Der(whole.take(SEQUENCE)?.content);
    let signed = certificate.take(SEQUENCE)?;
    let signature_algorithm = certificate.take(SEQUENCE)?.content;
    let signature = bits(&certificate.take(BIT_STRING)?)?;
    let mut fields = Der(signed.content);
    fields.take(VERSION);
    fields.take(INTEGER)?;
    // What the issuer signed says how, too; both must be the same (RFC 5280, 4.1.1.2).
    if fields.take(SEQUENCE)?.content != signature_algorithm {
        return None;
    }
    let _issuer = fields.take(SEQUENCE)?;
    let mut dates = Der(fields.take(SEQUENCE)?.content);
    let (not_before, not_after) = (time(&dates.next()?)?, time(&dates.next()?)?);
    let subject = fields.take(SEQUENCE)?.content;
    let info = fields.take(SEQUENCE)?;
    let mut key = Der(info.content);
    let algorithm = key.take(SEQUENCE)?.content;
    let key = PublicKey { info: info.whole, algorithm, bits: bits(&key.take(BIT_STRING)?)? };
    let is_authority = may_sign(fields).unwrap_or_default();
    let is_whole = whole.0.is_empty() && certificate.0.is_empty();
    is_whole.then_some(Certificate {
        signed: signed.whole,
        signature_algorithm,
        signature,
        key,
        not_before,
        not_after,
        subject,
        is_authority,
    })
}

/// What the basic constraints say, in what follows the key. Without them it is no authority.
fn may_sign(mut fields: Der<'_>) -> Option<bool> {
    for tag in UNIQUE_IDS {
        fields.take(tag);
    }
    let mut extensions = Der(fields.take(EXTENSIONS)?.content);
    let mut extensions = Der(extensions.take(SEQUENCE)?.content);
    while let Some(extension) = extensions.take(SEQUENCE) {
        let mut extension = Der(extension.content);
        let kind = extension.take(OBJECT_ID)?;
        extension.take(BOOLEAN);
        let mut value = Der(extension.take(OCTET_STRING)?.content);
        if kind.content == BASIC_CONSTRAINTS {
            let mut constraints = Der(value.take(SEQUENCE)?.content);
            return Some(constraints.take(BOOLEAN).is_some_and(|says| says.content == [0xFF]));
        }
    }
    None
}

/// DER that is still to be read.
struct Der<'a>(&'a [u8]);

/// One element.
struct Element<'a> {
    tag: u8,
    content: &'a [u8],
    /// With its tag and length.
    whole: &'a [u8],
}

impl<'a> Der<'a> {
    /// The next element, if it has this tag; otherwise it stays.
    fn take(&mut self, tag: u8) -> Option<Element<'a>> {
        if self.0.first() == Some(&tag) { self.next() } else { None }
    }

    fn next(&mut self) -> Option<Element<'a>> {
        let [tag, length, rest @ ..] = self.0 else { return None };
        let (length, rest) = match *length {
            short @ 0..=0x7F => (usize::from(short), rest),
            // Up to 16 MiB, far more than a handshake carries.
            long @ 0x81..=0x83 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(long & 0x7F))?;
                (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        let whole = self.0.get(..self.0.len() - rest.len())?;
        self.0 = rest;
        Some(Element { tag: *tag, content, whole })
    }
}

/// The bytes of a bit string; keys and signatures have no half ones.
fn bits<'a>(element: &Element<'a>) -> Option<&'a [u8]> {
    element.content.strip_prefix(&[0])
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ`; other forms have no place in a certificate (RFC 5280, 4.1.2.5).
fn time(element: &Element<'_>) -> Option<Timestamp> {
    let digits = std::str::from_utf8(element.content).ok()?.strip_suffix('Z')?;
    let (year, rest) = match element.tag {
        UTC_TIME => {
            let (year, rest) = digits.split_at_checked(2)?;
            let century = if year < "50" { "20" } else { "19" };
            (format!("{century}{year}"), rest)
        }
        GENERALIZED_TIME => {
            let (year, rest) = digits.split_at_checked(4)?;
            (year.to_owned(), rest)
        }
        _ => return None,
    };
    let part = |at: usize| rest.get(at..at + 2);
    let (month, day, hour, minute, second) = (part(0)?, part(2)?, part(4)?, part(6)?, part(8)?);
    if rest.len() != 10 {
        return None;
    }
    Timestamp::parse_rfc3339(&format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z"))
}

/// The text of a string of any of the kinds that names are made of.
fn text(element: &Element<'_>) -> Option<String> {
    let content = element.content;
    match element.tag {
        // UTF-8, printable, IA5.
        0x0C | 0x13 | 0x16 => String::from_utf8(content.to_vec()).ok(),
        // Teletex, which everybody fills with Latin 1.
        0x14 => Some(content.iter().map(|byte| char::from(*byte)).collect()),
        // Universal: four bytes each.
        0x1C => {
            let (chars, []) = content.as_chunks::<4>() else { return None };
            chars.iter().map(|char| char::from_u32(u32::from_be_bytes(*char))).collect()
        }
        // BMP: two bytes each.
        0x1E => {
            let (units, []) = content.as_chunks::<2>() else { return None };
            let units: Vec<u16> = units.iter().map(|unit| u16::from_be_bytes(*unit)).collect();
            String::from_utf16(&units).ok()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, DnValue, KeyPair, date_time_ymd};

    use super::*;

    /// 2024-01-01T00:00:00Z
    const BEGIN: i64 = 1_704_067_200_000;
    /// 2051-03-01T00:00:00Z
    const END: i64 = 2_561_241_600_000;

    fn certificate(common_name: Option<DnValue>) -> Vec<u8> {
        let mut params = CertificateParams::default();
        // One date of each form.
        (params.not_before, params.not_after) = (date_time_ymd(2024, 1, 1), date_time_ymd(2051, 3, 1));
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "An organization");
        if let Some(common_name) = common_name {
            params.distinguished_name.push(DnType::CommonName, common_name);
        }
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[track_caller]
    fn named(common_name: Option<DnValue>, expected: Option<&str>) {
        let der = certificate(common_name);
        assert_eq!(Certificate::parse(&der).unwrap().common_name().as_deref(), expected);
    }

    #[test]
    fn dates_belong_to_the_time_between_them() {
        let der = certificate(None);
        let certificate = Certificate::parse(&der).unwrap();
        for (now, is_valid) in
            [(BEGIN - 1, false), (BEGIN, true), (BEGIN + 1, true), (END + 999, true), (END + 1_000, false)]
        {
            assert_eq!(certificate.is_valid_at(Timestamp(now)), is_valid, "{now}");
        }
        assert_eq!(certificate.not_after(), Timestamp(END));
    }

    #[test]
    fn a_common_name_is_a_text_of_any_kind() {
        named(None, None);
        named(Some(DnValue::Utf8String("Gerät 7".into())), Some("Gerät 7"));
        named(Some(DnValue::PrintableString("dev-1".try_into().unwrap())), Some("dev-1"));
        named(Some(DnValue::Ia5String("dev@home".try_into().unwrap())), Some("dev@home"));
        named(Some(DnValue::BmpString("Ω-1".try_into().unwrap())), Some("Ω-1"));
        named(Some(DnValue::UniversalString("Ω-2".try_into().unwrap())), Some("Ω-2"));
    }

    #[test]
    fn a_part_of_a_certificate_is_none_and_nothing_panics() {
        let der = certificate(Some(DnValue::Utf8String("dev".into())));
        assert!(Certificate::parse(&der).is_ok());
        for end in 0..der.len() {
            assert_eq!(Certificate::parse(&der[..end]), Err(InvalidCertificate), "{end}");
        }
        let longer = [&der[..], &[0]].concat();
        assert_eq!(Certificate::parse(&longer), Err(InvalidCertificate));
        // Whatever a byte is changed to: an answer, and names and dates that can be asked for.
        for at in 0..der.len() {
            for flip in [0x01, 0x80, 0xFF] {
                let mut changed = der.clone();
                changed[at] ^= flip;
                if let Ok(certificate) = Certificate::parse(&changed) {
                    certificate.common_name();
                    certificate.is_valid_at(Timestamp(BEGIN));
                }
            }
        }
    }

    #[test]
    fn a_certificate_is_one_line_however_it_was_written() {
        let der = certificate(None);
        let line = base64_of(&der);
        let body: Vec<&str> =
            line.as_bytes().chunks(64).map(|part| std::str::from_utf8(part).unwrap()).collect();
        let pem = |newline: &str| {
            let body = body.join(newline);
            format!("-----BEGIN CERTIFICATE-----{newline}{body}{newline}-----END CERTIFICATE-----{newline}")
        };
        let spoken = format!("Certificate:\n    Data:\n{}", pem("\n"));
        let chain = format!("{}{}", pem("\n"), pem("\n"));
        for text in [&line, &pem("\n"), &pem("\r\n"), &body.join("\n"), &spoken, &chain] {
            assert_eq!(crate::credentials::one_line(text), line, "{text}");
        }
    }
}
