"""Sheets: what each kind of engine can do, checked against its source. The one truth for gateway, checks and docs."""

from collections.abc import Mapping
from typing import Literal

import msgspec

from modelyard.ports.engine import Capabilities

Usage = Literal["honours", "always", "never"]
Auth = Literal["bearer", "x-api-key", "api-key"]

BOTH = frozenset({"chat", "completions"})
ALL = frozenset({"chat", "completions", "embeddings", "responses", "messages"})


class MetricNames(msgspec.Struct, frozen=True, kw_only=True):
    """What one kind of engine calls its load. Of several names the first on the page counts.

    A name may end in labels that a sample must have: `family{label="value"}`.
    """

    waiting: tuple[str, ...] = ()
    running: tuple[str, ...] = ()
    cache_use: tuple[str, ...] = ()
    path: str = "/metrics"


class Defect(msgspec.Struct, frozen=True, kw_only=True):
    """Where an engine differs from what a caller of OpenAI's API expects, and where this was seen."""

    what: str
    source: str


class Sheet(msgspec.Struct, frozen=True, kw_only=True):
    """What one kind of engine can do.

    `endpoints` are those it speaks itself. Paths that are empty are not there. `adapters` is the path that loads an
    adapter while it runs, `lora_ranks` the ranks it takes (empty: any up to `max_lora_rank`). `tokenize` is the path
    that turns text or turns into token ids, as `tokenize_takes` says. `usage` is what it does with
    `stream_options.include_usage`; `counts_apart`: where `n` asks for several choices, it counts the tokens of one.
    `prefix` is what stands before `/chat/completions`. `headers` are sent with every request. `fails` names the
    conformance checks that it is known not to pass. `live` says whether the conformance suite was run against the real
    engine here.
    """

    kind: str
    title: str
    endpoints: frozenset[str]
    source: str
    read_at: str
    live: bool = False
    adapters: str = ""
    max_lora_rank: int = 0
    lora_ranks: tuple[int, ...] = ()
    tokenize: str = ""
    tokenize_takes: frozenset[str] = frozenset()
    health: str = "/health"
    metrics: MetricNames | None = None
    usage: Usage = "honours"
    counts_apart: bool = False
    auth: Auth = "bearer"
    prefix: str = "/v1"
    headers: tuple[tuple[str, str], ...] = ()
    fails: frozenset[str] = frozenset()
    defects: tuple[Defect, ...] = ()

    def capabilities(self, max_lora_rank: int = 0) -> Capabilities:
        """What recipes and releases are checked against. `max_lora_rank` is what the engine was started with."""
        greatest = max_lora_rank or self.max_lora_rank
        return Capabilities(
            name=self.kind,
            adapters=bool(self.adapters),
            max_lora_rank=greatest,
            lora_ranks=tuple(rank for rank in self.lora_ranks if rank <= greatest),
            tokenize="messages" in self.tokenize_takes,
        )

    def path(self, endpoint: str) -> str:
        """The path of an endpoint on this kind of engine."""
        return self.prefix + PATHS[endpoint]


PATHS: Mapping[str, str] = {
    "chat": "/chat/completions",
    "completions": "/completions",
    "embeddings": "/embeddings",
    "responses": "/responses",
    "messages": "/messages",
    "models": "/models",
}

_BUILTIN = Sheet(
    kind="builtin",
    title="Modelyard's own engine",
    endpoints=BOTH,
    source="adapters/engines/builtin/api.py",
    read_at="this version",
    live=True,
    adapters="/v1/load_lora_adapter",
    max_lora_rank=512,
    tokenize="/tokenize",
    tokenize_takes=frozenset({"messages", "prompt"}),
    metrics=MetricNames(
        waiting=("modelyard_engine:num_requests_waiting",), running=("modelyard_engine:num_requests_running",)
    ),
    fails=frozenset({"n", "tools", "schema"}),
    defects=(
        Defect(what="n above 1, tools and response_format are refused with 400", source="builtin/wire.py"),
        Defect(what="tells no use of a cache in its metrics", source="builtin/metrics.py"),
    ),
)

_VLLM = Sheet(
    kind="vllm",
    title="vLLM",
    endpoints=ALL,
    source="vllm/entrypoints and vllm/v1/metrics/loggers.py, and a running server",
    read_at="0.32.0",
    live=True,
    adapters="/v1/load_lora_adapter",
    max_lora_rank=64,
    lora_ranks=(1, 8, 16, 32, 64, 128, 256, 320, 512),
    tokenize="/tokenize",
    tokenize_takes=frozenset({"messages", "prompt"}),
    metrics=MetricNames(
        waiting=("vllm:num_requests_waiting",),
        running=("vllm:num_requests_running",),
        cache_use=("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"),
    ),
    defects=(
        Defect(what="`code` in an error is a number, the HTTP status", source="a running server"),
        Defect(
            what="tools are refused with 400 without --enable-auto-tool-choice and --tool-call-parser",
            source="a running server",
        ),
        Defect(
            what="an endpoint that the model cannot serve (embeddings) is 404 with `detail` and no `error`",
            source="a running server",
        ),
        Defect(
            what="adapters load only with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING",
            source="docs.vllm.ai, LoRA adapters",
        ),
        Defect(what="ids of /v1/messages begin with chatcmpl-", source="a running server"),
    ),
)

