"""The name and version of this tool, as they stand in what it writes."""

TOOL = "trm-export"
__version__ = "0.1.0"
