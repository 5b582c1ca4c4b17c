"""Print the installed packages as pip constraints: `make lock`.

Local version labels (`2.13.0+cpu`) are cut, so that the same file serves the plain registry and a folder of wheels.
"""

from importlib.metadata import distributions

HEADER = "# What this repository is tested with; users get the ranges in pyproject.toml. Made by `make lock`."
# Builds for one kind of machine: torch itself pins the ones that belong to it.
MACHINE_BOUND = ("nvidia-", "cuda-", "triton")


def main() -> None:
    """One `name==version` a line, sorted."""
    found = {dist.name.lower().replace("_", "-"): dist.version.split("+")[0] for dist in distributions()}
    found.pop("modelyard", None)
    print(HEADER)
    for name, version in sorted(found.items()):
        if not name.startswith(MACHINE_BOUND):
            print(f"{name}=={version}")


if __name__ == "__main__":
    main()
