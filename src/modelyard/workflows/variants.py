"""The variants of services beside champion and challenger: hosted models, and other releases of ours.

One that cannot be had is left out, with all that names it, and told: it holds up neither its service nor a rollback.
"""

import msgspec

from modelyard.core.errors import Conflict, ModelyardError
from modelyard.ports.records import Records
from modelyard.ports.routes import Service, Variant
from modelyard.project.serving import RESERVED, ServingConfig, VariantConfig
from modelyard.workflows.loader import Loader
from modelyard.workflows.routes import release_variant
from modelyard.workflows.troubles import Troubles

_TRUSTED = ("staging", "production")


class Variants:
    """The variants of every service, resolved by the records. `loader` knows what the project's engine holds."""

    def __init__(self, records: Records, engine_url: str, loader: Loader, troubles: Troubles) -> None:
        self._records = records
        self._engine_url = engine_url
        self._loader = loader
        self._troubles = troubles

    def added(self, service: Service, config: ServingConfig) -> Service:
        """The service with those of its variants that can be had now, and nothing that names another.

        A service that stays as it was published before gets the variants of now: theirs is another matter.
        """
        variants = []
        for name, said in config.variants.items():
            with self._troubles.around(f"the variant '{name}' of '{service.name}'"):
                variant = self._variant(name, said, config)
                if not self._is_ours_to_load(said) or self._loader.holds(variant.release):
                    variants.append(variant)
        return with_variants(service, config, tuple(variants))

    def wanted(self, config: ServingConfig) -> list[Variant]:
        """Those that the project's engine must hold before they are published."""
        found = []
        for name, said in config.variants.items():
            if self._is_ours_to_load(said):
                try:
                    found.append(self._variant(name, said, config))
                except ModelyardError:
                    # Told by `added`.
                    continue
        return found

    def _is_ours_to_load(self, said: VariantConfig) -> bool:
        return bool(said.release) and not said.url

    def _variant(self, name: str, said: VariantConfig, config: ServingConfig) -> Variant:
        if not said.release:
            return said.hosted().variant(name)
        release = self._records.releases.find(said.release)
        if (stage := self._records.releases.stage(release.digest)) not in _TRUSTED:
            raise Conflict(
                f"release {release.ref} is in the stage {stage}",
                expected=" or ".join(_TRUSTED),
                fix="roll it out, or take it out of `variants`",
            )
        variant = release_variant(release, said.price or config.price, said.url or self._engine_url)
        return msgspec.structs.replace(
            variant,
            name=name,
            model=said.model or variant.model,
            engine=said.engine,
            replicas=said.replicas,
            credential=said.credential,
            quality=-1.0 if said.quality is None else said.quality,
        )


def with_variants(service: Service, config: ServingConfig, variants: tuple[Variant, ...]) -> Service:
    """The service with these variants, and of the project file's rules, fallbacks and order what names no other."""
    names = {*RESERVED, *(variant.name for variant in variants)}
    said = config.service(service.name, service.champion)
    order = tuple(name for name in said.preference.order if name in names) if said.preference else ()
    return msgspec.structs.replace(
        service,
        variants=variants,
        rules=tuple(rule for rule in said.rules if rule.variant in names),
        fallbacks=tuple(name for name in said.fallbacks if name in names),
        preference=msgspec.structs.replace(said.preference, order=order) if said.preference and order else None,
    )
