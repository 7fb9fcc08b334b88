"""The front panel: screens, menu, and what keys do. It knows no pins: hw/ and the terminal bring keys and take frames.

Panel, Frame     the panel at work; a frame is what a display shows
Key              what a hand did, in the words of the wiring's map
Care             when the display is dimmed and switched off
Peeker           fetches ahead what is highlighted
"""

from appliance.panel.care import Care
from appliance.panel.panel import Frame, Panel
from appliance.panel.peek import Peeker
from appliance.panel.state import Action, Key

__all__ = ["Action", "Care", "Frame", "Key", "Panel", "Peeker"]
