"""chadbox: a headless music player that never streams the same song twice."""

__version__ = "0.1.0"
