"""Tokenizers of checkpoints and of word-vector models."""
