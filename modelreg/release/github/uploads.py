"""Upload the files of a release, several at the same time.

Each thread has its session, because sessions of requests must not be shared. After a failure no further upload starts.
If another attempt may succeed, the running uploads finish, because a file that has arrived is not sent again. Any other
failure, and Ctrl-C, stops them at their next chunk. The threads are daemons, so that a dead connection does not keep
the program alive.
"""

import threading
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from queue import SimpleQueue

from modelreg.errors import ModelregError
from modelreg.release.github.answers import Retry
from modelreg.release.github.client import Client
from modelreg.release.github.http_client import Progress
from modelreg.release.github.plan import Asset, RemoteRelease

GRACE_S = 0.5  # for a thread to stop


class _Stopped(Exception):
    """An upload that is stopped because another one failed."""


class Uploads:
    """Files of one folder that are to be uploaded to one release."""

    def __init__(self, client: Client, release: RemoteRelease, folder: Path, progress: Progress) -> None:
        self._client, self._release, self._folder, self._progress = client, release, folder, progress
        self._left: deque[Asset] = deque()
        self._ended: SimpleQueue[str | Exception | None] = SimpleQueue()  # a name, a failure; None: a thread has ended
        self._stop = threading.Event()

    def send(self, assets: Iterable[Asset], jobs: int, sent: list[str]) -> None:
        """Upload files, `jobs` at a time, and add the name of each uploaded file to `sent`.

        Raises the Retry with the longest wait if another attempt may succeed, else the first failure.
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
        """Collect the reports of the threads until all have ended."""
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
        """Upload one file after the other until none is left."""
        try:
            with Client(self._client.server, self._client.http.budget) as client:
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
        self._progress(name, done, of)
