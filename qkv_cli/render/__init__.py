"""Rich renderables: they know head maps and no models."""
