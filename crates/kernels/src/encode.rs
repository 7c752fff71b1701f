//! Vectors to rows and back.

use half::f16;

use crate::{Element, Metric};

/// The greatest number in half precision.
pub const F16_MOST: f32 = 65_504.0;

/// Scales `vector` to length 1. One whose squared length is below `f32::EPSILON` or within 1e-6 of 1 stays
/// as it is, so zero vectors stay zero and normalising twice changes nothing.
pub fn normalize(vector: &mut [f32]) {
    // In f64: a sum of thousands of f32 would be off by more than what counts as length 1.
    let squared: f64 = vector.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
    if squared < f64::from(f32::EPSILON) || (squared - 1.0).abs() <= 1.0e-6 {
        return;
    }
    let length = squared.sqrt() as f32;
    for x in vector {
        *x /= length;
    }
}

/// What is done to a vector before it is encoded as a row or compared as a query.
pub fn prepare(metric: Metric, element: Element, vector: &mut [f32]) {
    if metric == Metric::Cosine && element != Element::U8 {
        normalize(vector);
    }
}

/// Appends `vector` as a row. Half precision rounds to the nearest number that it has, which is [`F16_MOST`] for all beyond it; `u8` truncates
/// toward zero and clamps to 0..=255.
pub fn encode(element: Element, vector: &[f32], row: &mut Vec<u8>) {
    row.reserve(vector.len() * element.bytes());
    match element {
        Element::F32 => row.extend(vector.iter().flat_map(|x| x.to_le_bytes())),
        Element::F16 => {
            let rounded = |x: f32| f16::from_f32(x.clamp(-F16_MOST, F16_MOST));
            row.extend(vector.iter().flat_map(|&x| rounded(x).to_le_bytes()));
        }
        Element::U8 => row.extend(vector.iter().map(|&x| x as u8)),
    }
}

/// Appends the components of `row`. Bytes after the last whole component are ignored.
pub fn decode(element: Element, row: &[u8], vector: &mut Vec<f32>) {
    vector.reserve(row.len() / element.bytes());
    match element {
        Element::F32 => vector.extend(row.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b))),
        Element::F16 => vector.extend(row.as_chunks().0.iter().map(|&b| f16::from_le_bytes(b).to_f32())),
        Element::U8 => vector.extend(row.iter().map(|&b| f32::from(b))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalizes_once_and_leaves_zero() {
        let mut v = vec![3.0, 4.0];
        normalize(&mut v);
        assert_eq!(v, [0.6, 0.8]);
        let once = v.clone();
        normalize(&mut v);
        assert_eq!(v, once);
        let mut zero = vec![0.0; 3];
        normalize(&mut zero);
        assert_eq!(zero, [0.0; 3]);
        let mut huge = vec![3.0e30, 4.0e30];
        normalize(&mut huge);
        assert!((huge[0] - 0.6).abs() < 1e-6 && (huge[1] - 0.8).abs() < 1e-6);
    }

    #[test]
    fn normalizing_twice_changes_nothing_however_long() {
        for dim in [3, 384, 8192] {
            let mut v: Vec<f32> = (0..dim).map(|i| (i as f32 * 1.7).sin() * 3.0 + 0.1).collect();
            normalize(&mut v);
            let once = v.clone();
            normalize(&mut v);
            assert_eq!(v, once);
        }
    }

    #[test]
    fn u8_truncates_and_clamps() {
        let mut row = Vec::new();
        encode(Element::U8, &[-3.0, 0.9, 1.99, 255.0, 256.0, 1e9, f32::NAN], &mut row);
        assert_eq!(row, [0, 0, 1, 255, 255, 255, 0]);
        let mut back = Vec::new();
        decode(Element::U8, &row, &mut back);
        assert_eq!(back, [0.0, 0.0, 1.0, 255.0, 255.0, 255.0, 0.0]);
    }

    #[test]
    fn half_precision_ends_with_its_greatest_number() {
        let mut row = Vec::new();
        encode(Element::F16, &[65_519.0, 65_520.0, -1e30, f32::MAX], &mut row);
        let mut back = Vec::new();
        decode(Element::F16, &row, &mut back);
        assert_eq!(back, [F16_MOST, F16_MOST, -F16_MOST, F16_MOST]);
    }

    #[test]
    fn floats_come_back() {
        for (element, values) in [
            (Element::F32, vec![1.5, -0.1, f32::MAX, f32::MIN_POSITIVE]),
            (Element::F16, vec![1.5, -0.25, 65504.0, 6.0e-8_f32]),
        ] {
            let (mut row, mut back) = (Vec::new(), Vec::new());
            encode(element, &values, &mut row);
            assert_eq!(row.len(), values.len() * element.bytes());
            decode(element, &row, &mut back);
            for (a, b) in values.iter().zip(&back) {
                assert!((a - b).abs() <= 6.0e-8, "{a} {b}");
            }
        }
    }
}
