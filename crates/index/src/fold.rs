//! Folding of letters with accents and of ligatures to plain ASCII letters (`é` to `e`, `ß` to `ss`).
//! Letters of other scripts stay as they are.

use std::borrow::Cow;

use unicode_normalization::char::{decompose_compatible, is_combining_mark};

/// `text` with every letter that has an ASCII form replaced by it.
pub(crate) fn to_ascii(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    let mut folded = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii() {
            folded.push(c);
        } else if let Some(plain) = without_decomposition(c) {
            folded.push_str(plain);
        } else if is_combining_mark(c) && folded.ends_with(|last: char| last.is_ascii()) {
            // An accent written as a character of its own, after the letter it belongs to.
        } else {
            push_decomposed(c, &mut folded);
        }
    }
    Cow::Owned(folded)
}

fn push_decomposed(c: char, folded: &mut String) {
    let start = folded.len();
    let mut is_latin = true;
    decompose_compatible(c, |part| {
        if part.is_ascii() {
            folded.push(part);
        } else if !is_combining_mark(part) {
            is_latin = false;
        }
    });
    if !is_latin || folded.len() == start {
        folded.truncate(start);
        folded.push(c);
    }
}

/// Latin letters that Unicode does not take apart.
fn without_decomposition(c: char) -> Option<&'static str> {
    Some(match c {
        'ß' => "ss",
        'ẞ' => "SS",
        'æ' | 'ǽ' => "ae",
        'Æ' | 'Ǽ' => "AE",
        'œ' => "oe",
        'Œ' => "OE",
        'ø' | 'ǿ' => "o",
        'Ø' | 'Ǿ' => "O",
        'đ' | 'ð' | 'ƌ' => "d",
        'Đ' | 'Ð' => "D",
        'ħ' => "h",
        'Ħ' => "H",
        'ı' => "i",
        'ł' | 'ƚ' => "l",
        'Ł' => "L",
        'ŋ' => "n",
        'Ŋ' => "N",
        'þ' => "th",
        'Þ' => "TH",
        'ŧ' => "t",
        'Ŧ' => "T",
        'ƒ' => "f",
        'ĸ' => "k",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::to_ascii;

    #[test]
    fn folds_latin_and_leaves_the_rest() {
        for (text, folded) in [
            ("plain", "plain"),
            ("Café Größe", "Cafe Grosse"),
            ("İstanbul", "Istanbul"),
            ("ﬁre", "fire"),
            ("cafe\u{301}", "cafe"),
            ("Łódź", "Lodz"),
            ("привет", "привет"),
            ("日本語", "日本語"),
            ("ёлка", "ёлка"),
        ] {
            assert_eq!(to_ascii(text), folded);
        }
    }
}
