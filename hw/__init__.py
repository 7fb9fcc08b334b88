"""Drivers of the real and the simulated hardware; imported by `appliance.app` alone."""
