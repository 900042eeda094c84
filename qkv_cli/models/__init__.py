"""Data: the embedded model, what it is judged by, and how it is built."""
