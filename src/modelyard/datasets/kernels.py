"""Functions over bytes that are compiled when first called, and kept on disk for the next time.

A kernel takes and gives NumPy arrays and numbers. Integers wrap around as in C; it frees the interpreter lock.
"""

from collections.abc import Callable
from typing import TypeVar

import numba

_Function = TypeVar("_Function", bound=Callable[..., object])


def kernel(function: _Function) -> _Function:
    """Compile a function on its first call."""
    compiled: _Function = numba.njit(cache=True, nogil=True)(function)
    return compiled


def inlined(function: _Function) -> _Function:
    """Compile a function into each kernel that calls it: for small ones that are called for every byte or word."""
    compiled: _Function = numba.njit(cache=True, nogil=True, forceinline=True)(function)
    return compiled
