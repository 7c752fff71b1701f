//! Which columns are what, told from the schema alone.

use ::parquet::basic::{ConvertedType, LogicalType, Type as Physical};
use ::parquet::schema::types::{ColumnDescriptor, SchemaDescriptor, Type};
use lodestone_types::Result;

use super::wrong;

/// The column of the ids, unless told otherwise.
const ID: &str = "id";

/// What a column's numbers are, if they can be components.
#[derive(Clone, Copy)]
enum Number32 {
    F32,
    F64,
    F16,
    U8,
}

fn component(column: &ColumnDescriptor) -> Option<Number32> {
    match (column.physical_type(), column.converted_type()) {
        (Physical::FLOAT, _) => Some(Number32::F32),
        (Physical::DOUBLE, _) => Some(Number32::F64),
        (Physical::FIXED_LEN_BYTE_ARRAY, _) if column.logical_type_ref() == Some(&LogicalType::Float16) => {
            Some(Number32::F16)
        }
        (Physical::INT32, ConvertedType::UINT_8) => Some(Number32::U8),
        _ => None,
    }
}

/// Whether a group is a list of one thing, and not a map or rows of several.
fn is_list(field: &Type) -> bool {
    let info = field.get_basic_info();
    info.converted_type() == ConvertedType::LIST || info.logical_type_ref() == Some(&LogicalType::List)
}

/// The leaf that is the vector.
pub fn vector_column(schema: &SchemaDescriptor, wanted: Option<&str>) -> Result<usize> {
    let is_vector = |leaf: &usize| {
        let column = schema.column(*leaf);
        let depth = column.path().parts().len();
        let is_list = depth == 1 || is_list(schema.get_column_root(*leaf));
        column.max_rep_level() == 1 && depth <= 3 && is_list && component(&column).is_some()
    };
    let found: Vec<usize> = (0..schema.num_columns()).filter(is_vector).collect();
    let name = |leaf: usize| schema.get_column_root(leaf).name();
    match (wanted, found.as_slice()) {
        (Some(wanted), all) => all.iter().copied().find(|leaf| name(*leaf) == wanted).ok_or_else(|| {
            wrong(format!(
                "column `{wanted}` is no list of float, double, halffloat or uint8; those are: {}",
                names(all.iter().map(|leaf| name(*leaf)))
            ))
        }),
        (None, [one]) => Ok(*one),
        (None, []) => Err(wrong(format!(
            "no column is a list of float, double, halffloat or uint8; it has {}",
            names(schema.root_schema().get_fields().iter().map(|field| field.name()))
        ))),
        (None, several) => Err(wrong(format!(
            "several columns could be the vector: {}; --vector-column names one",
            names(several.iter().map(|leaf| name(*leaf)))
        ))),
    }
}

/// The leaf that has the ids, if there is one.
pub fn id_column(schema: &SchemaDescriptor, wanted: Option<&str>) -> Result<Option<usize>> {
    let name = wanted.unwrap_or(ID);
    let leaf = (0..schema.num_columns()).find(|leaf| schema.get_column_root(*leaf).name() == name);
    let Some(leaf) = leaf else {
        return match wanted {
            Some(name) => Err(wrong(format!("it has no column `{name}`"))),
            None => Ok(None),
        };
    };
    let column = schema.column(leaf);
    let is_flat = column.max_rep_level() == 0 && column.path().parts().len() == 1;
    let known = match (column.physical_type(), column.converted_type()) {
        (Physical::INT32 | Physical::INT64, kind) => !matches!(
            kind,
            ConvertedType::DECIMAL
                | ConvertedType::DATE
                | ConvertedType::TIME_MILLIS
                | ConvertedType::TIME_MICROS
                | ConvertedType::TIMESTAMP_MILLIS
                | ConvertedType::TIMESTAMP_MICROS
        ),
        (Physical::BYTE_ARRAY, ConvertedType::UTF8) => true,
        (Physical::FIXED_LEN_BYTE_ARRAY, ConvertedType::NONE) => column.type_length() == 16,
        _ => false,
    };
    // Times in nanoseconds and other newer kinds have a logical type only.
    let is_plain = matches!(
        column.logical_type_ref(),
        None | Some(LogicalType::Integer { .. } | LogicalType::String | LogicalType::Uuid)
    );
    match is_flat && known && is_plain {
        true => Ok(Some(leaf)),
        false => Err(wrong(format!(
            "column `{name}` cannot be ids: give whole numbers, UUIDs as text or as 16 bytes; --id-column names another"
        ))),
    }
}

