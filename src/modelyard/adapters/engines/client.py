"""The engine port over HTTP: the same client speaks to the built-in engine and to vLLM, as both take the same calls.

One instance belongs to one event loop, because its pooled connections do.
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx

from modelyard.core.clock import monotonic_s
from modelyard.core.errors import EngineFailed, Unavailable
from modelyard.ports.dataset import Message
from modelyard.ports.engine import Answer, Capabilities
from modelyard.ports.release import Sampling

_SEEN_CHARS = 500


class HttpEngine:
    """An engine at a URL."""

    def __init__(
        self,
        url: str,
        capabilities: Capabilities,
        *,
        api_key: str = "",
        timeout_s: float = 60.0,
        max_connections: int = 64,
    ) -> None:
        self.url = url.rstrip("/")
        self.capabilities = capabilities
        self._client = httpx.AsyncClient(
            base_url=self.url,
            headers={"authorization": f"Bearer {api_key}"} if api_key else {},
            timeout=httpx.Timeout(timeout_s, pool=None),
            limits=httpx.Limits(max_connections=max_connections, max_keepalive_connections=max_connections),
        )

    async def ready(self) -> bool:
        """Whether it answers requests now."""
        try:
            response = await self._client.get("/health", timeout=5.0)
        except httpx.HTTPError:
            return False
        return response.status_code == HTTPStatus.OK

    async def models(self) -> list[str]:
        """The model names it serves, adapters included."""
        listing = await self._json("GET", "/v1/models")
        return [str(card["id"]) for card in self._field(listing, "data", list)]

    async def load_adapter(self, name: str, folder: Path) -> None:
        """Serve an adapter under a name. A name that is served already is left as it is."""
        if name in await self.models():
            return
        body = {"lora_name": name, "lora_path": str(folder.resolve())}
        try:
            await self._send("POST", "/v1/load_lora_adapter", body)
        except EngineFailed:
            if name not in await self.models():  # else someone else loaded it meanwhile
                raise

    async def unload_adapter(self, name: str) -> None:
        """Serve it no longer."""
        if name not in await self.models():
            return
        try:
            await self._send("POST", "/v1/unload_lora_adapter", {"lora_name": name})
        except EngineFailed:
            if name in await self.models():
                raise

    async def tokenize(self, model: str, messages: Sequence[Message]) -> list[int]:
        """The token ids it would feed the model for these turns, generation prompt included."""
        body = {"model": model, "messages": _plain(messages), "add_generation_prompt": True}
        tokens = self._field(await self._json("POST", "/tokenize", body), "tokens", list)
        return [int(token) for token in tokens]

    async def chat(
        self, model: str, messages: Sequence[Message], sampling: Sampling, *, top_logprobs: int = 0
    ) -> Answer:
        """Answer a conversation."""
        body: dict[str, Any] = {
            "model": model,
            "messages": _plain(messages),
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_tokens,
        }
        if top_logprobs:
            body |= {"logprobs": True, "top_logprobs": top_logprobs}
        started_s = monotonic_s()
        answer = await self._json("POST", "/v1/chat/completions", body)
        return self._answer(answer, seconds=monotonic_s() - started_s)

    async def close(self) -> None:
        """Give back the connections."""
        await self._client.aclose()

    def _answer(self, body: Any, *, seconds: float) -> Answer:
        try:
            choice, counts = body["choices"][0], body["usage"]
            return Answer(
                text=choice["message"]["content"] or "",
                finish_reason=choice["finish_reason"] or "",
                prompt_tokens=counts["prompt_tokens"],
                completion_tokens=counts["completion_tokens"],
                seconds=seconds,
                top_logprobs=_top_logprobs(choice.get("logprobs")),
            )
        except (KeyError, IndexError, TypeError) as error:
            seen = str(body)[:_SEEN_CHARS]
            raise EngineFailed(f"{self.url} answered something that is no chat answer: {seen}") from error

    async def _json(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        response = await self._send(method, path, body)
        try:
            return response.json()
        except ValueError as error:
            seen = response.text[:_SEEN_CHARS]
            raise EngineFailed(f"{self.url}{path} answered something that is not JSON: {seen!r}") from error

    async def _send(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> httpx.Response:
        """Raises: Unavailable where nothing answers or it is too busy, EngineFailed where it answers with an error."""
        try:
            response = await self._client.request(method, path, json=body)
        except httpx.HTTPError as error:
            reason = str(error) or type(error).__name__
            raise Unavailable(
                f"the engine at {self.url} does not answer: {reason}", fix="see whether it runs, and its log"
            ) from error
        if response.status_code == HTTPStatus.SERVICE_UNAVAILABLE:
            raise Unavailable(f"the engine at {self.url} is too busy: {_error_message(response)}")
        if not response.is_success:
            status = response.status_code
            raise EngineFailed(f"{self.url}{path} answered with status {status}: {_error_message(response)}")
        return response

    def _field(self, body: Any, name: str, kind: type[list[Any]]) -> list[Any]:
        value = body.get(name) if isinstance(body, dict) else None
        if not isinstance(value, kind):
            raise EngineFailed(f"{self.url} answered without '{name}': {str(body)[:_SEEN_CHARS]}")
        return value


def _plain(messages: Sequence[Message]) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in messages]


def _top_logprobs(logprobs: Any) -> tuple[dict[str, float], ...]:
    """The likeliest tokens by text, position by position. Of tokens with equal text the likeliest stays."""
    if not logprobs or not logprobs.get("content"):
        return ()
    positions = []
    for token in logprobs["content"]:
        by_text: dict[str, float] = {}
        for candidate in token["top_logprobs"]:
            by_text.setdefault(candidate["token"], candidate["logprob"])
        positions.append(by_text)
    return tuple(positions)


def _error_message(response: httpx.Response) -> str:
    """What an error answer says, in OpenAI's form or any other."""
    try:
        return str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return response.text[:_SEEN_CHARS]
