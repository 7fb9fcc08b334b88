"""`./dev demo`: a server, the player and something to hear, on any machine, without a sound card.

synth.py makes the sound, library.py the albums out of it, covers.py and tagging.py what belongs to them; session.py
starts and watches the processes, wav.py proves that they produced sound, __main__.py is the command.
"""
