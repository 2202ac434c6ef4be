"""Why a file fails its gates, and what to do about it. Needs Keras and every engine it asks."""
