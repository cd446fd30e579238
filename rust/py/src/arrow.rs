//! The one door in: Arrow data through the C data and C stream interfaces.
//!
//! Columns are taken without a copy. Only numbers, booleans and instants are ever read in Rust;
//! text stays with Python, which encodes it first. Nothing else in this crate knows Arrow.

mod import;

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::ffi_stream::FFI_ArrowArrayStream;
use arrow_array::types::{
    Date32Type, Date64Type, DurationMicrosecondType, DurationMillisecondType,
    DurationNanosecondType, DurationSecondType, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchIterator};
use arrow_schema::{DataType, FieldRef, Schema, TimeUnit};
use counterfolio_core::check::{MEND_MISSING, describe};
use counterfolio_core::column::{Chunk, Column};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyCapsule;

use self::import::Import;
use crate::exceptions::invalid_log;

/// A column of the log: Arrow arrays held by reference, in row order.
#[pyclass(frozen, name = "Column", module = "counterfolio._core")]
pub(crate) struct PyColumn {
    field: FieldRef,
    chunks: Vec<ArrayRef>,
    /// The producer's buffer did not stand at a multiple of the value's size.
    misaligned: bool,
}

#[pymethods]
impl PyColumn {
    /// Name of the column.
    #[getter]
    fn name(&self) -> &str {
        self.field.name()
    }

    /// Arrow type, as text.
    #[getter]
    fn dtype(&self) -> String {
        self.field.data_type().to_string()
    }

    /// Whether its values can be told apart and ordered as numbers: numbers, booleans, times.
    #[getter]
    fn is_ordinal(&self) -> bool {
        is_number(self.field.data_type()) || is_time(self.field.data_type())
    }

    /// Whether it holds text or categories.
    #[getter]
    fn is_text(&self) -> bool {
        matches!(
            self.field.data_type(),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Dictionary(..)
        )
    }

    /// Number of nulls.
    #[getter]
    fn null_count(&self) -> usize {
        self.chunks.iter().map(Array::logical_null_count).sum()
    }

    /// Address of each chunk's values, for numbers of a fixed width: proof that none was copied.
    #[getter]
    fn addresses(&self) -> Vec<usize> {
        self.chunks
            .iter()
            .filter_map(|c| {
                let data = c.to_data();
                let width = c.data_type().primitive_width()?;
                Some(data.buffers()[0].as_ptr() as usize + data.offset() * width)
            })
            .collect()
    }

    fn __len__(&self) -> usize {
        self.chunks.iter().map(Array::len).sum()
    }

    fn __repr__(&self) -> String {
        format!(
            "<Column \"{}\": {} rows of {} in {} chunks>",
            self.field.name(),
            self.__len__(),
            self.field.data_type(),
            self.chunks.len()
        )
    }

    /// A stream of record batches with this one column.
    #[pyo3(signature = (requested_schema = None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        // A consumer's wish that producers may ignore.
        drop(requested_schema);
        let schema = Arc::new(Schema::new(vec![self.field.clone()]));
        let batches: Vec<_> = self
            .chunks
            .iter()
            .map(|chunk| RecordBatch::try_new(schema.clone(), vec![chunk.clone()]))
            .collect();
        let reader = RecordBatchIterator::new(batches, schema);
        PyCapsule::new_with_value(
            py,
            FFI_ArrowArrayStream::new(Box::new(reader)),
            c"arrow_array_stream",
        )
    }
}

impl PyColumn {
    pub(crate) fn field_name(&self) -> &str {
        self.field.name()
    }

    /// Whether it holds dates, times or durations.
    pub(crate) fn is_clock(&self) -> bool {
        is_time(self.field.data_type())
    }

    /// The column as the core reads it, or a sentence on why it cannot be read as numbers.
    pub(crate) fn numbers(&self, label: &str) -> Result<Column<'_>, String> {
        self.read(label, is_number)
    }

    /// As [`PyColumn::numbers`], dates, times and durations included.
    pub(crate) fn ordinals(&self, label: &str) -> Result<Column<'_>, String> {
        self.read(label, |t| is_number(t) || is_time(t))
    }

    fn read(&self, label: &str, admits: fn(&DataType) -> bool) -> Result<Column<'_>, String> {
        let data_type = self.field.data_type();
        if matches!(data_type, DataType::Null)
            && let Some(text) = self.missing(label)
        {
            return Err(text);
        }
        if !admits(data_type) {
            return Err(format!(
                "{label} holds {}, where a number is wanted; {}",
                in_words(data_type),
                if matches!(
                    data_type,
                    DataType::Decimal32(..)
                        | DataType::Decimal64(..)
                        | DataType::Decimal128(..)
                        | DataType::Decimal256(..)
                        | DataType::Float16
                ) {
                    "cast it to a 64-bit float first"
                } else {
                    "pass a column of numbers"
                }
            ));
        }
        if self.misaligned {
            return Err(format!(
                "{label}: its buffer does not stand at a multiple of the size of its values, so it \
                 cannot be read in place; copy the column first (for numpy: array.copy())"
            ));
        }
        if self.null_count() > 0
            && let Some(text) = self.missing(label)
        {
            return Err(text);
        }
        Ok(self.chunks.iter().map(chunk).collect())
    }

    /// What to say of nulls, if there are any. NaN counts with them: pandas turns one into the
    /// other.
    pub(crate) fn missing(&self, label: &str) -> Option<String> {
        let (mut row, mut count, mut first) = (0, 0, 0);
        for array in &self.chunks {
            let nulls = array.logical_nulls();
            let not_a_number = |i: usize| match array.data_type() {
                DataType::Float64 => array.as_primitive::<Float64Type>().value(i).is_nan(),
                DataType::Float32 => array.as_primitive::<Float32Type>().value(i).is_nan(),
                _ => false,
            };
            for i in 0..array.len() {
                if nulls.as_ref().is_some_and(|n| n.is_null(i)) || not_a_number(i) {
                    if count == 0 {
                        first = row;
                    }
                    count += 1;
                }
                row += 1;
            }
        }
        (count > 0).then(|| {
            describe(
                label,
                count,
                row,
                "null or NaN",
                &format!("row {first}"),
                MEND_MISSING,
            )
        })
    }
}

