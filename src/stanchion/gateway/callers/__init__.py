"""Who calls: the index of keys, the door at which they are checked, and the desk that hands them out."""
