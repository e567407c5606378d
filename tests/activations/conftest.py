import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))

from families import FAMILIES, shared


@pytest.fixture(params=sorted(FAMILIES))
def lm(request):
    """A tiny model of every family; shared, so a test must leave it as it was."""
    return shared(request.param)