fn names<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let shown: Vec<String> = names.map(|name| format!("`{name}`")).collect();
    if shown.is_empty() { "none".to_owned() } else { shown.join(", ") }
}

/// Refuses what has no JSON form, at any depth.
pub fn check_payload(field: &Type, column: &str) -> Result<()> {
    let info = field.get_basic_info();
    let refuse = |what: &str| {
        Err(wrong(format!(
            "column `{column}` has {what}, which a payload cannot have; convert it or leave it out"
        )))
    };
    if !field.is_primitive() {
        return match (info.converted_type(), info.logical_type_ref()) {
            (ConvertedType::MAP | ConvertedType::MAP_KEY_VALUE, _) | (_, Some(LogicalType::Map)) => {
                refuse("maps")
            }
            _ => field.get_fields().iter().try_for_each(|inner| check_payload(inner, column)),
        };
    }
    let is_known = match (field.get_physical_type(), info.converted_type()) {
        (Physical::BOOLEAN | Physical::FLOAT | Physical::DOUBLE, _) => true,
        (
            Physical::INT32,
            ConvertedType::NONE
            | ConvertedType::INT_8
            | ConvertedType::INT_16
            | ConvertedType::INT_32
            | ConvertedType::UINT_8
            | ConvertedType::UINT_16
            | ConvertedType::UINT_32
            | ConvertedType::DATE,
        ) => true,
        (Physical::INT64, ConvertedType::NONE) => match info.logical_type_ref() {
            None | Some(LogicalType::Integer { .. }) => true,
            Some(_) => return refuse("times in nanoseconds (cast them to microseconds)"),
        },
        (
            Physical::INT64,
            ConvertedType::INT_64
            | ConvertedType::UINT_64
            | ConvertedType::TIMESTAMP_MILLIS
            | ConvertedType::TIMESTAMP_MICROS,
        ) => true,
        (Physical::BYTE_ARRAY, ConvertedType::UTF8 | ConvertedType::ENUM | ConvertedType::JSON) => true,
        (Physical::FIXED_LEN_BYTE_ARRAY, _) => info.logical_type_ref() == Some(&LogicalType::Float16),
        _ => false,
    };
    if is_known { Ok(()) } else { refuse("decimals, times of day, binary data or another such type") }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ::parquet::schema::parser::parse_message_type;

    use super::*;

    const LIST: &str = "optional group v (LIST) { repeated group list { optional float element; } }";
    const MAP: &str = "optional group m (MAP) { repeated group key_value { required binary key (UTF8); optional float value; } }";

    fn schema(fields: &str) -> SchemaDescriptor {
        SchemaDescriptor::new(Arc::new(parse_message_type(&format!("message m {{ {fields} }}")).unwrap()))
    }

    #[test]
    fn maps_and_rows_are_no_vectors() {
        assert_eq!(vector_column(&schema(&format!("{MAP} {LIST}")), None).unwrap(), 2);
        vector_column(&schema(MAP), None).unwrap_err();
        vector_column(&schema(MAP), Some("m")).unwrap_err();
        vector_column(&schema("repeated group v { required float x; required float y; }"), None).unwrap_err();
        assert_eq!(vector_column(&schema("repeated float v;"), None).unwrap(), 0);
    }

    #[test]
    fn numbers_that_mean_something_else_are_no_ids() {
        let id = |field: &str| id_column(&schema(&format!("{field} {LIST}")), None);
        for right in ["int64 id", "int32 id (INTEGER(32,false))", "fixed_len_byte_array(16) id (UUID)"] {
            assert_eq!(id(&format!("required {right};")).unwrap(), Some(0), "{right}");
        }
        for wrong in ["fixed_len_byte_array(16) id (DECIMAL(38,0))", "int64 id (TIMESTAMP(NANOS,true))"] {
            id(&format!("required {wrong};")).unwrap_err();
        }
    }
}