_SGLANG = Sheet(
    kind="sglang",
    title="SGLang",
    endpoints=ALL,
    source="sgl-project/sglang python/sglang/srt/entrypoints/http_server.py, docs.sglang.io (Anthropic-compatible API, "
    "production metrics)",
    read_at="commit 0025436, documentation of November 2026",
    adapters="/load_lora_adapter",
    max_lora_rank=64,
    tokenize="/tokenize",
    tokenize_takes=frozenset({"prompt"}),
    metrics=MetricNames(
        waiting=("sglang:num_queue_reqs", "sglang_num_queue_reqs"),
        running=("sglang:num_running_reqs", "sglang_num_running_reqs"),
        cache_use=("sglang:token_usage", "sglang_token_usage"),
    ),
    defects=(
        Defect(what="/metrics is there only with --enable-metrics", source="docs.sglang.io, production metrics"),
        Defect(
            what="adapters load at /load_lora_adapter without /v1, and /v1/models does not list them",
            source="http_server.py, load_lora_adapter and available_models",
        ),
        Defect(
            what="/tokenize takes `prompt` alone: parity of chat templates cannot be checked",
            source="openai/serving_tokenize.py",
        ),
    ),
)

_TGI = Sheet(
    kind="tgi",
    title="Text Generation Inference",
    endpoints=BOTH,
    source="huggingface/text-generation-inference router/src/chat.rs and server.rs, huggingface.co (metrics)",
    read_at="commit 03fe626 (in maintenance only)",
    tokenize="/chat_tokenize",
    tokenize_takes=frozenset({"messages"}),
    metrics=MetricNames(waiting=("tgi_queue_size",), running=("tgi_batch_current_size",)),
    fails=frozenset({"n", "bad body"}),
    defects=(
        Defect(what="the `id` of every chunk is empty", source="router/src/chat.rs, the usage chunk"),
        Defect(
            what="/chat_tokenize answers `tokenize_response` with objects, not `tokens` with ids",
            source="router/src/server.rs, get_chat_tokenize",
        ),
        Defect(what="errors are {error: text, error_type: text}", source="router/src/server.rs, ErrorResponse"),
        Defect(
            what="arguments of a tool call in a whole answer are an object, not a string",
            source="router/src/chat.rs, parse_output",
        ),
    ),
)

_LLAMACPP = Sheet(
    kind="llamacpp",
    title="llama.cpp (llama-server)",
    endpoints=ALL,
    source="tools/server/server.cpp and server-task.cpp, and a running server",
    read_at="0.5.0, as llama-cpp-python 0.3.36 carries it",
    live=True,
    fails=frozenset({"bad model", "bad body"}),
    tokenize="/tokenize",
    tokenize_takes=frozenset({"content"}),
    metrics=MetricNames(
        waiting=("llamacpp:requests_deferred",),
        running=("llamacpp:requests_processing",),
        cache_use=("llamacpp:kv_cache_usage_ratio",),
    ),
    counts_apart=True,
    defects=(
        Defect(what="/metrics is there only with --metrics (501 otherwise)", source="tools/server/README.md"),
        Defect(what="embeddings need --embeddings, and then nothing is generated", source="tools/server/README.md"),
        Defect(
            what="tells no use of its cache any more: kv_cache_usage_ratio is gone", source="server-task.cpp, gauges"
        ),
        Defect(what="`code` in an error is a number; `param` is missing", source="server-common.cpp"),
        Defect(what="a model that it does not serve is answered by the one it serves", source="a running server"),
        Defect(what="a body that is no JSON is answered with 500", source="a running server"),
        Defect(
            what="with n above 1, `usage` counts one answer alone, and a stream has a usage chunk for each",
            source="a running server",
        ),
        Defect(
            what="completions streamed with usage carry it in the chunk that ends the answer, not in one of its own",
            source="a running server",
        ),
        Defect(
            what="a caller who leaves a whole answer is noticed after a second in which no other request got anything: "
            "among others it is generated to its end; streams are stopped at once",
            source="server-queue.cpp, recv_with_timeout, and a running server",
        ),
        Defect(what="/tokenize takes `content`; `messages` give no tokens, and no error", source="a running server"),
        Defect(what="adapters are named at the start and only scaled later", source="server.cpp, /lora-adapters"),
    ),
)

