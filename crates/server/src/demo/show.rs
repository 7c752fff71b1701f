//! What the demo prints, made to fit 80 columns. Pure: hits in, text out.

use std::time::Duration;

use lodestone_types::ScoredPoint;
use serde_json::Value;

use super::data::Query;
use crate::paint::Paint;

const WORDS: usize = 26;
const DEFINITION: usize = 39;

/// One search: the sentence, how it was asked, and its hits.
pub fn search(paint: Paint, number: usize, query: &Query, hits: &[ScoredPoint], took: Duration) -> String {
    let how = match &query.topic {
        Some(topic) => format!("the same, only where topic = {topic}"),
        None => "the nearest by meaning".to_owned(),
    };
    let quoted = format!("\u{201c}{}\u{201d}", query.text);
    let mut text = format!("\n  {}  {}\n", paint.accent(&number.to_string()), paint.strong(&quoted));
    text += &format!("     {}\n\n", paint.faint(&format!("{how}, {}", duration(took))));
    for hit in hits {
        text += &line(paint, hit);
    }
    text
}

fn line(paint: Paint, hit: &ScoredPoint) -> String {
    let value = |key: &str| hit.payload.as_ref().and_then(|payload| payload.0.get(key));
    let words: Vec<&str> =
        value("words").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let words = fit(&words.join(", "), WORDS);
    let definition = fit(value("definition").and_then(Value::as_str).unwrap_or_default(), DEFINITION);
    let padding = " ".repeat(WORDS - words.chars().count());
    let score = paint.accent(&format!("{:.3}", hit.score));
    format!("     {score}  {}{padding}  {}\n", paint.strong(&words), definition)
}

/// At most `width` characters; what is cut is cut at a word where there is one and ends in an ellipsis.
fn fit(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let head: String = text.chars().take(width - 1).collect();
    let at_word = head.rfind(' ').filter(|at| *at > width / 2).unwrap_or(head.len());
    format!("{}\u{2026}", head[..at_word].trim_end_matches([',', ';', ' ']))
}

/// `1.2 ms`, `12 ms` or `1.2 s`.
pub fn duration(took: Duration) -> String {
    match took.as_secs_f64() {
        s if s < 0.01 => format!("{:.1} ms", s * 1e3),
        s if s < 1.0 => format!("{:.0} ms", s * 1e3),
        s => format!("{s:.1} s"),
    }
}

/// What to try next: commands that work as they stand.
pub fn next_steps(paint: Paint, url: &str, store: &str, key: bool) -> String {
    let (curl_key, python_key) = match key {
        true => ("\n        -H \"api-key: $LODESTONE_API_KEY\" \\", ", api_key=\"...\""),
        false => ("", ""),
    };
    let title = |text: &str| paint.strong(text);
    let note = |text: &str| paint.faint(text);
    format!(
        "\n  {}  {}\n
     curl -s {url}/collections/demo/points/query \\{curl_key}
        -H 'content-type: application/json' \\
        -d '{{\"query\": 62279, \"limit\": 3, \"with_payload\": [\"words\"]}}'\n
  {}  {}\n
     from qdrant_client import QdrantClient
     client = QdrantClient(\"{url}\"{python_key})
     for hit in client.query_points(\"demo\", query=62279, limit=3).points:
         print(round(hit.score, 3), hit.payload[\"words\"])\n
  {} {url}. Ctrl-C stops it;
  what was written is in {store}.\n",
        title("Now you"),
        note("(62279 is the storm; near it are other storms)"),
        title("Or in Python"),
        note("pip install qdrant-client"),
        paint.accent("Serving on"),
    )
}

#[cfg(test)]
mod tests {
    use lodestone_types::{Payload, PointId};
    use serde_json::json;

    use super::*;

    fn hit(words: &[&str], definition: &str) -> ScoredPoint {
        let payload = json!({ "words": words, "definition": definition });
        let payload = Payload(payload.as_object().cloned().unwrap());
        ScoredPoint {
            id: PointId::Num(1),
            score: 0.76123,
            version: 1,
            payload: Some(payload),
            vectors: None,
            order_value: None,
        }
    }

    #[test]
    fn every_line_fits_eighty_columns() {
        let query = Query { text: "rain".into(), vector: vec![], topic: Some("noun.animal".into()) };
        let long = "a very long definition that goes on and on; and on, with no end in sight at all";
        let hits =
            [hit(&["rain", "rainfall"], "water"), hit(&["pneumonoultramicroscopicsilicosis", "x"], long)];
        let text = search(Paint::plain(), 2, &query, &hits, Duration::from_micros(1234));
        assert!(
            text.contains("0.761  rain, rainfall ")
                && text.contains("1.2 ms")
                && text.contains("noun.animal")
        );
        let steps = next_steps(Paint::plain(), "http://127.0.0.1:6333", "./lodestone-demo", true);
        for line in text.lines().chain(steps.lines()) {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }

    #[test]
    fn durations_have_two_digits_or_so() {
        for (ms, text) in [(3, "3.0 ms"), (42, "42 ms"), (1250, "1.2 s")] {
            assert_eq!(duration(Duration::from_millis(ms)), text);
        }
    }

    #[test]
    fn cutting_keeps_whole_words_and_counts_characters() {
        assert_eq!(fit("short", 10), "short");
        assert_eq!(fit("one two, three", 10), "one two\u{2026}");
        assert_eq!(fit("\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}", 4), "\u{e9}\u{e9}\u{e9}\u{2026}");
    }
}
