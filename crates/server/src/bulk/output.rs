//! What an export writes: lines, or arrays as NumPy reads them. Files have their names only when all are whole.

use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use lodestone_api::lines;
use lodestone_kernels::{Element, encode};
use lodestone_shard::element_of;
use lodestone_types::{Error, NamedVectors, Payload, PointId, Record, Result};

use super::digest::{Digest, Schema};
use super::npy;
use super::verify::of_record;

/// Where points go, and what went there.
pub struct Output {
    form: Form,
    /// Points that were written.
    pub points: u64,
    /// Points that were not, as they lack the vector that rows are.
    pub left_out: u64,
    /// Of what was written.
    pub checksum: Digest,
}

enum Form {
    /// A point in each line.
    Lines(Partial),
    Arrays(Arrays),
}

/// A vector in each row, the ids of the rows, and their payloads line by line if they are wanted.
struct Arrays {
    name: String,
    element: Element,
    size: u64,
    text_ids: bool,
    vectors: Partial,
    ids: Partial,
    payloads: Option<Partial>,
}

impl Output {
    /// Of lines.
    pub fn lines(path: &Path) -> Result<Self> {
        Ok(Self::of(Form::Lines(Partial::create(path)?)))
    }

    /// Of rows of the vector called `name`: to `path`, ids beside it, and payloads where they are wanted. `text_ids`: whether there are
    /// ids that are UUIDs.
    pub fn arrays(
        path: &Path,
        schema: &Schema,
        name: &str,
        payloads: Option<&Path>,
        text_ids: bool,
    ) -> Result<Self> {
        let params = schema.get(name).ok_or_else(|| {
            let known: Vec<String> = schema.keys().map(|name| format!("`{name}`")).collect();
            Error::bad_request(format!(
                "the collection has no vector `{name}`; --vector names one of {}",
                known.join(", ")
            ))
        })?;
        let mut arrays = Arrays {
            name: name.to_owned(),
            element: element_of(params.datatype()),
            size: params.size,
            text_ids,
            vectors: Partial::create(path)?,
            ids: Partial::create(&path.with_extension("ids.npy"))?,
            payloads: payloads.map(Partial::create).transpose()?,
        };
        // How many rows there are is known at the end.
        arrays.write_headers(0)?;
        Ok(Self::of(Form::Arrays(arrays)))
    }

    fn of(form: Form) -> Self {
        Self { form, points: 0, left_out: 0, checksum: Digest::default() }
    }

    /// Adds points, in the order of ids.
    pub fn append(&mut self, schema: &Schema, records: Vec<Record>) -> Result<()> {
        let mut text = Vec::new();
        for record in records {
            let record = match &mut self.form {
                Form::Lines(file) => {
                    text.clear();
                    lines::append(&record, &mut text)?;
                    file.write(&text)?;
                    record
                }
                Form::Arrays(arrays) => match arrays.append(record)? {
                    Some(written) => written,
                    None => {
                        self.left_out += 1;
                        continue;
                    }
                },
            };
            self.checksum += of_record(schema, &record)?;
            self.points += 1;
        }
        Ok(())
    }

    /// Brings all to the disk and gives the files their names.
    pub fn finish(self) -> Result<()> {
        match self.form {
            Form::Lines(file) => Partial::finish([file]),
            Form::Arrays(mut arrays) => {
                arrays.write_headers(self.points)?;
                Partial::finish(arrays.payloads.into_iter().chain([arrays.ids, arrays.vectors]))
            }
        }
    }
}

impl Arrays {
    /// What of the point was written; `None` if it has no such vector.
    fn append(&mut self, record: Record) -> Result<Option<Record>> {
        let mut vectors = record.vectors.unwrap_or_default().0;
        let Some(at) = vectors.iter().position(|(name, _)| *name == self.name) else { return Ok(None) };
        let (name, vector) = vectors.swap_remove(at);
        let mut row = Vec::new();
        encode(self.element, &vector, &mut row);
        self.vectors.write(&row)?;
        match (record.id, self.text_ids) {
            (PointId::Num(id), false) => self.ids.write(&id.to_le_bytes())?,
            (id, true) => {
                let mut text = id.to_string().into_bytes();
                text.resize(npy::ID_TEXT, 0);
                self.ids.write(&text)?;
            }
            (PointId::Uuid(id), false) => {
                return Err(Error::bad_request(format!(
                    "point {id} came while the collection was exported, the first with a UUID: export it once more"
                )));
            }
        }
        let payload = match &mut self.payloads {
            Some(file) => {
                let payload = record.payload.unwrap_or_default();
                let mut text = serde_json::to_vec(&payload)
                    .map_err(|e| Error::internal(format!("a payload does not serialise: {e}")))?;
                text.push(b'\n');
                file.write(&text)?;
                payload
            }
            None => Payload::default(),
        };
        let vectors = Some(NamedVectors(vec![(name, vector)]));
        Ok(Some(Record { id: record.id, payload: Some(payload), vectors, order_value: None }))
    }

