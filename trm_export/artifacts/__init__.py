"""Exported files: inspection, benchmark, and writing another contract into them."""
