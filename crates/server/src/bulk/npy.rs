//! The header of a `.npy` file: what NumPy's `save` writes before the numbers (NumPy Enhancement Proposal 1).

use std::io::Read;

use lodestone_types::{Error, Result};

/// The longest header that is read; NumPy's own are 128 bytes.
const MAX_HEADER: usize = 64 << 10;

/// How a component is written. All are little endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Component {
    /// `<f4`.
    F32,
    /// `<f2`.
    F16,
    /// `|u1`.
    U8,
}

impl Component {
    /// Bytes of one.
    pub fn bytes(self) -> u64 {
        match self {
            Component::F32 => 4,
            Component::F16 => 2,
            Component::U8 => 1,
        }
    }
}

/// A two-dimensional array, row after row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Of every number.
    pub component: Component,
    /// Vectors.
    pub rows: u64,
    /// Components of each.
    pub size: u64,
    /// Where the first row begins.
    pub start: u64,
}

impl Header {
    /// Bytes of one row.
    pub fn row_bytes(&self) -> u64 {
        self.size.saturating_mul(self.component.bytes())
    }

    /// Reads it from the beginning of a file. The error is a clause that says what to change.
    pub fn read(file: &mut impl Read) -> Result<Self> {
        let mut fixed = [0; 8];
        file.read_exact(&mut fixed).map_err(|_| wrong("it is too short to be a .npy file"))?;
        let [magic @ .., major, _minor] = fixed;
        if magic != *b"\x93NUMPY" {
            return Err(wrong("it does not begin as a .npy file does; write it with numpy.save"));
        }
        let wide = match major {
            1 => false,
            2 | 3 => true,
            other => return Err(wrong(format!("version {other} of .npy is not known here"))),
        };
        let mut length = [0; 4];
        let digits = if wide { 4 } else { 2 };
        file.read_exact(&mut length[..digits]).map_err(|_| wrong("its header is cut short"))?;
        let length = u32::from_le_bytes(length) as usize;
        if length > MAX_HEADER {
            return Err(wrong(format!("its header has {length} bytes, more than any NumPy writes")));
        }
        let mut text = vec![0; length];
        file.read_exact(&mut text).map_err(|_| wrong("its header is cut short"))?;
        let text = std::str::from_utf8(&text).map_err(|_| wrong("its header is not text"))?;
        let (component, rows, size) = describe(text)?;
        Ok(Self { component, rows, size, start: (8 + digits + length) as u64 })
    }
}

/// Bytes of an id that is written as text: those of a UUID.
pub const ID_TEXT: usize = 36;

/// The header of an array of such numbers and such a shape, as NumPy writes them. It always has the same length.
pub fn header(descr: &str, shape: &str) -> Vec<u8> {
    const LENGTH: usize = 128;
    let text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((LENGTH as u16 - 10).to_le_bytes());
    bytes.extend(text.as_bytes());
    bytes.resize(LENGTH - 1, b' ');
    bytes.push(b'\n');
    bytes
}

fn wrong(why: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::bad_request(why)
}

/// The three entries of the header's dictionary.
fn describe(text: &str) -> Result<(Component, u64, u64)> {
    let component = match quoted(entry(text, "descr")?) {
        Some("<f4") => Component::F32,
        Some("<f2") => Component::F16,
        Some("|u1" | "<u1") => Component::U8,
        Some(other) => {
            return Err(wrong(format!(
                "its numbers are `{other}`; save it as float32, float16 or uint8, such as numpy.save(path, a.astype(\"<f4\"))"
            )));
        }
        None => return Err(wrong("its numbers have several fields; save an array of plain numbers")),
    };
    if entry(text, "fortran_order")?.starts_with("True") {
        return Err(wrong(
            "it is written column by column; save it row by row: numpy.save(path, numpy.ascontiguousarray(a))",
        ));
    }
    let shape = entry(text, "shape")?;
    let inside = shape.strip_prefix('(').and_then(|s| s.split_once(')')).map(|(inside, _)| inside);
    let inside = inside.ok_or_else(|| wrong("its header has no shape"))?;
    let axes: Vec<&str> = inside.split(',').map(str::trim).filter(|axis| !axis.is_empty()).collect();
    let number = |axis: &str| axis.parse::<u64>().map_err(|_| wrong("its header has no shape"));
    match axes.as_slice() {
        [rows, size] => Ok((component, number(rows)?, number(size)?)),
        _ => Err(wrong(format!("it has {} axes; give an array of two, a vector in each row", axes.len()))),
    }
}

/// What stands after `'key':`.
fn entry<'a>(text: &'a str, key: &str) -> Result<&'a str> {
    let at = text.find(&format!("'{key}'")).map(|at| at + key.len() + 2);
    at.and_then(|at| text[at..].trim_start().strip_prefix(':'))
        .map(str::trim_start)
        .ok_or_else(|| wrong(format!("its header has no `{key}`")))
}

fn quoted(text: &str) -> Option<&str> {
    text.strip_prefix('\'')?.split_once('\'').map(|(inside, _)| inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(dictionary: &str) -> Vec<u8> {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((dictionary.len() as u16).to_le_bytes());
        bytes.extend(dictionary.as_bytes());
        bytes
    }

    #[test]
    fn reads_what_numpy_writes() {
        let text = "{'descr': '<f4', 'fortran_order': False, 'shape': (1000, 768), }   \n";
        let header = Header::read(&mut &*file(text)).unwrap();
        let start = 10 + text.len() as u64;
        assert_eq!(header, Header { component: Component::F32, rows: 1000, size: 768, start });
        assert_eq!(header.row_bytes(), 3072);
    }

    #[test]
    fn says_what_to_change() {
        let whole = |d, f, s| format!("{{'descr': {d}, 'fortran_order': {f}, 'shape': {s}, }}");
        for (text, part) in [
            (whole("'<f8'", "False", "(3, 4)"), "float32"),
            (whole("[('a', '<f4')]", "False", "(3, 4)"), "fields"),
            (whole("'<f4'", "True", "(3, 4)"), "ascontiguousarray"),
            (whole("'<f4'", "False", "(3,)"), "1 axes"),
            (whole("'<f4'", "False", "(3, x)"), "shape"),
            (whole("'<f4'", "False", "3"), "shape"),
            ("{}".to_owned(), "descr"),
        ] {
            let error = Header::read(&mut &*file(&text)).unwrap_err().message;
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn every_cut_is_an_error() {
        let whole = file("{'descr': '|u1', 'fortran_order': False, 'shape': (3, 4), }\n");
        for end in 0..whole.len() {
            assert!(Header::read(&mut &whole[..end]).is_err());
        }
        assert!(Header::read(&mut &*whole).is_ok());
        assert!(Header::read(&mut &b"\x93NUMPY\x02\x00\xff\xff\xff\xff"[..]).is_err());
    }
}
