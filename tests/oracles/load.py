# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""All clients at once, while something is done to a cluster, and what they lost.

`python3 -m tests.oracles.load --bed .testbed --out FILE -- COMMAND …` runs COMMAND. Meanwhile objects are read and written 20 times a second,
others of three kinds are written in known sequences and watched, and `exec` and `logs -f` are open on a control plane and on a worker.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.oracles import restarts, verdict
from tests.oracles.clients import Tally, reading_and_writing
from tests.oracles.streams import Stream, streaming
from tests.oracles.watches import Watch, watching

SCHEMA = 1
# What breaks right after the end counts as well.
AFTER_S = 3.0


@dataclass
class Load:
    """The clients while they run, and what came out of it when they have ended."""

    bed: Path
    requests: Tally
    watches: list[Watch]
    streams: list[Stream]
    ended: float = 0.0

    def result(self) -> dict[str, Any]:
        """For the result file; `tests/oracles/verdict.py` judges it. Times are seconds since the start."""
        started = self.requests.started
        facts = json.loads((self.bed / "bed.json").read_text(encoding="utf-8"))
        happened = restarts.read(self.bed, [node["name"] for node in facts["nodes"] if node["joined"]], started)
        return {
            "schema": SCHEMA,
            "kubernetes": facts["kubernetes"],
            "started": round(started, 2),
            "seconds": round(self.ended - started, 1),
            "requests": self.requests.as_dict(),
            "watches": [watch.as_dict(started) for watch in self.watches],
            "streams": [_explained(stream, happened, started) for stream in self.streams],
            "restarts": [one.as_dict(started) for one in happened],
        }


def _explained(stream: Stream, happened: list[restarts.Restart], started: float) -> dict[str, Any]:
    """A stream's result with the restart that each cut belongs to, or null."""
    found: dict[str, Any] = stream.as_dict(started)
    causes = restarts.explain([cut.at for cut in stream.cuts], happened, stream.node)
    for cut, cause in zip(found["cuts"], causes, strict=True):
        cut["restart"] = None if cause is None else str(cause)
    return found


@contextmanager
def using(bed: Path) -> Iterator[Load]:
    """Use the cluster of a bed while the block runs; afterwards `result()` tells what was lost."""
    with streaming(bed) as streams, watching(bed) as watches, reading_and_writing(bed) as requests:
        load = Load(bed, requests, watches, streams)
        yield load
        time.sleep(AFTER_S)
        load.ended = time.time()


def main(argv: list[str]) -> int:
    """Command line; exits with the command's own code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bed", type=Path, default=Path(".testbed"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("command", nargs="+")
    options = parser.parse_args(argv)
    with using(options.bed) as load:
        print("clients  begun", flush=True)
        done = subprocess.run(options.command, check=False)
    result = {**load.result(), "rc": done.returncode}
    result["complaints"] = verdict.complaints(result)
    text = json.dumps(result, indent=1)
    partial = options.out.with_name(f"{options.out.name}.part")
    partial.write_text(text, encoding="utf-8")
    partial.rename(options.out)  # whoever waits for it finds it whole
    print(verdict.lines(result), flush=True)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
