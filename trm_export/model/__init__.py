"""The Tiny Recursive Model in Keras: two families behind one configuration."""

from trm_export.errors import ConfigurationError
from trm_export.model.config import TRMConfig
from trm_export.model.inner import TRMInner, TRMReasoningModule
from trm_export.model.presets import PRESETS, preset
from trm_export.model.trm import TRM, is_own

__all__ = [
    "PRESETS",
    "TRM",
    "ConfigurationError",
    "TRMConfig",
    "TRMInner",
    "TRMReasoningModule",
    "is_own",
    "preset",
]
