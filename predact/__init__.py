"""The executable edition of *Predicting vs. Acting* (Li et al., 2024): its figures on any Base/RLHF pair."""

from importlib.metadata import version

__version__ = version("predact")
