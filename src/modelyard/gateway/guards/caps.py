"""How many tokens an answer may have at most, whatever the caller asks for."""

import msgspec

from modelyard.gateway.errors import Refusal

_NAMES = ("max_tokens", "max_completion_tokens", "max_output_tokens")
_NULL = b"null"


def cap_max_tokens(fields: dict[str, msgspec.Raw], cap: int, default: str = "max_tokens") -> None:
    """Lower what the caller asks for to `cap`, in `fields` itself; where it asks for nothing, `default` gets the cap.

    A cap of 0 caps nothing and looks at nothing. Raises: Refusal (400) for what is no whole number above 0: some
    engines take -1 for endless, and words for numbers.
    """
    if cap <= 0:
        return
    asked = False
    for name in _NAMES:
        raw = bytes(fields.get(name, _NULL))
        if raw == _NULL:
            continue
        asked = True
        if not raw.isdigit() or raw.strip(b"0") == b"":
            raise Refusal(400, f"invalid_{name}", f"'{name}' must be a whole number above 0.", param=name)
        if len(raw) > 18 or int(raw) > cap:
            fields[name] = msgspec.Raw(b"%d" % cap)
    if not asked:
        fields[default] = msgspec.Raw(b"%d" % cap)
