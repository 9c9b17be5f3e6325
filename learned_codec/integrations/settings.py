"""The settings of a codec for array libraries, as its configuration states them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def given(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Those that were given (not None), as Python's own numbers, which JSON knows."""
    found = {key: value for key, value in settings.items() if value is not None}
    return {key: value.item() if isinstance(value, np.generic) else value for key, value in found.items()}
