"""Pictures for the terminal: one module per command, and the parts they share."""
