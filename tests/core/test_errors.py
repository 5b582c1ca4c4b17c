"""Every error has a code and an exit code of its own kind, and says what to do."""

import inspect

from modelyard.core import errors
from modelyard.core.errors import MissingExtra, ModelyardError, RecipeInvalid, error_from_dict


def every_error() -> list[type[ModelyardError]]:
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, ModelyardError)]
    return sorted(kinds, key=lambda kind: kind.__name__)


def test_the_tree_in_the_docstring_is_the_tree_in_the_code() -> None:
    drawn = errors.__doc__ or ""
    assert all(kind.__name__ in drawn for kind in every_error())


def test_codes_are_frozen() -> None:
    assert {kind.__name__: (kind.code, kind.exit_code) for kind in every_error()} == {
        "Conflict": ("conflict", 5),
        "Corrupt": ("corrupt", 7),
        "DataInvalid": ("data_invalid", 2),
        "EngineFailed": ("engine_failed", 6),
        "Interrupted": ("interrupted", 130),
        "InvalidInput": ("invalid_input", 2),
        "JobFailed": ("job_failed", 8),
        "MissingEnvironment": ("missing_environment", 2),
        "MissingExtra": ("missing_extra", 2),
        "ModelyardError": ("error", 1),
        "NotFound": ("not_found", 4),
        "PortBusy": ("port_busy", 5),
        "Pruned": ("pruned", 130),
        "ProjectInvalid": ("project_invalid", 2),
        "RecipeInvalid": ("recipe_invalid", 2),
        "Refused": ("refused", 3),
        "Unavailable": ("unavailable", 6),
    }


def test_a_missing_package_names_its_install_command() -> None:
    assert "pip install 'modelyard[data]'" in str(MissingExtra("pyarrow", "data"))


def test_an_error_survives_the_way_from_another_process() -> None:
    told = RecipeInvalid("rank 17", expected="16", fix="set rank to 16").as_dict()
    error = error_from_dict(told)
    assert type(error) is RecipeInvalid
    assert error.as_dict() == told
    assert type(error_from_dict(MissingExtra("pyarrow", "data").as_dict())) is MissingExtra
    assert type(error_from_dict({"seen": "what"})) is ModelyardError
