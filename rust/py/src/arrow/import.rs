//! The C data and C stream interfaces: capsules in, Arrow arrays out.
#![allow(unsafe_code)] // The C data interface is a set of raw pointers.

use std::ffi::CStr;
use std::sync::Arc;

use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema, from_ffi};
use arrow_array::ffi_stream::FFI_ArrowArrayStream;
use arrow_array::{ArrayRef, NullArray, make_array};
use arrow_schema::{DataType, Field};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyString, PyTuple};

use crate::enter::caught;
use crate::exceptions::invalid_log;

/// What a producer handed over: its type, its arrays and which of its columns are misaligned.
pub(crate) struct Import {
    pub(crate) field: Field,
    pub(crate) arrays: Vec<ArrayRef>,
    /// One entry for each field of a struct, or one for a plain array.
    pub(crate) misaligned: Vec<bool>,
}

fn arrow_error(error: impl std::fmt::Display) -> PyErr {
    invalid_log(format!("the Arrow data cannot be read: {error}"))
}

fn consumed() -> PyErr {
    invalid_log("the Arrow data were consumed before: pass a table, or a fresh reader".into())
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
    if schema.release().is_none() {
        return Err(consumed());
    }
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
        let look = || match self.field.data_type() {
            DataType::Struct(fields) => fields
                .iter()
                .enumerate()
                .take(array.num_children())
                .map(|(i, field)| misaligned(field.data_type(), array.child(i)))
                .collect(),
            data_type => vec![misaligned(data_type, &array)],
        };
        let found: Vec<bool> = caught(look).map_err(arrow_error)?;
        for (flag, found) in self.misaligned.iter_mut().zip(found) {
            *flag |= found;
        }
        if matches!(self.field.data_type(), DataType::Null) {
            // Some producers give such arrays a buffer, which the importer refuses.
            self.arrays.push(Arc::new(NullArray::new(array.len())));
            return Ok(());
        }
        let schema = FFI_ArrowSchema::try_from(&self.field).map_err(arrow_error)?;
        // SAFETY: the producer vouches that its array is of the type that it declared.
        let read = || unsafe { from_ffi(array, &schema) }.map(make_array);
        // The importer asserts what a faulty producer does not hold to.
        self.arrays
            .push(caught(read).map_err(arrow_error)?.map_err(arrow_error)?);
        Ok(())
    }

    pub(crate) fn from_object(object: &Bound<PyAny>) -> PyResult<Self> {
        if object.hasattr("__arrow_c_stream__")? {
            return Self::from_stream(&capsule(&object.call_method0("__arrow_c_stream__")?)?);
        }
        if object.hasattr("__arrow_c_array__")? {
            let pair = object.call_method0("__arrow_c_array__")?;
            let pair = pair.cast::<PyTuple>()?;
            let mut import = Self::new(schema_of(&capsule(&pair.get_item(0)?)?)?);
            let pointer = capsule(&pair.get_item(1)?)?.pointer_checked(Some(c"arrow_array"))?;
            // SAFETY: a capsule of this name holds an ArrowArray, moved out here.
            let array = unsafe { FFI_ArrowArray::from_raw(pointer.cast().as_ptr()) };
            if array.is_released() {
                return Err(consumed());
            }
            import.push(array)?;
            return Ok(import);
        }
        Err(invalid_log(format!(
            "a {} does not export Arrow data (__arrow_c_stream__ or __arrow_c_array__); pass a \
             polars, pyarrow or pandas table, a DuckDB relation, or a dict of numpy arrays{}",
            object.get_type().name()?,
            if object.is_instance_of::<PyString>() {
                "; a file is read by cf.read_parquet or polars.read_csv"
            } else {
                ""
            }
        )))
    }

    fn from_stream(capsule: &Bound<PyCapsule>) -> PyResult<Self> {
        let pointer = capsule.pointer_checked(Some(c"arrow_array_stream"))?;
        // SAFETY: a capsule of this name holds an ArrowArrayStream, moved out here.
        let mut stream = unsafe { FFI_ArrowArrayStream::from_raw(pointer.cast().as_ptr()) };
        // A moved stream is marked by its release callback alone; the others may still be set.
        if stream.release().is_none() {
            return Err(consumed());
        }
        let (Some(get_schema), Some(get_next)) = (stream.get_schema(), stream.get_next()) else {
            return Err(consumed());
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
