"""`python -m trm_export ...` is `trm-export ...`."""

from __future__ import annotations

from trm_export.commands import main

if __name__ == "__main__":
    main()
