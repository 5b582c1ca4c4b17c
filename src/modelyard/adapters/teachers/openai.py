"""The teacher port over OpenAI's API, as vendors, vLLM, llama.cpp and the built-in engine speak it.

What may get better is tried again, ever later, and not before the server allows it; what cannot is told at once, in the
server's words.
"""

import asyncio
import json
import random
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, NoReturn
from urllib.parse import urlsplit

import httpx
import msgspec

from modelyard.core.clock import monotonic_s, now_ms
from modelyard.core.errors import EngineFailed, Unavailable
from modelyard.ports.teacher import Lost, Question, Reply

_SEEN_CHARS = 500
_LONGEST_WAIT_S = 300.0
_LONGEST_BACKOFF_S = 60.0
_TRANSIENT = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS)
# One prompt may be too long or forbidden where others are not.
_ABOUT_THE_PROMPT = (
    HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY,
)  # fmt: skip
_NO_MONEY = ("insufficient_quota", "billing_hard_limit_reached")
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.LocalProtocolError)
_FIXES: dict[int, str] = {
    HTTPStatus.UNAUTHORIZED: "put a valid key into the variable that `key_env` names",
    HTTPStatus.PAYMENT_REQUIRED: "see to the account at the vendor",
    HTTPStatus.FORBIDDEN: "use a key that may use this model, or another `model`",
    HTTPStatus.NOT_FOUND: "correct `url` (often it ends in /v1) or `model`",
    HTTPStatus.TOO_MANY_REQUESTS: "see to the quota at the vendor",
}


class _Trouble(Exception):
    """An attempt failed in a way that may pass. `wait_s` is how long the server wants to be left alone."""

    def __init__(self, words: str, wait_s: float = 0.0) -> None:
        super().__init__(words)
        self.wait_s = wait_s


