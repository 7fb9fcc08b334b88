"""Questions that only a person may answer, one at a time: yes or no by the knob, and no when nobody answers (C6).

Pure, as keys.py is. A question waits while a sign-in code is shown, and its time runs only while it can be read.
"""

from __future__ import annotations

from msgspec.structs import replace

from appliance.panel.state import Command, Key, Question, State

ASK_S = 30.0  # then it was a no; a turn of the knob begins it anew
HOLD_S = 0.7  # keys that were on their way when the question came up do not answer it
KEYS = ("scroll", "skip", "select", "back", "menu", "home")


def ask(state: State, name: str, text: str, does: Command, now: float) -> State:
    """Ask as soon as nothing stands before it; the same thing is not asked twice."""
    if any(question.does == does for question in state.questions):
        return state
    return current(replace(state, questions=(*state.questions, Question(name, text, does))), now)


def drop(state: State, subject: str, now: float) -> State:
    """What was to be decided about `subject` is decided, or is gone."""
    left = tuple(question for question in state.questions if question.does.text != subject)
    return current(replace(state, questions=left), now) if left != state.questions else state


def current(state: State, now: float) -> State:
    """With the first question shown if it can be, and those whose time is over answered by no."""
    if not state.questions:
        return state
    first, *others = state.questions
    if state.code is not None and now < state.code.until:
        waiting = replace(first, since=0.0, until=0.0, yes=False)
        return state if waiting == first else replace(state, questions=(waiting, *others))
    if first.until and now >= first.until:
        return current(replace(state, questions=tuple(others)), now)
    if first.until:
        return state
    first = replace(first, since=now, until=now + ASK_S)
    return replace(state, questions=(first, *others), touched=now, darkened=False)


def answer(state: State, key: Key, now: float) -> tuple[State, tuple[Command, ...]]:
    """What a key of KEYS does to the question that is shown: left is no, right is yes, a press is the answer."""
    question = state.questions[0]
    if now < question.since + HOLD_S:
        return state, ()
    if key.action in ("scroll", "skip"):
        turned = replace(question, yes=(key.detents or key.steps) > 0, until=now + ASK_S)
        return replace(state, questions=(turned, *state.questions[1:])), ()
    after = current(replace(state, questions=state.questions[1:]), now)
    return after, (question.does,) if question.yes and key.action == "select" else ()