fn in_words(data_type: &DataType) -> String {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "text".into(),
        DataType::Dictionary(..) => "categories".into(),
        other => other.to_string(),
    }
}

fn is_number(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Float64 | DataType::Float32 | DataType::Boolean
    ) || data_type.is_integer()
}

fn is_time(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Date32 | DataType::Date64 | DataType::Timestamp(..) | DataType::Duration(_)
    )
}

/// One Arrow array of numbers or times, as the core sees it.
fn chunk(array: &ArrayRef) -> Chunk<'_> {
    macro_rules! values {
        ($type:ty) => {
            array.as_primitive::<$type>().values()
        };
    }
    match array.data_type() {
        DataType::Float32 => Chunk::F32(values!(Float32Type)),
        DataType::Int64 => Chunk::I64(values!(Int64Type)),
        DataType::Int32 => Chunk::I32(values!(Int32Type)),
        DataType::Int16 => Chunk::I16(values!(Int16Type)),
        DataType::Int8 => Chunk::I8(values!(Int8Type)),
        DataType::UInt64 => Chunk::U64(values!(UInt64Type)),
        DataType::UInt32 => Chunk::U32(values!(UInt32Type)),
        DataType::UInt16 => Chunk::U16(values!(UInt16Type)),
        DataType::UInt8 => Chunk::U8(values!(UInt8Type)),
        DataType::Date32 => Chunk::I32(values!(Date32Type)),
        DataType::Date64 => Chunk::I64(values!(Date64Type)),
        DataType::Timestamp(TimeUnit::Second, _) => Chunk::I64(values!(TimestampSecondType)),
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            Chunk::I64(values!(TimestampMillisecondType))
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            Chunk::I64(values!(TimestampMicrosecondType))
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            Chunk::I64(values!(TimestampNanosecondType))
        }
        DataType::Duration(TimeUnit::Second) => Chunk::I64(values!(DurationSecondType)),
        DataType::Duration(TimeUnit::Millisecond) => Chunk::I64(values!(DurationMillisecondType)),
        DataType::Duration(TimeUnit::Microsecond) => Chunk::I64(values!(DurationMicrosecondType)),
        DataType::Duration(TimeUnit::Nanosecond) => Chunk::I64(values!(DurationNanosecondType)),
        DataType::Boolean => {
            let bits = array.as_boolean().values();
            Chunk::Bool {
                bits: bits.values(),
                offset: bits.offset(),
                len: bits.len(),
            }
        }
        _ => Chunk::F64(values!(Float64Type)),
    }
}

/// Takes a column from any object that exports one Arrow array or a stream of arrays.
#[pyfunction]
pub(crate) fn read_column(name: &str, object: &Bound<PyAny>) -> PyResult<PyColumn> {
    let import = Import::from_object(object).map_err(|error| {
        // The type is the producer's; the column's name is what the caller can act on.
        if error.is_instance_of::<PyValueError>(object.py()) {
            invalid_log(format!("column \"{name}\": {}", error.value(object.py())))
        } else {
            error
        }
    })?;
    Ok(PyColumn {
        field: Arc::new(import.field.with_name(name)),
        chunks: import.arrays,
        misaligned: import.misaligned.contains(&true),
    })
}

/// Takes all columns of any object that exports a struct array or a stream of record batches.
#[pyfunction]
pub(crate) fn read_table(object: &Bound<PyAny>) -> PyResult<Vec<PyColumn>> {
    let import = Import::from_object(object)?;
    let DataType::Struct(fields) = import.field.data_type() else {
        return Err(invalid_log(format!(
            "a table is wanted, but the Arrow data hold one column of {}",
            in_words(import.field.data_type())
        )));
    };
    if let Some(array) = import.arrays.iter().find(|a| a.null_count() > 0) {
        return Err(invalid_log(format!(
            "{} rows of the table are null as a whole; drop them",
            array.null_count()
        )));
    }
    if let Some((i, field)) = fields
        .iter()
        .enumerate()
        .find(|(i, field)| fields.iter().take(*i).any(|f| f.name() == field.name()))
    {
        return Err(invalid_log(format!(
            "column \"{}\" stands in the table twice, the second time at position {i}; rename one",
            field.name()
        )));
    }
    Ok(fields
        .iter()
        .enumerate()
        .map(|(i, field)| PyColumn {
            field: field.clone(),
            chunks: import
                .arrays
                .iter()
                .map(|array| array.as_struct().column(i).clone())
                .collect(),
            misaligned: import.misaligned[i],
        })
        .collect())
}