class OpenAITeacher:
    """A model at a base URL; one without a path is taken to mean /v1. `extra` is laid over each request."""

    def __init__(
        self,
        url: str,
        model: str,
        *,
        key: str = "",
        limit_field: str = "max_tokens",
        extra: Mapping[str, Any] | None = None,
        timeout_s: float = 120.0,
        retries: int = 6,
        connections: int = 8,
        backoff_s: float = 0.5,
    ) -> None:
        self._url = url.rstrip("/") + ("" if urlsplit(url).path.strip("/") else "/v1") + "/chat/completions"
        self._model = model
        self._key = key
        self._limit_field = limit_field
        self._extra = dict(extra or {})
        self._timeout_s = timeout_s
        self._retries = retries
        self._backoff_s = backoff_s
        self._not_before_s = 0.0
        self._client = httpx.AsyncClient(
            headers={"authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(timeout_s, pool=None),
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
        )

    async def ask(self, question: Question, lost: Lost) -> Reply:
        """Answer a question, after as many attempts as it takes."""
        body = self._body(question)
        for attempt in range(self._retries + 1):
            await self._wait_for_leave()
            try:
                return await self._attempt(body, lost)
            except _Trouble as trouble:
                if attempt == self._retries or trouble.wait_s > _LONGEST_WAIT_S:
                    self._give_up(trouble, attempt + 1)
                self._not_before_s = max(self._not_before_s, monotonic_s() + trouble.wait_s)
                # Not all at once, where many were turned away at once.
                await asyncio.sleep(self._backoff(attempt) * random.uniform(0.5, 1.0))  # noqa: S311
        raise AssertionError("the last attempt returns or raises")

    async def close(self) -> None:
        """Give back the connections."""
        await self._client.aclose()

    def _body(self, question: Question) -> dict[str, Any]:
        sampling = question.sampling
        body = {
            "model": self._model,
            "messages": [{"role": turn.role, "content": turn.content} for turn in question.messages],
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            self._limit_field: sampling.max_tokens,
            "seed": question.seed,
            **self._extra,
        }
        return {name: value for name, value in body.items() if value is not None}

    async def _wait_for_leave(self) -> None:
        """Wait until the server takes requests again: it told one of them, and that holds for all."""
        # Another answer may put it off while this one waits.
        while (wait_s := self._not_before_s - monotonic_s()) > 0:  # noqa: ASYNC110
            await asyncio.sleep(wait_s)

    async def _attempt(self, body: dict[str, Any], lost: Lost) -> Reply:
        try:
            async with asyncio.timeout(self._timeout_s):
                response = await self._client.post(self._url, json=body)
        except _NOT_SENT as error:
            raise _Trouble(f"it does not answer: {error}") from error
        except (httpx.TimeoutException, TimeoutError) as error:
            lost()
            raise _Trouble(f"it did not answer within {self._timeout_s:g} s") from error
        except httpx.HTTPError as error:
            lost()
            raise _Trouble(f"the connection broke off: {error!r}") from error
        if not response.is_success:
            return self._told_off(response)
        reply = _reply(response)
        if reply is None:
            lost()
            raise _Trouble(f"it answered something that is no chat answer: {self._without_key(response.text)!r}")
        return reply

    def _told_off(self, response: httpx.Response) -> Reply:
        """What an error answer means: the prompt is refused, it may pass (_Trouble), it will not (EngineFailed)."""
        status, (words, code) = response.status_code, _error_of(response)
        words = self._without_key(words)
        if (status in _TRANSIENT and code not in _NO_MONEY) or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise _Trouble(f"status {status}: {words}", _retry_after_s(response.headers))
        if status in _ABOUT_THE_PROMPT:
            return Reply(text=words, finish_reason="refused")
        raise EngineFailed(
            f"the teacher at {self._url} answered with status {status}: {words}",
            fix=_FIXES.get(status, "correct `url`, `model` or `extra`"),
        )

    def _give_up(self, trouble: _Trouble, attempts: int) -> NoReturn:
        seen = f"the teacher at {self._url} was asked {attempts} times; the last time {trouble}"
        if trouble.wait_s > _LONGEST_WAIT_S:
            seen += f"; it wants to be left alone for {trouble.wait_s:,.0f} s"
        raise Unavailable(
            seen,
            expected="an answer",
            fix="see whether it runs, lower `concurrency`, or raise `timeout_s` or `retries`; then run the same"
            " command: it goes on where it was",
        ) from trouble

    def _backoff(self, attempt: int) -> float:
        return min(self._backoff_s * 2.0**attempt, _LONGEST_BACKOFF_S)

    def _without_key(self, words: str) -> str:
        """What a server says, cut short, without the key, which some repeat."""
        return (words.replace(self._key, "[KEY]") if self._key else words)[:_SEEN_CHARS]


def _reply(response: httpx.Response) -> Reply | None:
    """An answer; None for anything else."""
    try:
        body = _decoded(response.content)
        choice = body["choices"][0]
        message = choice["message"]
        text = message.get("content") or message.get("refusal") or ""
        usage = body.get("usage") or {}
        return Reply(
            text=text if isinstance(text, str) else "".join(part["text"] for part in text),
            finish_reason=str(choice.get("finish_reason") or ""),
            model=str(body.get("model") or ""),
            prompt_tokens=_count(usage.get("prompt_tokens")),
            completion_tokens=_count(usage.get("completion_tokens")),
        )
    except (ValueError, RecursionError, KeyError, IndexError, TypeError, AttributeError):
        return None


def _decoded(content: bytes) -> Any:
    """The JSON of an answer. Halves of characters, as a limit of tokens leaves them, become U+FFFD: it is paid for.

    Raises: ValueError, RecursionError.
    """
    try:
        return msgspec.json.decode(content)
    except ValueError:
        whole = json.dumps(json.loads(content.decode("utf-8", "replace")), ensure_ascii=False)
        return msgspec.json.decode(whole.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace"))


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and value >= 0 else None


def _error_of(response: httpx.Response) -> tuple[str, str]:
    """What an error answer says and its code, in OpenAI's form or any other."""
    try:
        error = response.json()["error"]
        return str(error["message"]), str(error.get("code") or error.get("type") or "")
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return response.text or response.reason_phrase, ""


def _retry_after_s(headers: httpx.Headers) -> float:
    """How long the server wants to be left alone: seconds, or until a date. 0 where it does not say."""
    told = headers.get("retry-after", "")
    try:
        return max(0.0, float(told))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(told).timestamp() - now_ms() / 1000)
    except (TypeError, ValueError):
        return 0.0
