"""Look inside attention from the terminal."""

import os

__version__ = "0.1.0"

# Before numpy starts them: its own threads spin while they wait, which costs more than they give
# on matrices of this size. Where there is much to do, core.arrays.parallel shares it out.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
