"""What will be wanted on the way, by rules from the play history (C2), and having it on the box in time."""

from appliance.commute.commute import Commute
from appliance.commute.plan import Choice, Limits

__all__ = ["Choice", "Commute", "Limits"]
