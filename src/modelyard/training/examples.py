"""Examples on their way to a training process: one JSON object a line."""

from collections.abc import Iterable
from pathlib import Path

import msgspec

from modelyard.core.errors import DataInvalid
from modelyard.core.files import write_atomically
from modelyard.ports.dataset import Example

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Example)


def write_examples(path: Path, examples: Iterable[Example]) -> None:
    """Write examples to a file that appears whole."""
    write_atomically(path, _encoder.encode_lines(examples))


def read_examples(path: Path) -> list[Example]:
    """The examples of a file. Raises: DataInvalid where it is missing or holds something else."""
    try:
        return _decoder.decode_lines(path.read_bytes())
    except OSError as error:
        raise DataInvalid(f"{path} cannot be read: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise DataInvalid(f"{path} holds something other than examples: {error}") from error
