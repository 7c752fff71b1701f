//! Chunks of a file to points, checked against the collection. Every error names the file, the place and what to change.

use half::f16;
use lodestone_api::{check, lines};
use lodestone_types::{Error, NamedVectors, Payload, Point, PointId, Result};
use serde_json::Value;

use super::digest::Schema;
use super::npy::{Component, Header};
use super::source::{Chunk, Format, Source};

/// What turns the chunks of one file into points.
pub struct Decoder {
    source: Source,
    schema: Schema,
    /// The vector that rows are.
    vector: String,
    /// The id of row 0.
    first_id: u64,
}

impl Decoder {
    /// Checks what can be told before a row is read.
    pub fn new(source: &Source, schema: &Schema, vector: &str, first_id: u64) -> Result<Self> {
        let decoder =
            Self { source: source.clone(), schema: schema.clone(), vector: vector.to_owned(), first_id };
        if let Some(header) = source.rows() {
            let fits = decoder.fits(vector, header.size);
            fits.map_err(|e| Error::bad_request(format!("{}: {e}", source.path.display())))?;
            if first_id.checked_add(header.rows).is_none() {
                return Err(Error::bad_request("--first-id is so large that ids would not fit into 64 bits"));
            }
        }
        Ok(decoder)
    }

    /// The vectors of the collection.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// The points of a chunk.
    pub fn points(&self, chunk: &Chunk) -> Result<Vec<Point>> {
        match self.source.rows() {
            None => self.lines(chunk),
            Some(header) => self.rows(header, chunk),
        }
    }

    /// Where point `index` of a chunk stands, for people.
    pub fn place(&self, chunk: &Chunk, index: usize) -> String {
        let path = self.source.path.display();
        match &self.source.format {
            Format::Lines => {
                let full = split(&chunk.bytes).enumerate().filter(|(_, line)| !line.is_empty());
                let line = full.map(|(at, _)| at as u64).nth(index).unwrap_or_default();
                format!("{path} line {}", chunk.start.lines + line + 1)
            }
            Format::Npy { .. } | Format::Parquet(_) => {
                format!("{path} row {}", chunk.start.points + index as u64)
            }
        }
    }

    fn lines(&self, chunk: &Chunk) -> Result<Vec<Point>> {
        let full = split(&chunk.bytes).enumerate().filter(|(_, line)| !line.is_empty());
        full.map(|(at, line)| {
            let point = lines::point(line).and_then(|point| self.checked(point));
            point.map_err(|e| {
                let (path, line) = (self.source.path.display(), chunk.start.lines + at as u64 + 1);
                Error::bad_request(format!("{path} line {line}: {e}"))
            })
        })
        .collect()
    }

    fn rows(&self, header: &Header, chunk: &Chunk) -> Result<Vec<Point>> {
        let mut payloads = chunk.payloads.as_deref().map(split);
        let rows = chunk.bytes.chunks_exact(header.row_bytes() as usize).zip(chunk.start.points..);
        rows.map(|(bytes, row)| {
            let vector = components(header.component, bytes);
            check::vector(&vector)
                .map_err(|e| Error::bad_request(format!("{} row {row}: {e}", self.source.path.display())))?;
            let payload = match &mut payloads {
                Some(texts) => self.payload(texts.next().unwrap_or_default(), row)?,
                None => Payload::default(),
            };
            let vectors = NamedVectors(vec![(self.vector.clone(), vector)]);
            let given = chunk.ids.as_ref().and_then(|ids| ids.get((row - chunk.start.points) as usize));
            Ok(Point { id: given.copied().unwrap_or(PointId::Num(self.first_id + row)), vectors, payload })
        })
        .collect()
    }

    fn payload(&self, text: &[u8], row: u64) -> Result<Payload> {
        let payload = match text {
            b"" | b"null" => Ok(Payload::default()),
            text => lines::payload(text),
        };
        payload.and_then(carried).map_err(|e| {
            let place = match &self.source.format {
                Format::Npy { payloads: Some(path), .. } => format!("{} line {}", path.display(), row + 1),
                _ => format!("{} row {row}", self.source.path.display()),
            };
            Error::bad_request(format!("{place}: {e}"))
        })
    }

    fn checked(&self, point: Point) -> Result<Point> {
        for (name, vector) in &point.vectors.0 {
            self.fits(name, vector.len() as u64)?;
        }
        let payload = carried(point.payload)?;
        Ok(Point { payload, ..point })
    }

    /// Whether the collection takes `size` components as its vector `name`.
    fn fits(&self, name: &str, size: u64) -> Result<()> {
        let shown = |name: &str| match name {
            "" => "the unnamed vector".to_owned(),
            name => format!("the vector `{name}`"),
        };
        match self.schema.get(name) {
            Some(params) if params.size == size => Ok(()),
            Some(params) => Err(Error::bad_request(format!(
                "{} has {size} components, the collection takes {}",
                shown(name),
                params.size
            ))),
            None => {
                let known: Vec<String> = self.schema.keys().map(|name| shown(name)).collect();
                let known = if known.is_empty() { "no vectors".to_owned() } else { known.join(" and ") };
                Err(Error::bad_request(format!("the collection has {known}, not {}", shown(name))))
            }
        }
    }
}

/// Lines without what is around them.
fn split(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii)
}

fn components(component: Component, bytes: &[u8]) -> Vec<f32> {
    match component {
        Component::F32 => bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        Component::F16 => bytes.as_chunks().0.iter().map(|b| f16::from_le_bytes(*b).to_f32()).collect(),
        Component::U8 => bytes.iter().map(|b| f32::from(*b)).collect(),
    }
}

/// gRPC has no whole numbers above `i64::MAX`; as fractions they would come back as others.
fn carried(payload: Payload) -> Result<Payload> {
    fn all(value: &Value) -> bool {
        match value {
            Value::Number(n) => !n.is_u64() || n.is_i64(),
            Value::Array(items) => items.iter().all(all),
            Value::Object(object) => object.values().all(all),
            _ => true,
        }
    }
    match payload.0.values().all(all) {
        true => Ok(payload),
        false => Err(Error::bad_request(
            "the payload has a whole number above 9223372036854775807, which gRPC cannot carry; write it as text",
        )),
    }
}
