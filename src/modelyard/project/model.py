"""What a project file may say. Each section is the configuration model of the part that it configures."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from modelyard.datasets.config import DatasetConfig
from modelyard.datasets.section import Section
from modelyard.datasets.synthesis.config import SynthesisConfig
from modelyard.datasets.synthesis.price import Dollars
from modelyard.evaluation.suite import Suite
from modelyard.ports.run import Pricing
from modelyard.project.gateway import GatewayConfig, Host, Port, TenantConfig
from modelyard.project.serving import HostedServiceConfig, Name, ServiceConfig
from modelyard.registry.policy import Policy
from modelyard.rollout.plan import PlanConfig
from modelyard.training.kubeflow import KubernetesConfig
from modelyard.training.recipe import Recipe
from modelyard.training.scale import Sharding
from modelyard.training.sweeps.config import SweepConfig


class TelemetryConfig(Section):
    """OpenTelemetry of every recorded answer, sent where OTEL_EXPORTER_OTLP_ENDPOINT says."""

    enabled: bool = Field(False, description="Send spans, metrics and evaluation events over OTLP/HTTP.")
    content: bool = Field(False, description="Send texts too, of services that record them (full or masked).")


class EngineConfig(Section):
    """What runs the models: the built-in CPU engine as a child process, or a running vLLM by its address."""

    kind: Literal["builtin", "vllm"] = "builtin"
    url: str = Field("", description="The address of a running engine; empty starts the built-in one.")
    host: Host = "127.0.0.1"
    port: Port = Field(0, description="Of the built-in engine; 0 takes any free port.")
    max_batch: int = Field(32, ge=1, le=1024)
    threads: int = Field(1, ge=1, description="Of each matrix product; more only where cores are idle.")

    @model_validator(mode="after")
    def _check_url(self) -> Self:
        if self.kind == "vllm" and not self.url:
            raise ValueError(
                "a vLLM is not started here: add the address of a running one, such as `url: http://HOST:8000`"
            )
        return self


class DevicePrices(Section):
    """The price book: dollars for an hour of the device that trains, by how it is paid."""

    on_demand: Dollars | None = Field(None, description="The same as `device_hour`.")
    spot: Dollars | None = None
    reserved: Dollars | None = None


class ComputeConfig(Section):
    """Where work runs and what training costs."""

    device_hour: Dollars = Field("0", description="Dollars for an hour of the device that trains, on demand.")
    prices: DevicePrices = DevicePrices()
    pricing: Pricing = Field("on_demand", description="How the device is paid: on_demand (default), spot or reserved.")
    workers: int | None = Field(None, ge=1, description="Processes that prepare data; one for each core by default.")
    ray: str = Field("", description="A Ray cluster prepares data instead: its address, 'auto', or 'local'.")
    devices: int = Field(1, ge=1, le=1024, description="Processes that train one model, each with a device of its own.")
    sharding: Sharding = Field(
        "ddp", description="What each of them holds: the whole model (ddp), or a part of it (fsdp; for method full)."
    )
    train_on: Literal["local", "ray"] = Field("local", description="On this host, or on the cluster named by `ray`.")
    kubernetes: KubernetesConfig | None = Field(
        None, description="What `modelyard train --render kubeflow` writes into its manifests."
    )

    @model_validator(mode="after")
    def _check_devices(self) -> Self:
        if self.train_on == "ray" and not self.ray:
            raise ValueError("train_on: ray needs a cluster: add `ray: auto`, `ray: local`, or its address")
        if self.sharding == "fsdp" and self.devices == 1:
            raise ValueError("sharding: fsdp cuts a model into parts for several devices: set devices to 2 or more")
        return self

    @property
    def device_price(self) -> str:
        """Dollars for an hour of the device, as it is paid."""
        return getattr(self.prices, self.pricing) or self.device_hour

    @model_validator(mode="after")
    def _one_price(self) -> Self:
        on_demand = self.prices.on_demand
        if on_demand is not None and "device_hour" in self.model_fields_set and on_demand != self.device_hour:
            raise ValueError(
                f"device_hour ({self.device_hour}) and prices.on_demand ({on_demand}) are the same price: keep one"
            )
        if self.pricing != "on_demand" and getattr(self.prices, self.pricing) is None:
            raise ValueError(f"pricing is '{self.pricing}', and prices has no {self.pricing}: add it")
        return self


# Without a dot: `NAME.answers.jsonl` and `NAME.report.json` lie beside `NAME.jsonl`.
PlainName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]


class Project(Section):
    """A whole project file."""

    project: str = Field(pattern=r"^[a-z][a-z0-9-]*$", description="The project's name.")
    owner: str = Field("", description="Who answers for the runs; the name of the user by default.")
    datasets: dict[Name, DatasetConfig] = {}
    synthesis: dict[PlainName, SynthesisConfig] = {}
    recipes: dict[Name, Recipe] = {}
    sweeps: dict[PlainName, SweepConfig] = {}
    suites: dict[Name, Suite] = {}
    policies: dict[Name, Policy] = {}
    rollouts: dict[Name, PlanConfig] = {}
    services: dict[Name, ServiceConfig] = {}
    hosted: dict[Name, HostedServiceConfig] = {}
    tenants: dict[Name, TenantConfig] = {}
    gateway: GatewayConfig = GatewayConfig()
    engine: EngineConfig = EngineConfig()
    telemetry: TelemetryConfig = TelemetryConfig()
    compute: ComputeConfig = ComputeConfig()
