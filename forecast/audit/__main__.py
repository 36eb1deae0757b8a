"""`python -m forecast.audit DATASET`: the audit in a process of its own, since it runs the code it examines."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from forecast.system import scratch
from forecast.system.errors import ForecastError

LEAK = 1


def main(arguments: list[str] | None = None) -> int:
    """0 when no leak was found, 1 when one was, the error's code when the audit could not be made."""
    options = _parser().parse_args(arguments)
    from forecast.audit.run import audit

    say = (lambda line: None) if options.quiet else (lambda line: print(line, file=sys.stderr, flush=True))
    try:
        with scratch.folder() as folder:
            found = audit(
                Path(options.root), options.dataset, folder, models=options.models, jobs=options.jobs, say=say
            )
    except ForecastError as error:
        print(f"audit: {error}", file=sys.stderr)
        return error.exit_code
    print(json.dumps(found.to_json(), indent=1) if options.json else "\n".join(found.lines()))
    return 0 if found.clean else LEAK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="forecast audit", description="Look for leaks in the pipeline of a dataset.")
    parser.add_argument("dataset")
    parser.add_argument("--root", default=".")
    parser.add_argument("--models", default=(), type=lambda text: tuple(part for part in text.split(",") if part))
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    parser.add_argument("--quiet", action="store_true")
    return parser


if __name__ == "__main__":
    sys.exit(main())
