"""How answers are written: as OpenAI's batch lines, or beside the columns of their rows."""
