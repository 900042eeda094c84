"""Pictures for a browser: self-contained files without network requests."""
