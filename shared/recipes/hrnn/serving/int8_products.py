"""Products of 8-bit numbers, by onnxruntime: numpy multiplies them one by one, in int64.

A core reads a fourth of what it would read of float32, and multiplies 64 pairs at a time where it has VNNI or AMX. One
operation of ONNX is all that is used of it, MatMulInteger; the model of that one operation is written here, by the few
fields of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto that it takes, since the package onnx would come for
nothing else.

Shapes: B queries, H hidden, C items.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Codes = npt.NDArray[np.int8]
Sums = npt.NDArray[np.int32]

MOST = 127
"""A code of a vector lies in [-127, 127]."""

_IR_VERSION, _OPSET = 8, 13
_UINT8, _INT8, _INT32 = 2, 3, 6


class Products:
    """Codes of C vectors, kept in a layout of the library's own. Threads may share it; each computes in its own."""

    def __init__(self, codes_CH: Codes, zero: int) -> None:
        import onnxruntime  # 30 MB of memory: only for who has a large catalogue

        options = onnxruntime.SessionOptions()
        # A thread for each request, as everywhere here; and no heap of its own beside the process's.
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.enable_cpu_mem_arena = options.enable_mem_pattern = False
        options.log_severity_level = 3
        self._items = len(codes_CH)
        model = _model(codes_CH, zero)
        self._session: Any = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        # It would keep what it was made of, to begin anew with other providers: there are none.
        vars(self._session).pop("_model_bytes", None)

    def of(self, bytes_BH: Bytes, room: Sums) -> Sums:
        """int32[B,C]: of queries from each number of which ``zero`` is to be taken first. A part of ``room``, which is
        int32[B*C] or more: what the library takes of the heap it gives back in pieces that nothing else fits into.
        """
        shape = len(bytes_BH), self._items
        sums_BC = room[: shape[0] * shape[1]].reshape(shape)
        binding = self._session.io_binding()
        binding.bind_cpu_input("queries", bytes_BH)
        binding.bind_output("sums", "cpu", 0, np.int32, shape, sums_BC.ctypes.data)
        self._session.run_with_iobinding(binding)
        return sums_BC


@cache
def reach() -> int:
    """How far the bytes of a query may be from their zero: 127, or 63 on processors from before VNNI, which add two
    products in 16 bits and would cut off what is larger.
    """
    codes_CH = np.full((64, 128), MOST, np.int8)
    codes_CH[::2] = -MOST
    bytes_BH = np.full((1, 128), 255, np.uint8)
    whole_C = codes_CH.sum(1, dtype=np.int32) * MOST
    found_C = Products(codes_CH, 128).of(bytes_BH, np.empty(64, np.int32))[0]
    return MOST if np.array_equal(found_C, whole_C) else MOST // 2


def _model(codes_CH: Codes, zero: int) -> bytes:
    items, hidden = codes_CH.shape
    node = _text(1, "queries") + _text(1, "codes") + _text(1, "zero") + _text(2, "sums") + _text(4, "MatMulInteger")
    graph = (
        _message(1, node)
        + _text(2, "products")
        + _message(5, _tensor("codes", _INT8, codes_CH.T))
        + _message(5, _tensor("zero", _UINT8, np.array(zero, np.uint8)))
        + _message(11, _value("queries", _UINT8, hidden))
        + _message(12, _value("sums", _INT32, items))
    )
    return _number(1, _IR_VERSION) + _message(7, graph) + _message(8, _text(1, "") + _number(2, _OPSET))


def _tensor(name: str, type_: int, array: npt.NDArray[Any]) -> bytes:
    dims = b"".join(_number(1, size) for size in array.shape)
    return dims + _number(2, type_) + _text(8, name) + _message(9, array.tobytes())


def _value(name: str, type_: int, width: int) -> bytes:
    """An input or output of the type [B, width]."""
    shape = _message(1, _text(2, "B")) + _message(1, _number(1, width))
    tensor = _number(1, type_) + _message(2, shape)
    return _text(1, name) + _message(2, _message(1, tensor))


def _number(field: int, number: int) -> bytes:
    return _varint(field << 3) + _varint(number)


def _text(field: int, text: str) -> bytes:
    return _message(field, text.encode())


def _message(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    sevens = bytearray()
    while number > 127:
        sevens.append(number & 127 | 128)
        number >>= 7
    sevens.append(number)
    return bytes(sevens)
