"""Connects the panel and the player to the hardware that the wiring names; each part may be missing (F6, R10).

A part whose device does not exist on this machine is absent: that is told in the log and is no fault. A part that is
there and does not work is a word in `status`.
"""

from __future__ import annotations

import asyncio
import glob
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, cast

from appliance.config import Settings
from appliance.errors import ChadboxError
from appliance.health import Health
from appliance.panel import Action, Frame, Key, Panel
from appliance.player.player import Player

if TYPE_CHECKING:
    from hw.wiring import Wiring

log = logging.getLogger(__name__)

CONTRAST = {"on": 0x8F, "dim": 0x08}  # of 255
HINT = 'without one set [panel] wiring = "none"'


class Hardware:
    """`wiring` is None without a panel; `closing` are the parts to close, in any order."""

    def __init__(self, settings: Settings, health: Health) -> None:
        self.settings = settings
        self.health = health
        self.closing: list[Callable[[], Awaitable[None]]] = []
        self.wiring = self._wiring()

    def _wiring(self) -> Wiring | None:
        """What is connected; None without a panel, and when the settings make no sense: the music plays on."""
        try:
            return wiring_of(self.settings)
        except ChadboxError as error:
            self.health.raise_("input-lost", str(error))
            return None

    async def open_mixer(self, player: Player) -> None:
        """The DAC's own volume where it has one and the music goes there, else software volume."""
        dac = self.wiring.dac if self.wiring else None
        if dac is None or self.settings.audio.output.partition(":")[0] != "alsa":
            return
        from hw.mixer import HardwareVolume, has_hardware_volume

        if not has_hardware_volume(dac):
            return
        loop = asyncio.get_running_loop()

        def lost(_: str) -> None:
            loop.call_soon_threadsafe(player.use_volume, None)

        try:
            mixer = await asyncio.to_thread(HardwareVolume, dac, lost)
        except ChadboxError as error:
            log.warning("%s; the volume is set in software", error)
            return
        player.use_volume(lambda percent: mixer.set(percent))
        self.closing.append(lambda: asyncio.to_thread(mixer.close))

    def open_display(self, panel: Panel) -> None:
        """Every picture of the panel goes to the display, as long as there is one."""
        display = self.wiring.display if self.wiring else None
        if display is None:
            return
        if not _present("/dev/i2c-*"):
            log.info("no I2C bus, so no display; enable it with dtparam=i2c_arm=on in config.txt, or %s", HINT)
            return
        from hw.display import DisplayDriver

        loop = asyncio.get_running_loop()

        def told(state: str, message: str) -> None:
            advice = f"{message}; {HINT}" if message else ""
            loop.call_soon_threadsafe(self.health.set, "display-lost", state != "ok", advice)

        driver = DisplayDriver(display, told)
        driver.start()
        self.closing.append(lambda: asyncio.to_thread(driver.close))
        level = ""

        def shown(frame: Frame) -> None:
            nonlocal level
            if frame.level != "off":
                driver.show(frame.pages)
            if frame.level != level:
                level = frame.level
                driver.power(level != "off")
                if level != "off":
                    driver.contrast(CONTRAST[level])

        panel.attach(shown)

    async def open_inputs(self, panel: Panel) -> None:
        """The knob and the buttons become keys of the panel."""
        wiring = self.wiring
        if wiring is None:
            return
        if not _present("/dev/gpiochip*", "/dev/gpiomem*"):
            log.info("no GPIO, so no knob and no buttons: this is no Raspberry Pi, or its kernel has no GPIO; %s", HINT)
            return
        from hw.gpio import open_panel
        from hw.inputs import Input, Inputs

        loop = asyncio.get_running_loop()

        def did(hand: Input) -> None:
            panel.key(Key(cast(Action, hand.action), hand.detents, hand.steps, hand.count))

        inputs = Inputs(wiring, loop, did)
        try:
            hands = await asyncio.to_thread(open_panel, wiring, inputs, loop, loop.call_soon_threadsafe)
        except ChadboxError as error:
            self.health.raise_("input-lost", f"{error}; {HINT}")
            return
        if hands.problems:
            self.health.raise_("input-lost", str(hands.problems[0]))

        async def close() -> None:
            inputs.close()
            await asyncio.to_thread(hands.close)

        self.closing.append(close)


def _present(*patterns: str) -> bool:
    """Whether this machine has such a device at all."""
    return any(glob.glob(pattern) for pattern in patterns)


def wiring_of(settings: Settings) -> Wiring | None:
    """What `panel.wiring` says; None for "none". Raises WiringError, one line that names the pin or the action."""
    if settings.panel.wiring == "none":
        return None
    from hw import wiring

    return wiring.load(settings.panel.wiring)
