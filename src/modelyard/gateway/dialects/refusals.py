"""Refusals of what a request says: where in the request, in the words of whoever decoded it."""

import re

import msgspec

from modelyard.gateway.errors import Refusal

_PATH = re.compile(r" - at `(?:key in )?\$\.?([^`]*)`$")
DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def not_sayable(what: str, param: str, *, fix: str = "") -> Refusal:
    """Something that the dialect can say and the engine behind the service cannot be told."""
    message = f"{what} cannot be passed to the engine behind this service, which speaks chat completions alone."
    return Refusal(400, "unsupported_parameter", f"{message} {fix}".rstrip(), param=param)


def refuse(error: Exception, param: str = "") -> Refusal:
    """What a decoder found, as a 400 that names the field. `param` is where the decoded part lies in the request."""
    if not isinstance(error, msgspec.ValidationError):
        message = f"The body is not JSON ({error}). Send a JSON object with 'content-type: application/json'."
        return Refusal(400, "invalid_json", message)
    text = str(error)
    path = ""
    if match := _PATH.search(text):
        text, path = text[: match.start()], match[1]
    path = ".".join(part for part in (param, path.replace("[...]", "[]")) if part).replace(".[", "[")
    if not path:
        return Refusal(400, "invalid_body", "The body must be a JSON object.")
    return Refusal(400, "invalid_" + re.split(r"[.\[]", path)[0], f"'{path}': {text}.", param=path)
