"""The text of a line of bytes."""


def decode(data: bytes) -> tuple[str, str]:
    """The text of a line without its line end, and what is wrong with its bytes (empty when nothing is)."""
    data = data.rstrip(b"\r\n")
    if b"\0" in data:
        return data.decode("utf-8", "replace"), f"NUL byte: at byte {data.index(0) + 1} of the line"
    try:
        return data.decode("utf-8"), ""
    except UnicodeDecodeError as error:
        return data.decode("utf-8", "replace"), f"invalid UTF-8: at byte {error.start + 1} of the line"


def is_utf8(data: bytes) -> bool:
    """Whether all bytes are text in UTF-8."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
