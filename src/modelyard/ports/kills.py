"""The kill switch: what is stopped, by whom, why and until when. One small file, beside the route table."""

import contextlib
from collections.abc import Mapping
from typing import Literal

import msgspec

from modelyard.core.digests import canonical_json
from modelyard.core.errors import Corrupt

KillKind = Literal["key", "tenant", "service", "all"]
KINDS: tuple[KillKind, ...] = ("key", "tenant", "service", "all")
FILE_NAME = "kills.json"
# The hash of the same in Redis: a field for each kill (`kind:name`) and each lift (`lift:tenant`).
REDIS_KEY = "{modelyard}:kills"


class Kill(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is stopped. `name` is a key's id, a tenant or a service, and empty for `all`.

    `until_ms` of 0 means until it is lifted.
    """

    kind: KillKind
    name: str = ""
    reason: str = ""
    by: str = ""
    at_ms: int = 0
    until_ms: int = 0


class Lift(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant whose traffic its spend alarm had stopped is let through again; at each `at_ms` once."""

    tenant: str
    by: str = ""
    at_ms: int = 0


def field_of(kind: str, name: str) -> str:
    """The field of a kill, or (`lift`) of a lift, in Redis."""
    return f"{kind}:{name}"


class KillFile(msgspec.Struct, frozen=True):
    """What an operator wants of running gateways."""

    kills: tuple[Kill, ...]
    lifts: tuple[Lift, ...] = ()


def encode_kills(kills: tuple[Kill, ...], lifts: tuple[Lift, ...] = ()) -> bytes:
    """The file's bytes. Write them with `core.files.write_atomically`."""
    return canonical_json({"kills": kills, "lifts": lifts} if lifts else {"kills": kills}) + b"\n"


def decode_fields(fields: Mapping[bytes, bytes]) -> KillFile:
    """What Redis holds; a field that cannot be read is passed over."""
    kills, lifts = [], []
    for name, value in fields.items():
        with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
            if name.startswith(b"lift:"):
                lifts.append(msgspec.json.decode(value, type=Lift))
            else:
                kills.append(msgspec.json.decode(value, type=Kill))
    return KillFile(tuple(kills), tuple(lifts))


def decode_kills(data: bytes) -> KillFile:
    """A file's bytes, read. Raises: Corrupt where they cannot be."""
    try:
        return msgspec.json.decode(data, type=KillFile)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Corrupt(
            f"the kill switch's file cannot be read: {error}",
            expected='{"kills": [{"kind": "tenant", "name": "acme"}]}',
            fix="write it with `modelyard kill`; to start again, delete it: then nothing is stopped",
        ) from error
