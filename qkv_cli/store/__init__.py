"""Which models exist, where they live, and how they get there."""
