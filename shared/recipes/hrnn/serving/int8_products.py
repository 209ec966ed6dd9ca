"""Products of 8-bit matrices by onnxruntime. numpy would multiply the numbers one by one, in int64.

A core reads a fourth of the memory of float32, and multiplies 64 pairs at a time if it has VNNI or AMX. The only
operation of ONNX in use is MatMulInteger. The model of this one operation is written here, with the few fields of
https://github.com/onnx/onnx/blob/main/onnx/onnx.proto that it needs, to do without the package onnx.

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
"""The greatest code of a vector: codes lie in [-127, 127]."""

_IR_VERSION, _OPSET = 8, 13
_UINT8, _INT8, _INT32 = 2, 3, 6


class Int8Products:
    """The codes of C vectors, in a layout of onnxruntime's own. Threads may share it; a call runs in its own thread."""

    def __init__(self, codes_CH: Codes, zero: int) -> None:
        import onnxruntime  # takes 30 MB of memory: only for large catalogues

        options = onnxruntime.SessionOptions()
        # One thread for each request, and the process's heap instead of an arena of its own.
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.enable_cpu_mem_arena = options.enable_mem_pattern = False
        options.log_severity_level = 3
        self.items = len(codes_CH)
        model = _build_model(codes_CH, zero)
        self._session: Any = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        # The session keeps its model to restart with other providers, of which there are none.
        vars(self._session).pop("_model_bytes", None)

    def multiply_queries(self, bytes_BH: Bytes, room: Sums) -> Sums:
        """int32[B,C]: multiply queries, after subtracting ``zero`` from their bytes.

        The result is a part of ``room``, int32[B*C] or more: memory that onnxruntime allocates fragments the heap.
        """
        shape = len(bytes_BH), self.items
        sums_BC = room[: shape[0] * shape[1]].reshape(shape)
        binding = self._session.io_binding()
        binding.bind_cpu_input("queries", bytes_BH)
        binding.bind_output("sums", "cpu", 0, np.int32, shape, sums_BC.ctypes.data)
        self._session.run_with_iobinding(binding)
        return sums_BC


@cache
def find_query_range() -> int:
    """Return how far the bytes of a query may be from their zero: 127, or 63 on processors without VNNI.

    Those add two products in 16 bits with saturation. A product of greatest codes tells which processor it is.
    """
    codes_CH = np.full((64, 128), MOST, np.int8)
    codes_CH[::2] = -MOST
    bytes_BH = np.full((1, 128), 255, np.uint8)
    whole_C = codes_CH.sum(1, dtype=np.int32) * MOST
    found_C = Int8Products(codes_CH, 128).multiply_queries(bytes_BH, np.empty(64, np.int32))[0]
    return MOST if np.array_equal(found_C, whole_C) else MOST // 2


def _build_model(codes_CH: Codes, zero: int) -> bytes:
    """Encode the ONNX model of sums = (queries - zero) @ codes.T in protobuf."""
    items, hidden = codes_CH.shape
    node = (
        _encode_text(1, "queries")
        + _encode_text(1, "codes")
        + _encode_text(1, "zero")
        + _encode_text(2, "sums")
        + _encode_text(4, "MatMulInteger")
    )
    graph = (
        _encode_message(1, node)
        + _encode_text(2, "products")
        + _encode_message(5, _encode_tensor("codes", _INT8, codes_CH.T))
        + _encode_message(5, _encode_tensor("zero", _UINT8, np.array(zero, np.uint8)))
        + _encode_message(11, _encode_value_info("queries", _UINT8, hidden))
        + _encode_message(12, _encode_value_info("sums", _INT32, items))
    )
    return (
        _encode_number(1, _IR_VERSION)
        + _encode_message(7, graph)
        + _encode_message(8, _encode_text(1, "") + _encode_number(2, _OPSET))
    )


def _encode_tensor(name: str, type_: int, array: npt.NDArray[Any]) -> bytes:
    dims = b"".join(_encode_number(1, size) for size in array.shape)
    return dims + _encode_number(2, type_) + _encode_text(8, name) + _encode_message(9, array.tobytes())


def _encode_value_info(name: str, type_: int, width: int) -> bytes:
    """Encode an input or output of shape [B, width]."""
    shape = _encode_message(1, _encode_text(2, "B")) + _encode_message(1, _encode_number(1, width))
    tensor = _encode_number(1, type_) + _encode_message(2, shape)
    return _encode_text(1, name) + _encode_message(2, _encode_message(1, tensor))


def _encode_number(field: int, number: int) -> bytes:
    return _encode_varint(field << 3) + _encode_varint(number)


def _encode_text(field: int, text: str) -> bytes:
    return _encode_message(field, text.encode())


def _encode_message(field: int, content: bytes) -> bytes:
    return _encode_varint(field << 3 | 2) + _encode_varint(len(content)) + content


def _encode_varint(number: int) -> bytes:
    sevens = bytearray()
    while number > 127:
        sevens.append(number & 127 | 128)
        number >>= 7
    sevens.append(number)
    return bytes(sevens)
