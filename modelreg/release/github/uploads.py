"""The files of a release, several on their way at once.

Each thread has a session of its own, for those of requests are not to be shared. After a failure nothing more is begun.
If it may go well another time, the other uploads come to their end, for what has arrived need not be sent again; any
other failure, and Ctrl-C, ends them at their next piece. The threads are daemons: one that hangs in a dead connection
does not keep the program.
"""

import threading
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from queue import SimpleQueue

from modelreg.errors import ModelregError
from modelreg.release.github.client import Client
from modelreg.release.github.http_client import Retry, Server, Tell
from modelreg.release.github.plan import Asset, RemoteRelease

GRACE_S = 0.5  # for a thread that is told to stop


class _Stopped(Exception):
    """An upload that is ended because of another."""


class Uploads:
    """Files that wait to be sent to one release from one folder."""

    def __init__(self, server: Server, release: RemoteRelease, folder: Path, tell: Tell) -> None:
        self._server, self._release, self._folder, self._tell = server, release, folder, tell
        self._left: deque[Asset] = deque()
        self._ended: SimpleQueue[str | Exception | None] = SimpleQueue()  # a name, a failure; None: a thread is through
        self._stop = threading.Event()

    def send(self, assets: Iterable[Asset], jobs: int, sent: list[str]) -> None:
        """Send files, `jobs` at a time, and add the name of each that has arrived to `sent`.

        Raises Retry (that which waits longest) where some may go well another time, else the first failure.
        """
        self._left.extend(assets)
        threads = [threading.Thread(target=self._work, daemon=True) for _ in range(min(jobs, len(self._left)))]
        try:
            for thread in threads:
                thread.start()
            self._gather(len(threads), sent)
        except BaseException:
            self._left.clear()
            self._stop.set()
            raise
        finally:
            for thread in filter(threading.Thread.is_alive, threads):
                thread.join(GRACE_S)

    def _gather(self, running: int, sent: list[str]) -> None:
        """Take in what the threads report until all are through."""
        retries: list[Retry] = []
        while running:
            match self._ended.get():
                case None:
                    running -= 1
                case str(name):
                    sent.append(name)
                case Retry() as retry:
                    self._left.clear()
                    retries.append(retry)
                case failure:
                    raise failure
        if retries:
            raise max(retries, key=lambda retry: retry.wait_s or 0.0)

    def _work(self) -> None:
        """Send one file after the other while there is any."""
        try:
            with Client(self._server) as client:
                while (asset := self._next()) is not None:
                    client.upload(self._release, asset, self._folder, self._on_the_way)
                    self._ended.put(asset.name)
        except (Retry, ModelregError, OSError) as failure:
            self._ended.put(failure)
        except _Stopped:
            pass
        finally:
            self._ended.put(None)

    def _next(self) -> Asset | None:
        try:
            return self._left.popleft()
        except IndexError:
            return None

    def _on_the_way(self, name: str, done: int, of: int) -> None:
        if self._stop.is_set():
            raise _Stopped
        self._tell(name, done, of)
