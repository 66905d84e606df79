"""What outlives a call and is shared between calls, threads, processes or machines.

`protocols.py` says what can be asked, `opening.py` opens a store by its address.  Only the engine names one.
"""
