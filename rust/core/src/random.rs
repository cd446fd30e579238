//! Counter-based random draws: each is a function of what it is drawn for, whoever computes it.

/// What a draw is for; keeps the streams of different uses apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Purpose {
    /// How often an episode is drawn in a replicate.
    Bootstrap = 0,
    /// Which true values are drawn for a prediction.
    Truth = 1,
    /// Which of several tied policies make the shortlist.
    Ties = 2,
    /// Which episodes are held out.
    Folds = 3,
    /// Which episode is drawn next in a replicate with replacement.
    Multinomial = 4,
}

/// Hash of an integer that names something, such as an episode: the finish of splitmix64.
pub fn hash_integer(id: i64) -> u64 {
    let mut z = (id as u64).wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Hash of a text that names something: XXH3-64 of its UTF-8 bytes.
pub fn hash_text(id: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64(id.as_bytes())
}

/// Philox4x64-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").
///
/// numpy's `Philox(key=key, counter=counter)` adds 1 to its 256-bit counter, least significant
/// word first, before every block: its first block is the one of `counter + 1` here.
#[inline(always)]
pub fn philox(key: [u64; 2], counter: [u64; 4]) -> [u64; 4] {
    let [mut k0, mut k1] = key;
    let mut c = counter;
    for _ in 0..10 {
        let (hi0, lo0) = multiply(0xD2E7_470E_E14C_6C93, c[0]);
        let (hi1, lo1) = multiply(0xCA5A_8263_9512_1157, c[2]);
        c = [hi1 ^ c[1] ^ k0, lo1, hi0 ^ c[3] ^ k1, lo0];
        k0 = k0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        k1 = k1.wrapping_add(0xBB67_AE85_84CA_A73B);
    }
    c
}

#[inline(always)]
fn multiply(a: u64, b: u64) -> (u64, u64) {
    let product = u128::from(a) * u128::from(b);
    ((product >> 64) as u64, product as u64)
}

/// The uniforms on `0..2^32` of one item for the eight replicates `8 octet .. 8 octet + 8`.
#[inline(always)]
pub fn uniforms(seed: u64, item: u64, octet: u64, purpose: Purpose) -> [u32; 8] {
    let words = philox([seed, 0], [item, octet, purpose as u64, 0]);
    std::array::from_fn(|i| (words[i / 2] >> (32 * (i % 2))) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_those_of_numpy() {
        // np.random.Philox(key=np.array(key, np.uint64), counter=np.array(counter, np.uint64))
        //   .random_raw(8), of numpy 2.4.6: the blocks of counter + 1 and counter + 2.
        let cases = [
            (
                [0, 0],
                [[1, 0, 0, 0], [2, 0, 0, 0]],
                [
                    [
                        0x02F4_BA64_08E4_D89B,
                        0x3DD6_2B0B_9CA8_C5B2,
                        0x1C86_67A5_5D90_2E79,
                        0x907D_7A05_2FD5_B4DC,
                    ],
                    [
                        0x809B_F322_8839_87C3,
                        0x4711_28B9_E807_F7DD,
                        0xF250_BA0D_BEC0_65B7,
                        0xFC6E_D667_67A4_57BC,
                    ],
                ],
            ),
            (
                // The counter before was [2^64 - 1, 3, 0, 0]: the increment carries.
                [7, 0],
                [[0, 4, 0, 0], [1, 4, 0, 0]],
                [
                    [
                        0xB1BF_2484_E762_CEF7,
                        0xC35A_9370_590F_2B0C,
                        0x9B91_6A95_3116_3E59,
                        0x1170_A8A7_5D73_34E0,
                    ],
                    [
                        0x3E1F_085E_1729_051F,
                        0x19B6_F49D_608A_6F1C,
                        0x2546_C4B7_9E6F_8BB1,
                        0x6097_7CC7_480F_73EB,
                    ],
                ],
            ),
            (
                // All ones before: the increment wraps round to 0.
                [u64::MAX, u64::MAX],
                [[0, 0, 0, 0], [1, 0, 0, 0]],
                [
                    [
                        0x44B7_493D_1ACF_C229,
                        0x6636_AF8E_9979_21DD,
                        0x3F73_E132_B5B3_780E,
                        0x6056_44DD_E03B_01B1,
                    ],
                    [
                        0x6D46_CC0E_71F0_BE7E,
                        0x924E_A169_3F9A_8BC0,
                        0xFDC3_5F01_98C9_1181,
                        0xB4A3_11F1_7AA6_568D,
                    ],
                ],
            ),
        ];
        for (key, counters, blocks) in cases {
            assert_eq!(counters.map(|counter| philox(key, counter)), blocks);
        }
    }

    #[test]
    fn uniforms_are_the_halves_of_a_block_low_half_first() {
        let words = philox([5, 0], [17, 3, 2, 0]);
        let halves = words.map(|word| [word & 0xFFFF_FFFF, word >> 32]);
        let drawn = uniforms(5, 17, 3, Purpose::Ties).map(u64::from);
        assert_eq!(drawn[..], halves.concat());
    }
}
