"""`./dev bench [NAME]`: one JSON object a line for each measurement whose name begins with NAME.

A module of this package takes part when it has `run() -> Iterable[dict]`. The dicts have `name`, `value` (a median),
`unit` and `runs`, and where it makes sense `target`, `peer`, `peer_value`, `ratio`, `note`. So that only what is asked
for has to run, a name begins with the name of its module, or the module tells its names, or how they begin, in the
tuple `NAMES`.
"""

from __future__ import annotations

import argparse
import importlib
import json
import pkgutil
import sys
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import Any, Protocol, cast

FIELDS = {"name", "value", "unit", "target", "peer", "peer_value", "ratio", "runs", "note"}
REQUIRED = ("name", "value", "unit", "runs")


class Bench(Protocol):
    """What a module here offers."""

    __name__: str

    def run(self) -> Iterable[dict[str, Any]]: ...


def main(arguments: list[str] | None = None) -> int:
    """Print the measurements asked for; 1 when one of them failed, 2 when there is none of that name."""
    parser = argparse.ArgumentParser(prog="./dev bench", description="Measure; one JSON object a line.")
    parser.add_argument("name", nargs="?", default="", metavar="NAME", help="only measurements that begin so")
    options = parser.parse_args(arguments)
    modules, broken = _modules()
    shown, failed = _run(modules, options.name, lambda line: print(line, flush=True))
    if not shown and not failed and options.name:
        print(f"bench: nothing is named {options.name}...; there are: {', '.join(_known(modules))}", file=sys.stderr)
        return 2
    return 1 if failed or broken else 0


def _run(modules: Iterable[Bench], prefix: str, show: Callable[[str], None]) -> tuple[int, int]:
    """Run what may yield names that begin with `prefix`: how many lines were shown, how many modules failed."""
    shown = failed = 0
    for module in modules:
        if not _may_yield(module, prefix):
            continue
        try:
            for result in module.run():
                _check(result)
                if result["name"].startswith(prefix):
                    show(json.dumps(result, ensure_ascii=False))
                    shown += 1
        except Exception as error:  # whatever it is, the other measurements are still worth having
            print(f"bench: {module.__name__} failed: {type(error).__name__}: {error}", file=sys.stderr)
            failed += 1
    return shown, failed


def _may_yield(module: Bench, prefix: str) -> bool:
    names: tuple[str, ...] = getattr(module, "NAMES", (_leaf(module.__name__),))
    return any(name.startswith(prefix) or prefix.startswith(name) for name in names)


def _leaf(name: str) -> str:
    return name.rpartition(".")[2]


def _check(result: dict[str, Any]) -> None:
    missing = [name for name in REQUIRED if name not in result]
    strange = sorted(set(result) - FIELDS)
    if missing or strange:
        raise ValueError(f"a result lacks {missing or 'nothing'} and has the unknown {strange or 'nothing'}: {result}")


def _modules() -> tuple[list[Bench], int]:
    """The modules of this package with a `run`, by name, and how many could not be imported."""
    import tests.bench

    found, broken = [], 0
    for name in _names(tests.bench):
        try:
            module = importlib.import_module(name)
        except Exception as error:
            print(f"bench: {name} cannot be imported: {type(error).__name__}: {error}", file=sys.stderr)
            broken += 1
            continue
        if callable(getattr(module, "run", None)):
            found.append(cast(Bench, module))
    return found, broken


def _names(package: ModuleType) -> Iterator[str]:
    for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        if not _leaf(module.name).startswith(("_", "test_")):
            yield module.name


def _known(modules: Iterable[Bench]) -> list[str]:
    return [name for module in modules for name in getattr(module, "NAMES", (_leaf(module.__name__),))]


if __name__ == "__main__":
    sys.exit(main())
