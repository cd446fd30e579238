//! The exception classes, made once. Each is also the built-in that callers may already catch.

use pyo3::exceptions::{PyException, PyImportError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple, PyType};

/// The classes, in the order in which they are exported.
const NAMES: [&str; 5] = [
    "CounterfolioError",
    "InvalidLogError",
    "InvalidPolicyError",
    "InvalidArgumentError",
    "MissingExtraError",
];
const DOCS: [&str; 5] = [
    "Base of every error that counterfolio raises.",
    "The logged data break a rule; the message names the column, the count and the first row.",
    "A candidate policy breaks a rule, or lacks an input that an estimator needs.",
    "An argument is out of its range, or names nothing that exists.",
    "An optional dependency is absent; the message says what to install.",
];

static CLASSES: PyOnceLock<Vec<Py<PyType>>> = PyOnceLock::new();

fn make(py: Python<'_>) -> PyResult<Vec<Py<PyType>>> {
    let metaclass = py.get_type::<PyType>();
    let mut classes: Vec<Py<PyType>> = Vec::new();
    for (i, (name, doc)) in NAMES.iter().zip(DOCS).enumerate() {
        let bases = match i {
            0 => PyTuple::new(py, [py.get_type::<PyException>()])?,
            4 => PyTuple::new(
                py,
                [classes[0].bind(py).clone(), py.get_type::<PyImportError>()],
            )?,
            _ => PyTuple::new(
                py,
                [classes[0].bind(py).clone(), py.get_type::<PyValueError>()],
            )?,
        };
        let namespace = PyDict::new(py);
        namespace.set_item("__module__", "counterfolio")?;
        namespace.set_item("__doc__", doc)?;
        let class = metaclass.call1((*name, bases, namespace))?;
        classes.push(class.cast_into::<PyType>()?.unbind());
    }
    Ok(classes)
}

fn class(py: Python<'_>, index: usize) -> PyResult<Bound<'_, PyType>> {
    let classes = CLASSES.get_or_try_init(py, || make(py))?;
    Ok(classes[index].bind(py).clone())
}

fn error(index: usize, text: String) -> PyErr {
    Python::attach(|py| match class(py, index) {
        Ok(class) => PyErr::from_type(class, text),
        Err(error) => error,
    })
}

pub(crate) fn invalid_log(text: String) -> PyErr {
    error(1, text)
}

pub(crate) fn invalid_policy(text: String) -> PyErr {
    error(2, text)
}

pub(crate) fn invalid_argument(text: String) -> PyErr {
    error(3, text)
}

/// A fault of ours, never of the caller's.
pub(crate) fn internal(text: &str) -> PyErr {
    error(
        0,
        format!("internal error, please report it with what you called: {text}"),
    )
}

/// Adds the classes to the module.
pub(crate) fn register(module: &Bound<PyModule>) -> PyResult<()> {
    for (i, name) in NAMES.iter().enumerate() {
        module.add(*name, class(module.py(), i)?)?;
    }
    Ok(())
}
