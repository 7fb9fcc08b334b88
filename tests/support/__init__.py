"""What the end-to-end tests and the benchmarks share.

box.py    a real server and player as subprocesses, driven by the command line
tones.py  one signal cut into tracks and encoded in every format, with the exact PCM that has to come out
wavs.py   reading WAV files, finding where one signal begins in another, comparing sample by sample
proxy.py  delay, byte counts and broken connections between player and server
"""
