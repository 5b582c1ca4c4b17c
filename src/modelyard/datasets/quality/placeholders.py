"""Answers that only hold a place."""

from modelyard.datasets.index import Flags
from modelyard.datasets.quality.phrases import matching
from modelyard.datasets.texts import Texts

_HOLDERS = (
    r"n/?a|none|null|nil|nan|undefined|todo|tbd|tba|xxx+|placeholder|empty|no (?:answer|response|output)"
    r"|(?:insert|your|add) (?:an? |the |your )?(?:answer|text|response)(?: here)?"
)
# A symbol may be an answer, such as a plus or a thumb; brackets and dots are none.
_AROUND = r"[\p{P}\s<>|]"
_PATTERN = rf"(?i)^{_AROUND}*(?:(?:{_HOLDERS}){_AROUND}*|{_AROUND})$"


def placeholders(answers: Texts) -> Flags:
    """Answers such as 'N/A', 'null' and '...'. A number or a name is an answer. Shape: (texts,).

    An empty answer is none of them: it is for the bounds on length, and one that calls a tool may be empty.
    """
    return matching(answers, _PATTERN)
