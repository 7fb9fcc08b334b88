"""`chadbox run` with every waiting time scaled: `python -m tests.faults.player PACE CONFIG`."""

from __future__ import annotations

import sys
from pathlib import Path

from appliance import app, config
from appliance.cloud.timing import Timing
from appliance.errors import ChadboxError

if __name__ == "__main__":
    try:
        sys.exit(app.run(config.load(Path(sys.argv[2])), Timing().scaled(float(sys.argv[1]))))
    except ChadboxError as error:
        sys.exit(f"player: {error}")
