"""The filter `injection`: signs that a text wants to take the model over, each with a weight.

These are heuristics: they catch what is written the usual way, in English above all, and nobody who writes around
them. docs/gateway/guards.md says how much that is.
"""

import re
import unicodedata
from collections.abc import Mapping

from modelyard.core.errors import Corrupt

DEFAULT_THRESHOLD = 1.0
# A sign far into a long text weighs no less, but nothing is gained by more than this.
_MAX_CHARS = 200_000
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff\U000e0000-\U000e007f]")
_BLANKS = re.compile(r"\s+")

_BEFORE = (
    r"(?:previous|prior|above|preceding|earlier|former|foregoing|initial|original|existing|current|all|any|system)"
)
_ORDERS = r"(?:instruct\w*|prompts?|rules?|directions?|directives?|guidelines?|commands?|orders?|context|constraints?)"
_DROP = r"(?:ignore|disregard|forget|overlook|bypass|override|overrule|discard|neglect|skip|drop)"
_LIMITS = (
    r"(?:restrictions?|filters?|limits?|limitations?|censorship|guidelines|policies|rules|guardrails|ethics|morals)"
)

# (name, weight, pattern): one that weighs 1.0 is enough alone. Texts are in lower case with single spaces.
SIGNS: tuple[tuple[str, float, str], ...] = (
    ("drop_orders", 1.0, rf"\b{_DROP}\b(?: \w+){{0,3}}? (?:\w+ )?{_BEFORE}(?: \w+){{0,3}}? {_ORDERS}\b"),
    ("drop_your_orders", 1.0, rf"\b{_DROP} (?:all |any )?(?:of )?(?:your|my|the|these|those) (?:\w+ )?{_ORDERS}\b"),
    ("drop_everything", 1.0, rf"\b{_DROP}\b (?:everything|anything|all|what(?:ever)?)(?: \w+){{0,6}}"
     r" (?:before|above|previously|prior|so far|told|said|learned|until now)\b"),
    ("do_not_follow", 0.8, rf"\b(?:do not|don'?t|stop|no longer|never) (?:follow|obey|listen|comply|adher)\w*(?: \w+){{0,4}} {_ORDERS}\b"),
    ("new_orders", 0.7, rf"\b(?:new|updated|real|actual|revised) {_ORDERS} ?(?::|are|is|follow|from)"),
    ("from_now_on", 0.6, r"\bfrom now on,? (?:you|your|respond|answer|act|always|only)\b"),
    ("show_prompt", 1.0, r"\b(?:reveal|show|print|repeat|output|display|leak|dump|expose|disclose|give me|tell me|share|copy|recite|what (?:is|are|was|were))\b"
     r"(?: \w+){0,5}? (?:(?:system|hidden|initial|original|secret|internal|developer|pre)[- ]?(?:prompt|instructions?|message|rules)"
     r"|your (?:\w+ )?(?:prompt|instructions))\b"),
    ("text_above", 0.8, r"\b(?:repeat|print|output|copy|recite|spell ?check|translate|summari[sz]e)\b(?: \w+){0,4}? (?:above|before this|preceding)\b"
     r"(?: \w+){0,4}? (?:text|words|message|line|conversation|starting|verbatim|instructions?|prompt)"),
    ("you_are_words", 0.8, r"starting with ['\"“]?you are\b"),
    ("jailbreak_name", 1.0, r"\b(?:do anything now|d\.?a\.?n\.? mode|dan (?:prompt|jailbreak)|stan mode|developer mode (?:enabled|on|output)|god ?mode|jailbr(?:eak|oken) mode|aim mode|evil ?bot)\b"),
    ("jailbreak", 0.5, r"\bjail ?br(?:eak|oken)\w*\b"),
    ("act_as_dan", 1.0, r"\b(?:act|behave|respond|answer|pretend|play|you are)\b(?: \w+){0,5}? dan\b"),
    ("without_limits", 0.8, rf"\b(?:without|no|free (?:of|from)|not bound by|unbound by|ignor\w+|bypass\w*|disabl\w+|remov\w+|evad\w+)"
     rf" (?:any |all |your |the )?(?:\w+ (?:or |and )?){{0,2}}{_LIMITS}\b"),
    ("unrestricted_ai", 0.8, r"\b(?:unrestricted|unfiltered|uncensored|amoral|unaligned|unethical)\b(?: \w+){0,3}? (?:ai|assistant|model|chatbot|bot|mode|version|llm|gpt)\b"),
    ("pretend", 0.4, r"\b(?:pretend|imagine|act|role-?play|simulate)\b(?: \w+){0,3}? (?:you are|you're|you were|to be|as if|as an?)\b"),
    ("you_are_now", 0.6, r"\byou are (?:now|no longer|going to (?:act|pretend|be))\b"),
    ("no_refusal", 0.7, r"\b(?:never|cannot|can't|must not|may not|do not|don't|will not|won't) (?:refuse|decline|say no|say you can'?t|apologi[sz]e|warn)\b"),
    ("role_markup", 1.0, r"<\|(?:im_start|im_end|system|user|assistant|endoftext|start_header_id|eot_id)\|>|\[/?inst\]|<</?sys>>|<start_of_turn>"),
    ("role_line", 0.6, r"(?:^| |#|\*|\[|<)(?:system|developer|admin(?:istrator)?) ?(?:message|prompt|override|note|instructions?|update|notice)? ?[\]>*#]{0,3} ?:"),
    ("end_of_prompt", 0.8, r"(?:-{3,}|={3,}|#{3,}|\[|<) ?(?:end|stop|close) (?:of )?(?:the )?(?:system |user )?(?:prompt|instructions?|context|document|input|data)\b"),
    ("exfiltrate", 1.0, r"\b(?:send|post|forward|e-?mail|upload|transmit|exfiltrate|append|leak)\b(?: [^ ]+){0,8}? (?:conversation|chat history|api keys?|passwords?|credentials|secrets|tokens?|inbox|contacts|user data|private data)\b"
     r"(?: [^ ]+){0,6}? (?:to|at|via) (?:https?:|[^ ]+@|this (?:url|address|server|e-?mail)|the (?:attacker|following))"),
    ("image_leak", 0.8, r"!\[[^\]]{0,200}\]\(https?://[^)]{0,300}(?:\?|=)[^)]{0,300}(?:\{|\[|<|secret|data|history|prompt)"),
    ("secrecy", 0.7, r"\b(?:do not|don'?t|never|without) (?:tell|inform|mention|reveal|notify|alert|show|telling|informing|mentioning|notifying)\w*(?: (?:this|it|that|anything))?(?: to)? (?:the )?(?:user|human|anyone|operator|victim)\b"),
    ("to_the_model", 0.6, r"\b(?:attention|important|note|message|instructions?|hey|dear)\b,? (?:to |for )?(?:the |all |any )?(?:ai|llm|language model|assistant|chatbot|gpt|model)s?\b"),
    ("as_author", 0.6, r"\bi am (?:your|the|an?) (?:developer|creator|administrator|admin|openai|engineer|programmer|owner)\b"),
    ("drop_other_tongues", 1.0, r"\b(?:ignorier\w*|vergiss|missachte) (?:bitte )?(?:alle[ns]?|die|deine|meine|vorherigen?|bisherigen?)(?: \w+){0,3}? (?:anweisung\w*|instruktion\w*|regeln|befehle|vorgaben)"
     r"|\b(?:ignor\w*|oublie[zrs]?|olvid\w*|dimentica\w*|esquec\w*)(?: \w+){0,4}? (?:instruccion\w*|instructions|consignes|instrucciones|istruzioni|instru[cç][oõ]es|r[eè]gles|reglas|regole|regras|indicaciones)"
     r"|忽略.{0,10}(?:指令|指示|说明|規則|规则|提示)|(?:игнорируй|забудь).{0,30}(?:инструкц|указани|правил)"),
)  # fmt: skip

