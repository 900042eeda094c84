"""Pictures for paper: SVG, PDF and PNG, drawn by matplotlib."""
