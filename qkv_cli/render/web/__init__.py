"""Pictures for a browser: one self-contained file that fetches nothing."""
