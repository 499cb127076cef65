//! Histograms as they travel: HdrHistogram's V2 form in base64.
//!
//! On the data path: next to it. In: a histogram. Out: text that fits into JSON, and back. What comes back is
//! checked before anything is allocated by it: a header of 40 bytes could ask for gigabytes.

use std::io::Read;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::read::ZlibDecoder;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2Serializer};

/// Longest time that a histogram of ours distinguishes, in ns: an hour. Longer ones count as an hour.
pub const MAX_NS: u64 = 3_600_000_000_000;

/// Significant decimal digits of every histogram: values are right to 0.1%.
pub const DIGITS: u8 = 3;

/// Bytes in front of the counts: two words that say what they are and how many, five fields.
const HEADER_BYTES: usize = 40;

/// Most bytes of a histogram, not compressed. Within the bounds there are some 32,000 counts of nine bytes at
/// most.
const MAX_BYTES: usize = 512 << 10;

/// What the V2 form begins with, and the same compressed, without the bits that say how long a count may be.
const V2: u32 = 0x1c84_9303;
const V2_COMPRESSED: u32 = 0x1c84_9304;

/// A count of -2^63, which would be so many zeros.
const NO_COUNT: [u8; 9] = [0xff; 9];

/// An empty histogram with the bounds that all of ours share, so that any two can be added.
///
/// # Panics
/// Never: the bounds are constants that fit.
pub fn empty() -> Histogram<u64> {
    Histogram::new_with_bounds(1, MAX_NS, DIGITS).expect("the bounds are constants that fit")
}

/// A histogram in HdrHistogram's V2 form, base64, as it travels over the control protocol.
pub fn encode(histogram: &Histogram<u64>) -> String {
    let mut bytes = Vec::new();
    V2Serializer::new()
        .serialize(histogram, &mut bytes)
        .expect("writing to memory does not fail, and the counts are below 2^63");
    STANDARD.encode(bytes)
}

/// The opposite of [`encode`]; takes the compressed form too, which logs have.
///
/// # Errors
/// A text that says what is wrong with it.
pub fn decode(text: &str) -> Result<Histogram<u64>, String> {
    let bytes = STANDARD.decode(text);
    let bytes = bytes.map_err(|e| format!("a histogram must be base64: {e}"))?;
    let bytes = match bytes.split_first_chunk() {
        Some((cookie, rest)) if kind(*cookie) == V2_COMPRESSED => {
            // After the length of what is compressed, which the text says itself.
            let mut whole = Vec::new();
            ZlibDecoder::new(rest.get(4..).unwrap_or_default())
                .take(MAX_BYTES as u64 + 1)
                .read_to_end(&mut whole)
                .map_err(|e| format!("a histogram must be compressed with zlib: {e}"))?;
            whole
        }
        _ => bytes,
    };
    check(&bytes)?;
    Deserializer::new()
        .deserialize(&mut bytes.as_slice())
        .map_err(|e| format!("a histogram must be in HdrHistogram's V2 form: {e}"))
}

/// The first word without the four bits that say how long a count may be.
fn kind(cookie: [u8; 4]) -> u32 {
    u32::from_be_bytes(cookie) & !0xf0
}

