"""Files that this tool writes: what is in them, what they cost, and their contract rewritten."""
