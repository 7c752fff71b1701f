//! Which part of a payload an answer has.

use std::collections::BTreeMap;

use lodestone_types::{JsonPath, PathSegment, Payload, PayloadSelector};
use serde_json::{Map, Value};

/// A [`PayloadSelector`], its paths merged into a tree once for all rows.
#[derive(Debug)]
pub struct PayloadPicker(Pick);

#[derive(Debug)]
enum Pick {
    Nothing,
    All,
    Include(Tree),
    Exclude(Tree),
}

/// Paths by their first step. `[3]` is kept as a step that leads nowhere: a selector names all elements or none.
#[derive(Debug, Default)]
struct Tree {
    keys: BTreeMap<String, Node>,
    elements: Option<Box<Node>>,
}

#[derive(Debug)]
enum Node {
    /// A path ends here: all that is below.
    Whole,
    Below(Tree),
}

impl PayloadPicker {
    /// Prepares `selector`.
    pub fn new(selector: &PayloadSelector) -> Self {
        Self(match selector {
            PayloadSelector::None => Pick::Nothing,
            PayloadSelector::All => Pick::All,
            PayloadSelector::Include(paths) => Pick::Include(Tree::of(paths)),
            PayloadSelector::Exclude(paths) => Pick::Exclude(Tree::of(paths)),
        })
    }

    /// Whether no payload is wanted at all, so none has to be read.
    pub fn is_nothing(&self) -> bool {
        matches!(self.0, Pick::Nothing)
    }

    /// What is wanted of `payload`.
    pub fn pick(&self, payload: Payload) -> Option<Payload> {
        match &self.0 {
            Pick::Nothing => None,
            Pick::All => Some(payload),
            Pick::Include(tree) => Some(Payload(tree.include_keys(payload.0))),
            Pick::Exclude(tree) => Some(Payload(tree.exclude_keys(payload.0))),
        }
    }
}

impl Tree {
    fn of(paths: &[JsonPath]) -> Self {
        let mut tree = Self::default();
        for path in paths {
            tree.add(&path.0);
        }
        tree
    }

    fn add(&mut self, path: &[PathSegment]) {
        let Some((segment, rest)) = path.split_first() else { return };
        let node = match segment {
            PathSegment::Key(key) => self.keys.entry(key.clone()).or_insert_with(Node::empty),
            PathSegment::Wildcard => self.elements.get_or_insert_with(|| Box::new(Node::empty())),
            PathSegment::Index(_) => return,
        };
        match node {
            Node::Below(tree) if !rest.is_empty() => tree.add(rest),
            // A shorter path has everything below anyway.
            _ => *node = Node::Whole,
        }
    }

    fn include_keys(&self, object: Map<String, Value>) -> Map<String, Value> {
        let wanted = object.into_iter().filter_map(|(key, value)| {
            let value = match self.keys.get(&key)? {
                Node::Whole => value,
                Node::Below(tree) => tree.include(value),
            };
            Some((key, value))
        });
        wanted.collect()
    }

    /// A scalar where the path goes on is kept: there is nothing below that could be left out.
    fn include(&self, value: Value) -> Value {
        match (value, self.elements.as_deref()) {
            (Value::Object(object), _) => Value::Object(self.include_keys(object)),
            (Value::Array(_), None) => Value::Array(Vec::new()),
            (Value::Array(array), Some(Node::Below(tree))) => {
                Value::Array(array.into_iter().map(|element| tree.include(element)).collect())
            }
            (value, _) => value,
        }
    }

    fn exclude_keys(&self, object: Map<String, Value>) -> Map<String, Value> {
        let kept = object.into_iter().filter_map(|(key, value)| match self.keys.get(&key) {
            None => Some((key, value)),
            Some(Node::Whole) => None,
            Some(Node::Below(tree)) => Some((key, tree.exclude(value))),
        });
        kept.collect()
    }

    fn exclude(&self, value: Value) -> Value {
        match (value, self.elements.as_deref()) {
            (Value::Object(object), _) => Value::Object(self.exclude_keys(object)),
            (Value::Array(_), Some(Node::Whole)) => Value::Array(Vec::new()),
            (Value::Array(array), Some(Node::Below(tree))) => {
                Value::Array(array.into_iter().map(|element| tree.exclude(element)).collect())
            }
            (value, _) => value,
        }
    }
}

impl Node {
    fn empty() -> Self {
        Node::Below(Tree::default())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pick(selector: fn(Vec<JsonPath>) -> PayloadSelector, paths: &[&str]) -> Value {
        let payload = json!({
            "a": {"b": 1, "c": {"d": 2}}, "l": [{"x": 1, "y": 2}, {"y": 3}, 4], "s": "text",
        });
        let selector = selector(paths.iter().map(|p| p.parse().unwrap()).collect());
        let picked = PayloadPicker::new(&selector).pick(serde_json::from_value(payload).unwrap());
        Value::Object(picked.unwrap().0)
    }

    #[test]
    fn includes_paths() {
        let include = |paths| pick(PayloadSelector::Include, paths);
        assert_eq!(include(&["a.c", "s"]), json!({"a": {"c": {"d": 2}}, "s": "text"}));
        assert_eq!(include(&["a.b", "a"]), json!({"a": {"b": 1, "c": {"d": 2}}}));
        assert_eq!(include(&["a", "a.b"]), json!({"a": {"b": 1, "c": {"d": 2}}}));
        assert_eq!(include(&["l[].x"]), json!({"l": [{"x": 1}, {}, 4]}));
        assert_eq!(include(&["l[]"]), json!({"l": [{"x": 1, "y": 2}, {"y": 3}, 4]}));
        assert_eq!(include(&["l[0]", "l.x"]), json!({"l": []}));
        assert_eq!(include(&["s.t", "a.none", "none"]), json!({"s": "text", "a": {}}));
        assert_eq!(include(&[]), json!({}));
    }

    #[test]
    fn excludes_paths() {
        let exclude = |paths| pick(PayloadSelector::Exclude, paths);
        assert_eq!(exclude(&["a.c", "l"]), json!({"a": {"b": 1}, "s": "text"}));
        assert_eq!(exclude(&["l[].y", "a"]), json!({"l": [{"x": 1}, {}, 4], "s": "text"}));
        assert_eq!(exclude(&["l[]", "a", "s.t"]), json!({"l": [], "s": "text"}));
        assert_eq!(exclude(&["l[0]", "a", "s"]), json!({"l": [{"x": 1, "y": 2}, {"y": 3}, 4]}));
    }

    #[test]
    fn all_and_nothing() {
        let payload: Payload = serde_json::from_value(json!({"a": 1})).unwrap();
        assert_eq!(PayloadPicker::new(&PayloadSelector::All).pick(payload.clone()), Some(payload.clone()));
        assert_eq!(PayloadPicker::new(&PayloadSelector::None).pick(payload), None);
    }
}
