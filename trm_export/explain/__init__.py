"""Explain why a file fails its gates, and what to do. Needs Keras and the engine of each file."""
