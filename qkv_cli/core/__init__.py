"""The mathematics of attention: pure functions over arrays, and frozen dataclasses."""
