"""A small reader of REAPER projects, written from the format and not from our writer: lines, words, quotes, blocks."""

from __future__ import annotations

from typing import NamedTuple


class Block:
    """`<NAME words`: its words, its lines and the blocks inside."""

    def __init__(self, words: list[str]) -> None:
        self.words = words
        self.lines: list[list[str]] = []
        self.blocks: list[Block] = []

    def named(self, name: str) -> list[Block]:
        return [block for block in self.blocks if block.words[0] == name]

    def value(self, name: str) -> list[str]:
        """The words after `name`; there has to be exactly one such line."""
        (line,) = [line for line in self.lines if line[0] == name]
        return line[1:]


class Item(NamedTuple):
    position: float
    length: float
    name: str
    kind: str
    file: str


def parse(text: str) -> Block:
    """The project; ValueError for what is not one."""
    outer = Block(["", ""])
    stack = [outer]
    for line in text.splitlines():
        line = line.strip()
        if line == ">":
            if len(stack) == 1:
                raise ValueError("a block is closed that was not opened")
            stack.pop()
        elif line.startswith("<"):
            block = Block(words(line[1:]))
            stack[-1].blocks.append(block)
            stack.append(block)
        elif line:
            stack[-1].lines.append(words(line))
    if len(stack) != 1 or outer.lines or len(outer.blocks) != 1:
        raise ValueError("not one closed block")
    project = outer.blocks[0]
    if project.words[0] != "REAPER_PROJECT":
        raise ValueError("not a project")
    return project


def words(line: str) -> list[str]:
    """The words of a line; one that begins with a quote goes to the next of its kind."""
    found, at = [], 0
    while at < len(line):
        if line[at] == " ":
            at += 1
        elif line[at] in "\"'`":
            end = line.index(line[at], at + 1)
            if end + 1 < len(line) and line[end + 1] != " ":
                raise ValueError(f"a quote ends in a word: {line}")
            found.append(line[at + 1 : end])
            at = end + 1
        else:
            end = line.find(" ", at)
            end = len(line) if end < 0 else end
            found.append(line[at:end])
            at = end
    return found


def items(project: Block) -> list[Item]:
    """The items of its one track."""
    (track,) = project.named("TRACK")
    found = []
    for item in track.named("ITEM"):
        (source,) = item.named("SOURCE")
        (position,), (length,) = item.value("POSITION"), item.value("LENGTH")
        (name,), (file,) = item.value("NAME"), source.value("FILE")
        found.append(Item(float(position), float(length), name, source.words[1], file))
    return found
