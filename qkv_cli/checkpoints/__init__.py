"""Checkpoints of transformers: their tensors, their config, and an adapter per family."""
