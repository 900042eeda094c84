"""Pictures for paper: SVG, PDF and PNG, drawn by matplotlib from what a picture holds."""
