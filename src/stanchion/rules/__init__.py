"""Pure decisions: numbers in (also `now`), a decision out.  No clock, no loop, no I/O."""
