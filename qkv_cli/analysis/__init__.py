"""Arrays in, arrays and small dataclasses out."""
