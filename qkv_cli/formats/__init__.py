"""File formats: from bytes on disk to named tensors and tokens."""
