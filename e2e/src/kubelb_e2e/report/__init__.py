"""One page about a run: what stood there, what was asked, what came of it.

`kubelb_e2e.report.plugin` collects while pytest runs and writes `report.html` at the end; conftest,
fixtures and tests tell it what it cannot see, through `run(config)` and `of(item)`. The plugin itself is
never imported from here: pytest wants to be the first.
"""

from kubelb_e2e.report.model import Cluster
from kubelb_e2e.report.record import RUN, TALLY, Record, Run, describe, of, run

__all__ = ["RUN", "TALLY", "Cluster", "Record", "Run", "describe", "of", "run"]
