"""What an exported file stores, and whether it is its model in the precision that it states."""
