"""A probe: one engine at a URL, asked as a caller would, whole and streamed. Knows no checks."""

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

import httpx
import msgspec

from modelyard.core.errors import Unavailable
from modelyard.ports.sheets import Sheet

Body = dict[str, Any]
QUESTION = [{"role": "user", "content": "Where is my order?"}]


class Stream(msgspec.Struct, kw_only=True):
    """What a streamed answer held: its events, and whether `[DONE]` came last."""

    status: int
    events: list[Any]
    is_done: bool


class Probe:
    """One instance serves one thread."""

    def __init__(self, url: str, sheet: Sheet, *, model: str = "", api_key: str = "", timeout_s: float = 60.0) -> None:
        self.url = url.rstrip("/")
        self.sheet = sheet
        self.model = model
        self.context_tokens = 0
        headers = dict(sheet.headers)
        if api_key and sheet.auth == "bearer":
            headers["authorization"] = f"Bearer {api_key}"
        elif api_key:
            # An API that has a header of its own for keys may still want OpenAI's on OpenAI's paths.
            headers |= {sheet.auth: api_key, "authorization": f"Bearer {api_key}"}
        self._client = httpx.Client(base_url=self.url, headers=headers, timeout=timeout_s)

    def close(self) -> None:
        """Give back the connections."""
        self._client.close()

    def get(self, path: str) -> httpx.Response:
        """Raises: Unavailable where nothing answers."""
        return self._send("GET", path)

    def post(self, path: str, body: Body | bytes) -> httpx.Response:
        """Raises: Unavailable where nothing answers."""
        content = body if isinstance(body, bytes) else msgspec.json.encode(body)
        return self._send("POST", path, content=content, headers={"content-type": "application/json"})

    def ask(self, endpoint: str, body: Body) -> httpx.Response:
        """Ask one of OpenAI's or Anthropic's endpoints, with the model filled in."""
        return self.post(self.sheet.path(endpoint), {"model": self.model, **body})

    def chat(self, **fields: Any) -> httpx.Response:
        """A short greedy answer, whole."""
        return self.ask("chat", {"messages": QUESTION, "max_tokens": 16, "temperature": 0, **fields})

    def stream(self, **fields: Any) -> Stream:
        """A short greedy answer, streamed to its end."""
        with self.open_stream(**fields) as (status, events):
            found = list(events)
        is_done = bool(found) and found[-1] is None
        return Stream(status=status, events=[event for event in found if event is not None], is_done=is_done)

    @contextmanager
    def open_stream(self, **fields: Any) -> Iterator[tuple[int, Iterator[Any]]]:
        """A streamed answer as its status and its events, None for `[DONE]`; leaving it closes the connection."""
        body = {"model": self.model, "messages": QUESTION, "max_tokens": 16, "temperature": 0, "stream": True, **fields}
        try:
            with self._client.stream("POST", self.sheet.path("chat"), json=body) as response:
                yield response.status_code, _events(response.iter_lines())
        except httpx.HTTPError as error:
            raise self._unavailable(error) from error

    def gauge(self, names: tuple[str, ...]) -> float | None:
        """The sum of a metric's samples, by the first of its names that is on the page; None where none is."""
        if self.sheet.metrics is None:
            return None
        lines = self.get(self.sheet.metrics.path).text.splitlines()
        for name in names:
            family, _, labels = name.partition("{")
            wanted = labels.rstrip("}")
            found = [line for line in lines if line.startswith((family + "{", family + " ")) and wanted in line]
            if found:
                return sum(float(line.rpartition("}")[2].split()[0 if "}" in line else 1]) for line in found)
        return None

    def _send(self, method: str, path: str, **fields: Any) -> httpx.Response:
        try:
            return self._client.request(method, path, **fields)
        except httpx.HTTPError as error:
            raise self._unavailable(error) from error

    def _unavailable(self, error: httpx.HTTPError) -> Unavailable:
        reason = str(error) or type(error).__name__
        return Unavailable(
            f"the engine at {self.url} does not answer: {reason}", fix="see whether it runs, and its log"
        )


def _events(lines: Iterator[str]) -> Iterator[Any]:
    for line in lines:
        data = line.partition("data:")[2].strip() if line.startswith("data:") else ""
        if data:
            yield None if data == "[DONE]" else msgspec.json.decode(data)


def told(response: httpx.Response) -> str:
    """What an answer says, short enough for a table: its status, and its error where it has one."""
    status = f"{response.status_code} {HTTPStatus(response.status_code).phrase}"
    return f"{status}: {response.text[:120]}" if response.is_error else status