_COMPILED = tuple((name, weight, re.compile(pattern)) for name, weight, pattern in SIGNS)


class Injection:
    """Scores texts; one for all. The signs of all texts of a request count together, each once."""

    __slots__ = ("_threshold",)

    def __init__(self, threshold: float = DEFAULT_THRESHOLD) -> None:
        self._threshold = threshold

    def found_in(self, text: str) -> tuple[str, ...]:
        """The signs in a text where they reach the threshold, else none."""
        signs = self.signs(text)
        return tuple(signs) if sum(signs.values()) >= self._threshold - 1e-9 else ()

    def signs(self, text: str) -> dict[str, float]:
        """Every sign in a text, with its weight."""
        plain = normalised(text[:_MAX_CHARS])
        return {name: weight for name, weight, pattern in _COMPILED if pattern.search(plain)}


def normalised(text: str) -> str:
    """The text as signs are looked for in it: no invisible letters, no wide ones, lower case, single spaces."""
    if not text.isascii():
        text = _INVISIBLE.sub("", unicodedata.normalize("NFKC", text))
    return _BLANKS.sub(" ", text.lower()).replace("\u2019", "'")


def read_injection(options: Mapping[str, str]) -> Injection:
    """The filter of its options. Raises: Corrupt where the threshold is no positive number."""
    given = options.get("threshold", "") or str(DEFAULT_THRESHOLD)
    try:
        threshold = float(given)
    except ValueError:
        threshold = 0.0
    if not 0 < threshold <= 100:
        raise Corrupt(
            f"the filter injection has the threshold '{given[:40]}'",
            expected="a number above 0, such as 1.0; a higher one lets more pass",
            fix="correct the filter's option `threshold`",
        )
    return Injection(threshold)
