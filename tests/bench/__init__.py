"""Measurements: every module here with `run() -> Iterable[dict]` is one, found and run by `./dev bench`."""
