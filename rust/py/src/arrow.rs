//! The one door in: Arrow data through the C data and C stream interfaces.
//!
//! Columns are taken without a copy. Only numbers, booleans and instants are ever read in Rust;
//! text stays with Python, which encodes it first. Nothing else in this crate knows Arrow.
#![allow(unsafe_code)] // The C data interface is a set of raw pointers.

use std::ffi::CStr;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema, from_ffi};
use arrow_array::ffi_stream::FFI_ArrowArrayStream;
use arrow_array::types::{
    Date32Type, Date64Type, DurationMicrosecondType, DurationMillisecondType,
    DurationNanosecondType, DurationSecondType, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchIterator, make_array};
use arrow_schema::{DataType, Field, FieldRef, Schema, TimeUnit};
use counterfolio_core::check::describe;
use counterfolio_core::column::{Chunk, Column};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyTuple};

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

    /// Whether the core reads it as numbers.
    #[getter]
    fn is_numeric(&self) -> bool {
        is_numeric(self.field.data_type())
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

    /// The column as the core reads it, or a sentence on why it cannot be read as numbers.
    pub(crate) fn numbers(&self, label: &str) -> Result<Column<'_>, String> {
        let data_type = self.field.data_type();
        if matches!(data_type, DataType::Null)
            && let Some(text) = self.missing(label)
        {
            return Err(text);
        }
        if !is_numeric(data_type) {
            return Err(format!(
                "{label} holds {}, where a number is wanted; {}",
                in_words(data_type),
                if matches!(
                    data_type,
                    DataType::Decimal128(..) | DataType::Decimal256(..) | DataType::Float16
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
                "drop these rows or fill them in",
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

fn is_numeric(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Float64
            | DataType::Float32
            | DataType::Boolean
            | DataType::Date32
            | DataType::Date64
            | DataType::Timestamp(..)
            | DataType::Duration(_)
    ) || data_type.is_integer()
}

/// One Arrow array of a type that [`is_numeric`] admits, as the core sees it.
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

/// What a producer handed over: its type, its arrays and which of its columns are misaligned.
struct Import {
    field: Field,
    arrays: Vec<ArrayRef>,
    /// One entry for each field of a struct, or one for a plain array.
    misaligned: Vec<bool>,
}

fn arrow_error(error: impl std::fmt::Display) -> PyErr {
    invalid_log(format!("the Arrow data cannot be read: {error}"))
}

fn capsule<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyCapsule>> {
    object.cast::<PyCapsule>().cloned().map_err(|_| {
        PyTypeError::new_err("__arrow_c_stream__ or __arrow_c_array__ did not return a PyCapsule")
    })
}

fn schema_of(capsule: &Bound<PyCapsule>) -> PyResult<Field> {
    let pointer = capsule.pointer_checked(Some(c"arrow_schema"))?;
    // SAFETY: a capsule of this name holds an ArrowSchema, which it keeps until it is dropped.
    let schema = unsafe { pointer.cast::<FFI_ArrowSchema>().as_ref() };
    Field::try_from(schema).map_err(arrow_error)
}

impl Import {
    fn new(field: Field) -> Self {
        let columns = match field.data_type() {
            DataType::Struct(fields) => fields.len(),
            _ => 1,
        };
        Self {
            field,
            arrays: Vec::new(),
            misaligned: vec![false; columns],
        }
    }

    fn push(&mut self, array: FFI_ArrowArray) -> PyResult<()> {
        let misaligned = |data_type: &DataType, array: &FFI_ArrowArray| {
            data_type.primitive_width().is_some_and(|width| {
                array.num_buffers() > 1
                    && !array.is_empty()
                    && !(array.buffer(1) as usize).is_multiple_of(width.min(8))
            })
        };
        if let DataType::Struct(fields) = self.field.data_type() {
            for (i, field) in fields.iter().enumerate().take(array.num_children()) {
                self.misaligned[i] |= misaligned(field.data_type(), array.child(i));
            }
        } else {
            self.misaligned[0] |= misaligned(self.field.data_type(), &array);
        }
        let schema = FFI_ArrowSchema::try_from(&self.field).map_err(arrow_error)?;
        // SAFETY: the producer vouches that its array is of the type that it declared.
        let data = unsafe { from_ffi(array, &schema) }.map_err(arrow_error)?;
        self.arrays.push(make_array(data));
        Ok(())
    }

    fn from_object(object: &Bound<PyAny>) -> PyResult<Self> {
        if object.hasattr("__arrow_c_stream__")? {
            return Self::from_stream(&capsule(&object.call_method0("__arrow_c_stream__")?)?);
        }
        if object.hasattr("__arrow_c_array__")? {
            let pair = object.call_method0("__arrow_c_array__")?;
            let pair = pair.cast::<PyTuple>()?;
            let mut import = Self::new(schema_of(&capsule(&pair.get_item(0)?)?)?);
            let pointer = capsule(&pair.get_item(1)?)?.pointer_checked(Some(c"arrow_array"))?;
            // SAFETY: a capsule of this name holds an ArrowArray, moved out here.
            import.push(unsafe { FFI_ArrowArray::from_raw(pointer.cast().as_ptr()) })?;
            return Ok(import);
        }
        Err(invalid_log(format!(
            "a {} does not export Arrow data (__arrow_c_stream__ or __arrow_c_array__); pass a \
             polars, pyarrow or pandas table, a DuckDB relation, or a dict of numpy arrays",
            object.get_type().name()?
        )))
    }

    fn from_stream(capsule: &Bound<PyCapsule>) -> PyResult<Self> {
        let pointer = capsule.pointer_checked(Some(c"arrow_array_stream"))?;
        // SAFETY: a capsule of this name holds an ArrowArrayStream, moved out here.
        let mut stream = unsafe { FFI_ArrowArrayStream::from_raw(pointer.cast().as_ptr()) };
        let (Some(get_schema), Some(get_next)) = (stream.get_schema(), stream.get_next()) else {
            return Err(invalid_log(
                "the Arrow stream was consumed before: pass a table, or a fresh reader".into(),
            ));
        };
        let mut schema = FFI_ArrowSchema::empty();
        // SAFETY: the callback is called with the stream that it was read from.
        if unsafe { get_schema(&raw mut stream, &raw mut schema) } != 0 {
            return Err(last_error(&mut stream));
        }
        let mut import = Self::new(Field::try_from(&schema).map_err(arrow_error)?);
        loop {
            let mut array = FFI_ArrowArray::empty();
            // SAFETY: as above.
            if unsafe { get_next(&raw mut stream, &raw mut array) } != 0 {
                return Err(last_error(&mut stream));
            }
            if array.is_released() {
                return Ok(import);
            }
            import.push(array)?;
        }
    }
}

/// The producer's own words for what went wrong.
fn last_error(stream: &mut FFI_ArrowArrayStream) -> PyErr {
    let text = stream.get_last_error().and_then(|get| {
        // SAFETY: called with the stream it was read from; the text is copied at once.
        let pointer = unsafe { get(stream) };
        (!pointer.is_null()).then(|| {
            unsafe { CStr::from_ptr(pointer) }
                .to_string_lossy()
                .into_owned()
        })
    });
    arrow_error(text.unwrap_or_else(|| "the producer gave no reason".into()))
}

/// Takes a column from any object that exports one Arrow array or a stream of arrays.
#[pyfunction]
pub(crate) fn read_column(name: &str, object: &Bound<PyAny>) -> PyResult<PyColumn> {
    let import = Import::from_object(object)?;
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
