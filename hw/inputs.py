"""From what hands do to what it shall mean: turns and button gestures become actions by the wiring's map (F2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hw.buttons import Buttons, Gesture, Kind, Timer, Timing
from hw.encoder import Turn
from hw.wiring.model import Wiring


@dataclass(frozen=True, slots=True)
class Input:
    """One thing that a hand did.

    `action` is a word of hw.wiring.model.Action, "none" when the gesture is not mapped (it still wakes the display);
    `gesture` is how the wiring writes it, such as `play.long` or `push+turn`. For turns `detents` is what the fingers
    felt (menus) and `steps` what speed made of it (values), right positive. `count` numbers repeats from 1.
    """

    action: str
    gesture: str
    detents: int = 0
    steps: int = 0
    count: int = 0


class Inputs:
    """The panel's hands: button levels and turns in, `Input` out to `emit`.

    Belongs on the thread of `timer` (the event loop); whoever lives on another one posts. A button has a long press,
    repeats or waits for a chord only if the wiring maps such a gesture, so an unmapped one costs no time.
    """

    def __init__(
        self,
        wiring: Wiring,
        timer: Timer,
        emit: Callable[[Input], None],
        timing: Timing = Timing(),  # noqa: B008 frozen
    ) -> None:
        self._wiring, self._emit = wiring, emit
        mapped = [gesture for gesture, action in wiring.actions.items() if action != "none"]
        single = [gesture for gesture in mapped if "+" not in gesture]
        chords = [gesture.split("+") for gesture in mapped if "+" in gesture]
        self._turning = {tuple(sorted(chord[:-1])): "+".join(chord) for chord in chords if chord[-1] == "turn"}
        self._chords = {tuple(sorted(chord)): "+".join(chord) for chord in chords if chord[-1] != "turn"}
        self._buttons = Buttons(
            wiring.all_buttons,
            timer,
            self._gesture,
            long=[gesture.removesuffix(".long") for gesture in single if gesture.endswith(".long")],
            repeat=[gesture.removesuffix(".repeat") for gesture in single if gesture.endswith(".repeat")],
            chords=[frozenset(chord) for chord in self._chords],
            turning={name for names in self._turning for name in names},
            timing=timing,
        )

    def button(self, name: str, down: bool) -> None:
        """The contact of button `name` closed or opened. Raises KeyError for a button that the wiring does not have."""
        self._buttons.feed(name, down)

    def turn(self, turn: Turn) -> None:
        """The knob moved."""
        gesture = self._turning.get(self._buttons.held, "turn")
        if gesture != "turn":
            self._buttons.turned()
        self._emit(Input(self._wiring.action(gesture), gesture, turn.detents, turn.steps))

    def close(self) -> None:
        """Cancel all timers."""
        self._buttons.close()

    def _gesture(self, gesture: Gesture) -> None:
        if gesture.kind is Kind.CHORD:
            name = self._chords[gesture.buttons]
        else:
            name = gesture.buttons[0] + ("" if gesture.kind is Kind.PRESS else f".{gesture.kind.value}")
        self._emit(Input(self._wiring.action(name), name, count=gesture.count))
