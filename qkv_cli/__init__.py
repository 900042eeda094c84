"""Look inside attention from the terminal."""

import os

__version__ = "0.1.0"

# Set before numpy is imported: OpenBLAS's threads spin while they wait, which costs more than they
# gain on matrices of this size. Large matrices are shared out by core.parallel.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
