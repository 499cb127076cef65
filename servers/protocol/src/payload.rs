//! What a message says: a pure function of (seed, channel, sequence).
//!
//! Place on the data path: before the hub (the publisher asks for the payload of each message of
//! its schedule) and after the client (`verify` compares what arrived byte for byte). Because the
//! payload depends on nothing else, anyone can check it, and a restarted server can refill its
//! ring from the schedule.

use serde::{Deserialize, Serialize};

/// What kind of text a payload is. All kinds are valid UTF-8 without CR or LF.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum PayloadKind {
    /// A JSON object such as a dashboard would push; compresses well.
    #[default]
    Json,
    /// Words in several scripts: one to four bytes a character.
    Text,
    /// Base64-like characters, six bits of entropy a byte: as incompressible as text can be.
    Random,
}

/// Appends the payload of one message to `out`: exactly `bytes` bytes.
pub fn write(
    kind: PayloadKind,
    seed: u64,
    channel: u32,
    sequence: u64,
    bytes: usize,
    out: &mut Vec<u8>,
) {
    let end = out.len() + bytes;
    let mut random = SplitMix64::new(
        seed ^ u64::from(channel).wrapping_mul(0x9e37_79b9_7f4a_7c15)
            ^ sequence.wrapping_mul(0xd1b5_4a32_d192_ed03),
    );
    match kind {
        PayloadKind::Json => json(&mut random, channel, sequence, end, out),
        PayloadKind::Text => text(&mut random, end, out),
        PayloadKind::Random => {
            while out.len() < end {
                push_random(random.next(), end, out);
            }
        }
    }
    debug_assert_eq!(out.len(), end);
}

fn json(random: &mut SplitMix64, channel: u32, sequence: u64, end: usize, out: &mut Vec<u8>) {
    let start = out.len();
    let room = end - start;
    let bits = random.next();
    let state = ["queued", "running", "done", "failed"][(bits >> 40) as usize & 3];
    let mut head = format!(
        r#"{{"channel":{channel},"revision":{sequence},"value":{}.{:02},"change":{},"state":"{state}","note":""#,
        bits % 10_000,
        bits >> 16 & 63,
        (bits >> 24) as i8,
    );
    if head.len() + 2 > room {
        head = format!(r#"{{"revision":{sequence},"state":"{state}","note":""#);
    }
    if head.len() + 2 <= room {
        out.extend_from_slice(head.as_bytes());
        while out.len() + 2 < end {
            let word = WORDS[(random.next() % WORDS.len() as u64) as usize].as_bytes();
            let take = word.len().min(end - 2 - out.len());
            out.extend_from_slice(&word[..take]);
        }
        out.extend_from_slice(b"\"}");
    } else {
        // Too small for an object: digits are valid JSON of any length (a leading digit of 1-9).
        for i in 0..room {
            let digit = (bits >> (i % 16 * 4)) as u8 % 9;
            out.push(b'1' + digit);
        }
    }
}

/// ASCII, so that `json` may cut a word anywhere.
const WORDS: [&str; 12] = [
    "order ", "shipped ", "sensor ", "raised ", "by ", "user ", "in ", "queue ", "retry ",
    "after ", "commit ", "latency ",
];

/// Runs of one to four bytes a character.
const PHRASES: [&str; 8] = [
    "status ",
    "żółw ",
    "температура ",
    "温度 ",
    "気温 ",
    "παλμός ",
    "🚚 ",
    "naïve ",
];

fn text(random: &mut SplitMix64, end: usize, out: &mut Vec<u8>) {
    'fill: loop {
        for character in PHRASES[random.next() as usize % PHRASES.len()].chars() {
            if out.len() + character.len_utf8() > end {
                break 'fill;
            }
            out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
    // A character that did not fit leaves up to three bytes: a character is never cut.
    out.resize(end, b'.');
}

fn push_random(bits: u64, end: usize, out: &mut Vec<u8>) {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    for i in 0..10.min(end - out.len()) {
        out.push(ALPHABET[(bits >> (6 * i)) as usize & 63]);
    }
}

/// SplitMix64 (Steele, Lea, Flood: *Fast Splittable Pseudorandom Number Generators*, OOPSLA 2014).
///
/// Own code on purpose: payloads, phases and orders must come out the same from one seed in every
/// version of every dependency, for as long as records are compared.
#[derive(Debug, Clone)]
pub struct SplitMix64(u64);

impl SplitMix64 {
    /// A generator whose whole sequence follows from `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits, uniformly distributed.
    #[allow(clippy::should_implement_trait)] // it never ends, so it is not an iterator
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `0..bound`; 0 where `bound` is 0. The bias is below 2^-32 for 32-bit bounds.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(kind: PayloadKind, bytes: usize, sequence: u64) -> Vec<u8> {
        let mut out = b"kept".to_vec();
        write(kind, 7, 3, sequence, bytes, &mut out);
        assert_eq!(&out[..4], b"kept");
        out.split_off(4)
    }

    #[test]
    fn every_kind_and_size_is_exact_valid_and_repeatable() {
        for kind in [PayloadKind::Json, PayloadKind::Text, PayloadKind::Random] {
            for bytes in (0..400).chain([4096, 65_485]) {
                let payload = one(kind, bytes, 9);
                assert_eq!(payload.len(), bytes, "{kind:?}");
                assert!(
                    crate::envelope::payload_is_valid(&payload),
                    "{kind:?} {bytes}"
                );
                assert_eq!(payload, one(kind, bytes, 9));
            }
        }
    }

    #[test]
    fn json_payloads_parse_as_json() {
        for bytes in 1..300 {
            let payload = one(PayloadKind::Json, bytes, 12);
            let parsed: Result<serde_json::Value, _> = serde_json::from_slice(&payload);
            assert!(
                parsed.is_ok(),
                "{bytes}: {}",
                String::from_utf8_lossy(&payload)
            );
        }
    }

    #[test]
    fn json_payloads_of_the_usual_size_are_objects() {
        // 128 bytes with the head of the envelope, as in the built-in scenarios.
        for sequence in [1, 1_000_000] {
            let payload = one(PayloadKind::Json, 77, sequence);
            let parsed: serde_json::Value = serde_json::from_slice(&payload).expect("JSON");
            assert!(parsed.is_object(), "{parsed}");
        }
    }

    #[test]
    fn text_payloads_hold_multi_byte_characters() {
        let payload = String::from_utf8(one(PayloadKind::Text, 300, 1)).expect("UTF-8");
        assert!(payload.chars().count() < 300);
    }

    #[test]
    fn messages_differ_by_sequence() {
        assert_ne!(
            one(PayloadKind::Random, 64, 1),
            one(PayloadKind::Random, 64, 2)
        );
    }

    #[test]
    fn split_mix_gives_the_published_sequence_for_seed_1234567() {
        let mut random = SplitMix64::new(1_234_567);
        let first: Vec<u64> = (0..3).map(|_| random.next()).collect();
        assert_eq!(
            first,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423
            ]
        );
    }
}