_OLLAMA = Sheet(
    kind="ollama",
    title="Ollama",
    endpoints=ALL,
    source="ollama/ollama openai/openai.go, middleware/openai.go",
    read_at="commit 077a50b, documentation of 0.40",
    health="/api/version",
    fails=frozenset({"n"}),
    defects=(
        Defect(what="tells no metrics", source="ollama/ollama server/routes.go"),
        Defect(
            what="completions streamed with usage carry a usage of zeros in every chunk before the true one",
            source="middleware/openai.go, CompleteWriter",
        ),
        Defect(what="n is ignored: one answer always", source="openai/openai.go, ChatCompletionRequest"),
        Defect(
            what="ids are one of a thousand (chatcmpl-0 to chatcmpl-998): not unique",
            source="middleware/openai.go, ChatMiddleware",
        ),
        Defect(what="`code` of an error is null, its type api_error or not_found_error", source="openai.go, NewError"),
    ),
)

_TRITON = Sheet(
    kind="triton",
    title="Triton's OpenAI front end",
    endpoints=BOTH | {"embeddings"},
    source="triton-inference-server/server python/openai/openai_frontend/engine/triton_engine.py",
    read_at="commit 03c2093",
    health="/health/ready",
    metrics=MetricNames(
        waiting=(
            'nv_trt_llm_request_metrics{request_type="waiting"}',
            "vllm:num_requests_waiting",
            "nv_inference_pending_request_count",
        ),
        running=('nv_trt_llm_request_metrics{request_type="scheduled"}', "vllm:num_requests_running"),
        cache_use=(
            'nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="fraction"}',
            "vllm:kv_cache_usage_perc",
            "vllm:gpu_cache_usage_perc",
        ),
    ),
    fails=frozenset({"n"}),
    defects=(
        Defect(what="finish_reason is `stop` also where max_tokens ended the answer", source="triton_engine.py"),
        Defect(what="n above 1 is refused", source="triton_engine.py, _validate_chat_request"),
        Defect(what="logprobs come with the vLLM back end alone", source="triton_engine.py"),
        Defect(
            what="chunks name `choices` before `created` and `model`, and carry `usage: null`",
            source="triton_engine.py, _get_streaming_chat_response_chunk; README.md",
        ),
        Defect(what="adapters are those of the model repository at the start", source="triton_engine.py, models"),
    ),
)

_OPENAI = Sheet(
    kind="openai",
    title="OpenAI, or anything that speaks as it does",
    endpoints=ALL - {"messages"},
    source="platform.openai.com/docs/api-reference",
    read_at="November 2026",
    health="",
    defects=(
        Defect(
            what="streams with usage carry `usage: null` in every other chunk",
            source="platform.openai.com/docs/api-reference/chat-streaming",
        ),
        Defect(
            what="newer models take max_completion_tokens and refuse max_tokens",
            source="platform.openai.com/docs/api-reference/chat",
        ),
    ),
)

_AZURE = msgspec.structs.replace(
    _OPENAI,
    kind="azure",
    title="Azure OpenAI, v1",
    auth="api-key",
    prefix="/openai/v1",
    source="learn.microsoft.com/azure/foundry/openai/api-version-lifecycle",
    defects=(
        *_OPENAI.defects,
        Defect(
            what="the older paths, /openai/deployments/NAME with api-version, are not spoken here",
            source="learn.microsoft.com/azure/foundry/openai/api-version-lifecycle",
        ),
        Defect(
            what="a first chunk with no choices carries prompt_filter_results",
            source="learn.microsoft.com/azure/foundry/openai/concepts/content-streaming",
        ),
    ),
)

_ANTHROPIC = Sheet(
    kind="anthropic",
    title="Anthropic",
    endpoints=frozenset({"chat", "messages"}),
    source="platform.claude.com/docs, API reference and OpenAI SDK compatibility",
    read_at="November 2026",
    health="",
    auth="x-api-key",
    headers=(("anthropic-version", "2023-06-01"),),
    fails=frozenset({"n", "logprobs", "schema"}),
    defects=(
        Defect(
            what="its chat completions are for comparing models: response_format and logprobs are ignored, n must be 1",
            source="platform.claude.com/docs, OpenAI SDK compatibility",
        ),
        Defect(what="streams of messages carry `ping` events", source="platform.claude.com/docs, streaming messages"),
    ),
)

SHEETS: Mapping[str, Sheet] = {
    sheet.kind: sheet
    for sheet in (
        _BUILTIN,
        _VLLM,
        _SGLANG,
        _TGI,
        _LLAMACPP,
        _OLLAMA,
        _TRITON,
        _OPENAI,
        _AZURE,
        _ANTHROPIC,
    )
}


def sheet_of(kind: str) -> Sheet:
    """The sheet of a kind; a kind that is unknown is taken for one that speaks as OpenAI does."""
    return SHEETS.get(kind, _OPENAI)