/// Whether the header says what the bytes are, and nothing beyond our bounds.
fn check(bytes: &[u8]) -> Result<(), String> {
    let word = |at: usize| bytes.get(at..).and_then(<[u8]>::first_chunk).copied();
    let long = |at: usize| {
        let field = bytes.get(at..).and_then(<[u8]>::first_chunk);
        field.map(|field| u64::from_be_bytes(*field))
    };
    let header = || {
        let (cookie, length, digits) = (word(0)?, word(4)?, word(12)?);
        let (length, digits) = (u32::from_be_bytes(length), u32::from_be_bytes(digits));
        Some((kind(cookie), length as usize, digits, long(16)?, long(24)?))
    };
    let rest = bytes.len().saturating_sub(HEADER_BYTES);
    match header() {
        Some((V2, length, digits, 1, high)) => {
            if bytes.len() < HEADER_BYTES || length != rest || bytes.len() > MAX_BYTES {
                let most = MAX_BYTES;
                return Err(format!(
                    "a histogram must hold as many bytes as it says, {most} at most: it says {length} \
                     after {HEADER_BYTES}, of {} in all",
                    bytes.len()
                ));
            }
            if digits != u32::from(DIGITS) || high > MAX_NS {
                return Err(format!(
                    "a histogram must have {DIGITS} digits and values up to {MAX_NS}: it has {digits}, \
                     and {high}"
                ));
            }
            if bytes
                .windows(NO_COUNT.len())
                .any(|window| window == NO_COUNT)
            {
                return Err("a histogram must have counts below 2^56".to_owned());
            }
            Ok(())
        }
        _ => Err("a histogram must be in HdrHistogram's V2 form, with values from 1".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Histogram<u64> {
        let mut histogram = empty();
        for ns in [1, 1_000, 1_000_000, MAX_NS] {
            histogram
                .record_n(ns, 3 * ns / 2 % 1_000 + 1)
                .expect("in bounds");
        }
        histogram
    }

    #[test]
    fn a_histogram_comes_back_from_either_form() {
        let histogram = sample();
        assert_eq!(decode(&encode(&histogram)), Ok(histogram.clone()));
        let mut bytes = Vec::new();
        let mut serializer = hdrhistogram::serialization::V2DeflateSerializer::new();
        serializer
            .serialize(&histogram, &mut bytes)
            .expect("memory");
        assert_eq!(decode(&STANDARD.encode(bytes)), Ok(histogram));
        // All counts that fit, as large as they may be.
        let mut full = empty();
        let mut ns = 1;
        while ns < MAX_NS {
            full.record_n(ns, 1 << 55).expect("in bounds");
            ns = full.next_non_equivalent(ns);
        }
        assert_eq!(decode(&encode(&full)), Ok(full));
    }

    /// The bytes of a header, and no count.
    fn header(cookie: u32, length: u32, digits: u32, low: u64, high: u64) -> Vec<u8> {
        let words = [cookie, length, 0, digits].map(u32::to_be_bytes).concat();
        let longs = [low, high, 1f64.to_bits()].map(u64::to_be_bytes).concat();
        [words, longs].concat()
    }

    #[test]
    fn what_would_take_memory_is_refused_before_it_is_allocated() {
        let v2 = 0x1c84_9313;
        for (bytes, why) in [
            (
                header(v2, u32::MAX, 3, 1, MAX_NS),
                "as many bytes as it says",
            ),
            (header(v2, 0, 5, 1, MAX_NS), "must have 3 digits"),
            (header(v2, 0, 3, 1, u64::MAX), "values up to 3600000000000"),
            (header(v2, 0, 3, 7, MAX_NS), "with values from 1"),
            (header(7, 0, 3, 1, MAX_NS), "HdrHistogram's V2 form"),
            (
                header(v2, 0, 3, 1, MAX_NS)[..39].to_vec(),
                "as many bytes as it says",
            ),
            (
                [header(v2, 9, 3, 1, MAX_NS), NO_COUNT.to_vec()].concat(),
                "counts below 2^56",
            ),
            (Vec::new(), "HdrHistogram's V2 form"),
        ] {
            let error = decode(&STANDARD.encode(bytes)).expect_err(why);
            assert!(error.contains(why), "{error}");
        }
        // A gigabyte of zeros takes a megabyte when compressed.
        let zeros = std::io::repeat(0).take(64 << 20);
        let mut bomb = Vec::new();
        flate2::read::ZlibEncoder::new(zeros, flate2::Compression::fast())
            .read_to_end(&mut bomb)
            .expect("memory");
        let bomb = [&0x1c84_9314u32.to_be_bytes()[..], &[0; 4], &bomb].concat();
        assert!(decode(&STANDARD.encode(bomb)).is_err());
        assert!(decode("?").is_err());
    }

    proptest::proptest! {
        #[test]
        fn a_damaged_histogram_is_an_error_or_another_histogram(
            at in 0usize..200,
            byte: u8,
            cut in 0usize..200,
        ) {
            let mut bytes = STANDARD.decode(encode(&sample())).expect("base64");
            let place = at % bytes.len();
            bytes[place] = byte;
            bytes.truncate(bytes.len() - cut % bytes.len() / 4);
            let _ = decode(&STANDARD.encode(bytes));
        }
    }
}
