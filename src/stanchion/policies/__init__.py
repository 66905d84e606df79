"""A Filter and its frozen Options per file.  No policy knows another."""
