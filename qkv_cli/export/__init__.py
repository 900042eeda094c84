"""Head maps to files, and back."""
