"""Models as `.keras` files: inspected first, then loaded strictly, ours and third-party ones."""
