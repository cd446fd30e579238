"""Models as ONNX files: what scores or actions come from."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from counterfolio.arguments import is_whole
from counterfolio.dense import BLOCK_ROWS
from counterfolio.exceptions import InvalidArgumentError, InvalidPolicyError, MissingExtraError
from counterfolio.text import plural, suggest

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Types that a model may take, as the runtime writes them.
INPUTS = {"tensor(float)": np.float32, "tensor(double)": np.float64}
#: Errors alone: the runtime would write warnings about the machine.
SEVERITY = 3


@dataclass(frozen=True, eq=False, repr=False)
class Onnx:
    """A model in ONNX format, as the base of a policy: states -> an array of shape (n, k).

    Needs `counterfolio[onnx]`. The file's content is kept, so that a pickle works elsewhere; the
    model is opened again in another process. It runs on one thread: the same states in the same
    blocks give the same numbers.

    Parameters
    ----------
    path_or_bytes
        A file, or its content. The model has one input, of shape (n, d), in float32 or float64.
    output
        Name of the output to take. Default: the first.
    batch
        Rows that are handed to the model at a time. A model that was exported with a number of rows
        of its own is handed that many.

    Raises
    ------
    MissingExtraError
        If onnxruntime is not installed.
    InvalidArgumentError
        If there is no such file or output, or it is no such model.
    """

    path_or_bytes: str | Path | bytes
    output: str | None = None
    batch: int = BLOCK_ROWS
    _content: bytes = field(init=False)
    #: The process that opened the model, and the model: none is used beyond a fork.
    _opened: dict[int, Any] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        if not is_whole(self.batch) or self.batch < 1:
            text = f"batch must be a whole number of 1 or more, not {self.batch!r}"
            raise InvalidArgumentError(text)
        object.__setattr__(self, "_content", _read(self.path_or_bytes))
        session = self._session()
        inputs = session.get_inputs()
        if len(inputs) != 1 or len(inputs[0].shape) != 2 or inputs[0].type not in INPUTS:
            found = ", ".join(f"{x.name}: {x.type} of shape {x.shape}" for x in inputs)
            text = (
                f"{self._name} takes {found or 'nothing'}; export a model with one input, states "
                "of shape (n, d) in float32"
            )
            raise InvalidArgumentError(text)
        names = [x.name for x in session.get_outputs()]
        if self.output is not None and self.output not in names:
            text = f'{self._name} has no output "{self.output}"; {suggest(self.output, names)}'
            raise InvalidArgumentError(text)

    @property
    def _name(self) -> str:
        """Name the model in a message."""
        given = self.path_or_bytes
        return "the ONNX model" if isinstance(given, bytes) else f'the ONNX model "{given}"'

    def __call__(self, states: Any) -> NDArray[np.float64]:
        """Run the model.

        Parameters
        ----------
        states
            Array of numbers of shape (n, d).

        Returns
        -------
        numpy.ndarray
            What the output holds, with n rows.

        Raises
        ------
        InvalidPolicyError
            If states are not numbers, or have another width than the model takes.
        """
        session = self._session()
        (wanted,) = session.get_inputs()
        given = np.asarray(states)
        if given.dtype.kind not in "fiub" or given.ndim != 2:
            text = (
                f"{self._name} takes numbers of shape (n, d), but states are {given.dtype} of "
                f"shape {given.shape}; name state columns that hold numbers"
            )
            raise InvalidPolicyError(text)
        width = wanted.shape[1]
        if isinstance(width, int) and given.shape[1] != width:
            text = (
                f"{self._name} takes {plural(width, 'number')} a state, but states have "
                f"{given.shape[1]}; name the state columns that it was trained on, in their order"
            )
            raise InvalidPolicyError(text)
        output = self.output or session.get_outputs()[0].name
        values = np.ascontiguousarray(given, dtype=INPUTS[wanted.type])
        fixed = wanted.shape[0]
        batch = fixed if isinstance(fixed, int) else self.batch
        if isinstance(fixed, int):
            values = np.pad(values, ((0, -len(values) % fixed), (0, 0)))
            values = values if len(values) else np.zeros((fixed, values.shape[1]), values.dtype)
        # One batch where there are no rows: the model knows how wide its answer is.
        starts = range(0, max(len(values), 1), batch)
        parts = [session.run([output], {wanted.name: values[i : i + batch]})[0] for i in starts]
        return np.concatenate(parts)[: len(given)].astype(np.float64)

    def _session(self) -> Any:
        """Open the model, once in each process."""
        process = os.getpid()
        session = self._opened.get(process)
        if session is None:
            session = self._opened[process] = _open(self._content, self._name)
        return session

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_opened": {}}

    def __repr__(self) -> str:
        given = self.path_or_bytes
        what = plural(len(given), "byte") if isinstance(given, bytes) else repr(str(given))
        return f"Onnx({what})"


def _read(path_or_bytes: object) -> bytes:
    """Take the content of a file, or what is that already."""
    if isinstance(path_or_bytes, bytes):
        return path_or_bytes
    if not isinstance(path_or_bytes, str | Path):
        text = f"Onnx takes a path or the bytes of a model, not {path_or_bytes!r}"
        raise InvalidArgumentError(text)
    try:
        return Path(path_or_bytes).read_bytes()
    except OSError as error:
        text = f'the ONNX model "{path_or_bytes}" cannot be read: {error.strerror or error}'
        raise InvalidArgumentError(text) from error


def _open(content: bytes, name: str) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        text = 'policies from ONNX files need onnxruntime; pip install "counterfolio[onnx]"'
        raise MissingExtraError(text) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = SEVERITY
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        text = f"{name} cannot be opened: {error}"
        raise InvalidArgumentError(text) from error
