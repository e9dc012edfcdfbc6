"""The executable edition of *Predicting vs. Acting* (Li et al., 2024): its figures on any Base/RLHF pair."""

import os
from importlib.metadata import version

__version__ = version("predact")

# Threads that wait for each other go to sleep: spinning, they take the processor from whoever could make use of it.
# OpenMP reads it when PyTorch is first imported; LLVM's and Intel's (not GNU's) need the second line too.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("KMP_BLOCKTIME", "0")  # ms
