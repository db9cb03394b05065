"""Write the CRDs that the records in kubelb_common.api describe; `--check` only says whether that is needed.

Exit codes: 0 all is up to date (or was written), 1 `--check` found a stale file, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from kubelb_common.api.crd_schema import build, render

FOLDER = Path(__file__).resolve().parent.parent / "packages/common/src/kubelb_common/api/crds"


def stale(folder: Path) -> dict[Path, str | None]:
    """Return the files of `folder` that are not as they should be, with their right text; None for one too many."""
    wanted = {folder / f"{plural}.yaml": render(definition) for plural, definition in build().items()}
    changes: dict[Path, str | None] = {
        path: text for path, text in wanted.items() if not path.exists() or path.read_text(encoding="utf-8") != text
    }
    return changes | {path: None for path in folder.glob("*.yaml") if path not in wanted}


def main(arguments: list[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Write the CRDs of kubelb.k8c.io from their Python classes.")
    parser.add_argument("--check", action="store_true", help="change nothing; fail if a file would change")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the files are (default: the package)")
    options = parser.parse_args(arguments)
    changes = stale(options.folder)
    if options.check:
        for path in changes:
            print(f"{path.name} is not what kubelb_common.api describes; run hack/gen_crds.py", file=sys.stderr)
        return 1 if changes else 0
    options.folder.mkdir(parents=True, exist_ok=True)
    for path, text in changes.items():
        if text is None:
            path.unlink()
        else:
            path.write_text(text, encoding="utf-8")
        print(("removed " if text is None else "wrote ") + path.name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
