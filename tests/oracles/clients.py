# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Clients that use a cluster while something is done to it, and count what they lose.

`python3 -m tests.oracles.clients --bed .testbed --out FILE [--pod-log PATH] -- COMMAND …` runs COMMAND, meanwhile reads and writes
20 times a second through the control-plane endpoint (a new connection each), and fetches a pod's log from its node 5 times a second.
"""

from __future__ import annotations

import argparse
import base64
import json
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPSConnection
from pathlib import Path
from urllib.parse import urlsplit

import yaml

REQUESTS_PER_SECOND = 20.0
LOGS_PER_SECOND = 5.0
TIMEOUT_S = 10.0
# Bytes of an answer that are kept: a Status says what the apiserver met at the kubelet only after its kind and the whole URL.
EXCERPT = 400
OBJECT = "/api/v1/namespaces/default/configmaps/ninepaths-client"


@dataclass(frozen=True)
class Loss:
    """A request that was lost: when it was sent (seconds since the tally's start), what it was, and why."""

    at: float
    what: str
    cause: str


@dataclass
class Tally:
    """What one client sent, when, and what it lost. `started`: seconds since the epoch."""

    started: float = field(default_factory=time.time)
    sent: list[float] = field(default_factory=list)
    lost: list[Loss] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def count(self, what: str, action: Callable[[], object]) -> None:
        """Do one request and remember how it went."""
        at = time.time() - self.started
        with self.lock:
            self.sent.append(at)
        try:
            action()
        except (OSError, HTTPException, subprocess.SubprocessError) as error:
            with self.lock:
                self.lost.append(Loss(round(at, 2), what, f"{type(error).__name__}: {error}"[: 2 * EXCERPT]))

    def as_dict(self) -> dict[str, object]:
        """For the result file."""
        losses = [(loss.at, loss.what, loss.cause) for loss in self.lost[:1000]]
        return {"sent": len(self.sent), "lost": len(self.lost), "losses": losses}


class Client:
    """Talks to the API with the credential of a kubeconfig, a new connection for each request."""

    def __init__(self, kubeconfig: Path) -> None:
        document = yaml.safe_load(kubeconfig.read_text(encoding="utf-8"))
        cluster, user = document["clusters"][0]["cluster"], document["users"][0]["user"]
        self.server = urlsplit(cluster["server"])
        self.context = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
        with tempfile.NamedTemporaryFile("wb") as pair:  # 0600, gone as soon as it was read
            pair.write(base64.b64decode(user["client-certificate-data"]) + b"\n" + base64.b64decode(user["client-key-data"]))
            pair.flush()
            self.context.load_cert_chain(pair.name)

    def request(self, method: str, path: str, body: object = None, content_type: str = "application/json") -> bytes:
        """One request; raises HTTPException on a status of 400 or more, OSError on a broken connection."""
        host, port = self.server.hostname, self.server.port
        if host is None:
            raise HTTPException("the kubeconfig names no server")
        connection = HTTPSConnection(host, port, timeout=TIMEOUT_S, context=self.context)
        try:
            connection.request(method, path, None if body is None else json.dumps(body), {"Content-Type": content_type})
            answer = connection.getresponse()
            data = answer.read()
        finally:
            connection.close()
        if answer.status >= 400:
            raise HTTPException(f"{method} {path}: {answer.status} {data[:EXCERPT]!r}")
        return data


def _at_rate(per_second: float, action: Callable[[int], None], stop: threading.Event) -> None:
    """Call `action(n)` in a thread of its own at a fixed rate, whether or not the earlier ones have ended."""
    started, number, threads = time.monotonic(), 0, []
    while not stop.is_set():
        thread = threading.Thread(target=action, args=(number,), daemon=True)
        thread.start()
        threads.append(thread)
        number += 1
        stop.wait(max(0.0, started + number / per_second - time.monotonic()))
    for thread in threads:
        thread.join(TIMEOUT_S + 5)


def _prepare(client: Client) -> None:
    """Make the object; a cluster that came up a moment ago is given a minute."""
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": OBJECT.rsplit("/", 1)[1]}}
    deadline = time.monotonic() + 60
    while True:
        try:
            client.request("POST", OBJECT.rsplit("/", 1)[0], body)
        except (OSError, HTTPException) as error:
            if "409" in str(error):
                return
            if time.monotonic() > deadline:
                raise
            time.sleep(1)
        else:
            return


def _read_or_write(client: Client, number: int) -> object:
    if number % 2:
        return client.request("GET", OBJECT)
    return client.request("PATCH", OBJECT, {"data": {"n": str(number)}}, "application/merge-patch+json")


@contextmanager
def _running(loops: Mapping[Callable[[int], None], float]) -> Iterator[None]:
    """Every action at its rate, in threads, until the block has ended."""
    stop = threading.Event()
    threads = [threading.Thread(target=_at_rate, args=(rate, action, stop)) for action, rate in loops.items()]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@contextmanager
def reading_logs(bed: Path, pod_logs: Mapping[str, str]) -> Iterator[dict[str, Tally]]:
    """Fetch logs (API paths by name, e.g. by node) 5 times a second each while the block runs; yields what is counted, by name."""
    client, tallies = Client(bed / "kubeconfig"), {name: Tally() for name in pod_logs}

    def fetcher(name: str, path: str) -> Callable[[int], None]:
        return lambda _number: tallies[name].count("logs", lambda: client.request("GET", path))

    with _running({fetcher(name, path): LOGS_PER_SECOND for name, path in pod_logs.items()}):
        yield tallies


@contextmanager
def reading_and_writing(bed: Path) -> Iterator[Tally]:
    """Read and write an object 20 times a second while the block runs."""
    client, tally = Client(bed / "kubeconfig"), Tally()
    _prepare(client)

    def action(number: int) -> None:
        tally.count("read" if number % 2 else "write", lambda: _read_or_write(client, number))

    with _running({action: REQUESTS_PER_SECOND}):
        yield tally


def run(bed: Path, command: list[str], pod_log: str | None) -> dict[str, object]:
    """Run `command` under load; `pod_log` is the API path of a pod's log to fetch as well."""
    started = time.monotonic()
    with reading_and_writing(bed) as requests, reading_logs(bed, {"logs": pod_log} if pod_log else {}) as logs:
        print("clients  begun", flush=True)
        done = subprocess.run(command, check=False)
        time.sleep(3)  # what breaks right after the end counts as well
    seconds = round(time.monotonic() - started, 1)
    return {"rc": done.returncode, "seconds": seconds, "requests": requests.as_dict(), "logs": logs.get("logs", Tally()).as_dict()}


def main(argv: list[str]) -> int:
    """Command line; exits with the command's own code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bed", type=Path, default=Path(".testbed"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pod-log", help="API path of a log, e.g. /api/v1/namespaces/kube-system/pods/kube-proxy-abcde/log?tailLines=1")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args(argv)
    result = run(options.bed, options.command, options.pod_log)
    options.out.write_text(json.dumps(result, indent=1), encoding="utf-8")
    requests, logs = result["requests"], result["logs"]
    print(f"clients  requests {requests}  logs {logs}"[:600])
    return int(str(result["rc"]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
