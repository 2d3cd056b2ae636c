"""A whole run: task, stack, measures and run directory put together."""
