"""One thread for linear algebra: how sums are rounded must not depend on a machine's cores."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Libraries of BLAS that are loaded by now compute with one thread inside."""
    from threadpoolctl import ThreadpoolController  # late: not every command runs passes

    with ThreadpoolController().limit(limits=1, user_api="blas"):
        yield
