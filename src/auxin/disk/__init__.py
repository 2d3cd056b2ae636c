"""Files: read within bounds and by one schema, written whole or not at all, never through a link."""
