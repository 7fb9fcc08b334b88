import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from tests.bench import __main__ as bench


def module(name: str, *results: Any, names: tuple[str, ...] = ()) -> Any:
    def run() -> Iterator[dict[str, Any]]:
        for result in results:
            if isinstance(result, Exception):
                raise result
            yield result

    return SimpleNamespace(__name__=name, run=run, **({"NAMES": names} if names else {}))


def result(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "value": 1.5, "unit": "ms", "runs": 3, **more}


def test_prints_a_line_each_and_selects_by_prefix() -> None:
    lines: list[str] = []
    modules = [
        module("tests.bench.switch", result("switch_cached", target=50), result("switch_net")),
        module("tests.bench.other", result("memory"), result("switching"), names=("memory", "switching")),
    ]
    assert bench._run(modules, "switch", lines.append) == (3, 0)
    assert [json.loads(line)["name"] for line in lines] == ["switch_cached", "switch_net", "switching"]
    assert bench._run(modules, "switch_n", lines.append) == (1, 0)


def test_one_failure_does_not_stop_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    lines: list[str] = []
    modules = [module("a", result("one"), ZeroDivisionError("no")), module("b", result("two"))]
    assert bench._run(modules, "", lines.append) == (2, 1)
    assert "a failed: ZeroDivisionError: no" in capsys.readouterr().err


@pytest.mark.parametrize("bad", [{"name": "x", "value": 1, "unit": "s"}, result("x", speed=3)])
def test_a_result_of_another_shape_is_a_failure(bad: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert bench._run([module("a", bad)], "", print) == (0, 1)


def test_modules_that_measure_something_else_are_not_run() -> None:
    slow = [module("slow", ZeroDivisionError()), module("slower", ZeroDivisionError(), names=("memory_idle",))]
    assert bench._run([*slow, module("switch", result("switch_net"))], "switch", lambda _: None) == (1, 0)


def test_an_unknown_name_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main(["no-such-measurement"]) == 2
    assert "no-such-measurement" in capsys.readouterr().err
