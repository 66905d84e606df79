"""The sentence encoder all-MiniLM-L6-v2, run by NumPy alone.  See docs/decisions/0033."""
