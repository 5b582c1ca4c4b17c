"""A method of training: which weights are learnt, and in which form they leave."""

from pathlib import Path
from typing import Any, Protocol

from modelyard.training.recipe import Recipe


class Method(Protocol):
    """One of lora, qlora, prefix and full."""

    artifact: str
    """The folder that holds what was trained, and the name of the run's artifact."""
    flattens: bool
    """Whether a batch may be one long row of documents, told apart by their positions."""

    def load(self, folder: Path, recipe: Recipe) -> Any:
        """The base in the form that this method trains on. Raises: RecipeInvalid."""
        ...

    def put_on(self, model: Any, recipe: Recipe) -> Any:
        """The model to train, its fresh weights seeded by the recipe. Raises: RecipeInvalid."""
        ...

    def settle(self, model: Any, recipe: Recipe) -> Any:
        """The trained model in the number format that it leaves in."""
        ...

    def save(self, model: Any, folder: Path, base_folder: Path) -> None:
        """Write what was trained: the same bytes for the same weights."""
        ...

    def reload(self, folder: Path, base_folder: Path, recipe: Recipe) -> Any:
        """What was saved, loaded the way others do."""
        ...