    fn write_headers(&mut self, rows: u64) -> Result<()> {
        let descr = match self.element {
            Element::F32 => "<f4",
            Element::F16 => "<f2",
            Element::U8 => "|u1",
        };
        let ids = if self.text_ids { format!("|S{}", npy::ID_TEXT) } else { "<u8".to_owned() };
        self.vectors.write_first(&npy::header(descr, &format!("({rows}, {})", self.size)))?;
        self.ids.write_first(&npy::header(&ids, &format!("({rows},)")))
    }
}

/// A file that has its name only when it is whole.
struct Partial {
    file: BufWriter<File>,
    partial: PathBuf,
    path: PathBuf,
}

impl Partial {
    fn create(path: &Path) -> Result<Self> {
        let mut partial = path.as_os_str().to_owned();
        partial.push(".partial");
        let file = File::create(&partial).map_err(|e| failed(path, &e))?;
        Ok(Self {
            file: BufWriter::with_capacity(1 << 20, file),
            partial: partial.into(),
            path: path.to_owned(),
        })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(|e| failed(&self.path, &e))
    }

    /// Writes what the file begins with, and goes on at its end.
    fn write_first(&mut self, bytes: &[u8]) -> Result<()> {
        let mut write = || -> std::io::Result<()> {
            self.file.seek(SeekFrom::Start(0))?;
            self.file.write_all(bytes)?;
            self.file.seek(SeekFrom::End(0)).map(drop)
        };
        write().map_err(|e| failed(&self.path, &e))
    }

    /// None has its name before all are on the disk.
    fn finish(all: impl IntoIterator<Item = Self>) -> Result<()> {
        let mut all: Vec<Self> = all.into_iter().collect();
        for one in &mut all {
            let written = one.file.flush().and_then(|()| one.file.get_ref().sync_all());
            written.map_err(|e| failed(&one.path, &e))?;
        }
        all.iter()
            .try_for_each(|one| std::fs::rename(&one.partial, &one.path).map_err(|e| failed(&one.path, &e)))
    }
}

fn failed(path: &Path, why: &std::io::Error) -> Error {
    Error::bad_request(format!("{}: {why}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs::{read, read_dir, read_to_string};

    use lodestone_types::{Distance, VectorParams};
    use serde_json::json;

    use super::*;

    fn record(id: PointId, vectors: Vec<(&str, Vec<f32>)>) -> Record {
        let named = vectors.into_iter().map(|(name, vector)| (name.to_owned(), vector)).collect();
        let payload = json!({ "id": id.to_string() }).as_object().cloned().map(Payload);
        Record { id, payload, vectors: Some(NamedVectors(named)), order_value: None }
    }

    #[test]
    fn a_file_has_its_name_when_it_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.jsonl");
        let mut output = Output::lines(&path).unwrap();
        let record = Record { payload: Some(Payload::default()), ..record(PointId::Num(1), vec![]) };
        output.append(&BTreeMap::new(), vec![record]).unwrap();
        assert!(!path.exists());
        output.finish().unwrap();
        assert_eq!(read_to_string(&path).unwrap(), "{\"id\":1,\"payload\":{},\"vector\":{}}\n");
        assert_eq!(read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn rows_have_ids_and_payloads_beside_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let params = |size| VectorParams::new(size, Distance::Dot);
        let schema = BTreeMap::from([("a".to_owned(), params(2)), ("b".to_owned(), params(1))]);
        let uuid: PointId = "8f1e7c5a-6a43-4d5e-9d0e-1f0e2d3c4b5a".parse().unwrap();
        assert!(Output::arrays(&path("x.npy"), &schema, "c", None, false).is_err());
        for text_ids in [false, true] {
            let payloads = path("x.jsonl");
            let mut output = Output::arrays(&path("x.npy"), &schema, "a", Some(&payloads), text_ids).unwrap();
            let both = vec![("b", vec![9.0]), ("a", vec![1.0, 2.0])];
            let records =
                vec![record(PointId::Num(7), both), record(PointId::Num(8), vec![("b", vec![3.0])])];
            output.append(&schema, records).unwrap();
            assert_eq!((output.points, output.left_out), (1, 1));
            let expected = record(PointId::Num(7), vec![("a", vec![1.0, 2.0])]);
            assert_eq!(output.checksum, of_record(&schema, &expected).unwrap());
            let last = output.append(&schema, vec![record(uuid, vec![("a", vec![0.5, 0.0])])]);
            if !text_ids {
                assert!(last.unwrap_err().message.contains("once more"));
                continue;
            }
            output.finish().unwrap();
            let (vectors, ids) = (read(path("x.npy")).unwrap(), read(path("x.ids.npy")).unwrap());
            let header = npy::Header::read(&mut &*vectors).unwrap();
            assert_eq!((header.rows, header.size, header.start % 64), (2, 2, 0));
            let floats = [1.0f32, 2.0, 0.5, 0.0].map(f32::to_le_bytes).concat();
            assert_eq!(vectors[header.start as usize..], floats);
            let text = String::from_utf8(ids[128..].to_vec()).unwrap();
            assert_eq!(text, format!("7{}{uuid}", "\0".repeat(npy::ID_TEXT - 1)));
            let lines = read_to_string(payloads).unwrap();
            assert_eq!(lines, format!("{{\"id\":\"7\"}}\n{{\"id\":\"{uuid}\"}}\n"));
        }
    }
}
