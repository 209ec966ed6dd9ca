"""How many heaps glibc has given to the threads of this process."""

from __future__ import annotations

import ctypes
import platform

GLIBC = platform.libc_ver()[0] == "glibc"


def heaps() -> int:
    libc = ctypes.CDLL(None)
    libc.open_memstream.restype = ctypes.c_void_p
    text, size = ctypes.c_char_p(), ctypes.c_size_t()
    stream = ctypes.c_void_p(libc.open_memstream(ctypes.byref(text), ctypes.byref(size)))
    libc.malloc_info(0, stream)
    libc.fclose(stream)
    return (text.value or b"").count(b"<heap ")
