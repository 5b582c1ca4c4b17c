"""Dataset: an immutable, content-addressed set of examples with splits and a preparation report."""

from typing import Any

import msgspec

from modelyard.core.clock import iso
from modelyard.core.digests import short


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One turn. `role` is system, user, assistant or tool; `tool_calls` is JSON as OpenAI writes it."""

    role: str
    content: str
    name: str = ""
    tool_calls: str = ""
    tool_call_id: str = ""


class Example(msgspec.Struct, frozen=True, kw_only=True):
    """One row: a conversation that ends with the answer to learn, and where it came from.

    `rejected` are the turns of the worse answer of a preference pair, `desirable` the verdict of an unpaired one.
    `tools` is the JSON of the tools on offer, `meta` JSON of the row's provenance; both are empty where there is none.
    """

    id: str
    messages: tuple[Message, ...]
    source: str
    line: int
    rejected: tuple[Message, ...] = ()
    desirable: bool | None = None
    tools: str = ""
    label: str | None = None
    meta: str = ""

    @property
    def prompt(self) -> tuple[Message, ...]:
        """All turns before the last answer."""
        return self.messages[:-1]

    @property
    def answer(self) -> str:
        """The text of the last turn."""
        return self.messages[-1].content


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """The interactions of a service that rows were collected from: `until_ms` is the first moment outside."""

    service: str
    since_ms: int
    until_ms: int
    num_interactions: int


class Source(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A raw file a dataset was made from; or, with a `window`, the rows collected from production."""

    path: str
    digest: str
    num_bytes: int
    window: Window | None = None

    @property
    def title(self) -> str:
        """The path, with what was collected when."""
        if self.window is None:
            return self.path
        window = self.window
        return f"{self.path}, {window.num_interactions:,} from {iso(window.since_ms)} to {iso(window.until_ms)}"


class Dataset(msgspec.Struct, frozen=True, kw_only=True):
    """The record of a dataset. `blob` holds the Parquet files.

    `digest` covers the name, every row of every split, the digests of the sources and the whole configuration: what was
    made from another file, or in another way, is another dataset, also where its rows are the same.

    `steps` counts rows in the order of the steps: [{"step", "rows_in", "rows_out", "dropped", "changed", "examples"}].
    """

    name: str
    digest: str
    created_ms: int
    blob: str
    rows: dict[str, int]
    sources: tuple[Source, ...]
    config: dict[str, Any]
    steps: tuple[dict[str, Any], ...] = ()

    @property
    def ref(self) -> str:
        """`name@digest`, short."""
        return f"{self.name}@{short(self.digest)}"
