"""Where rows come from: a source gives pages of raw lines, and knows nothing of what they ask."""
