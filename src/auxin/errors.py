"""The only exceptions that auxin raises for a caller's mistake or a damaged file.

Each message is one line that names the thing, its value and what is allowed.
"""

LONGEST = 800  # characters of a message: what it quotes may be a whole file


class AuxinError(Exception):
    """Base of every error that auxin raises on purpose.

    >>> try:
    ...     ModelConfig(heads=3, width=64)
    ... except AuxinError as error:
    ...     print(error)
    heads is 3; allowed: a divisor of the width (64)
    """

    def __init__(self, message: str) -> None:
        message = "".join(c if c.isprintable() else "�" for c in " ".join(message.splitlines()))
        if len(message) > LONGEST:
            message = f"{message[: LONGEST // 2]} … {message[-LONGEST // 2 :]}"
        super().__init__(message)


class ConfigError(AuxinError, ValueError):
    """A setting is outside its allowed range, or two settings contradict each other."""


class DataError(AuxinError, ValueError):
    """A data file, a sentence or a tree is malformed."""


class CheckpointError(AuxinError):
    """A checkpoint is damaged, incomplete or belongs to another model."""


class RunError(AuxinError):
    """A run's directory cannot be created, read, locked or resumed."""


class Interrupted(AuxinError):
    """Training was told to stop by a signal; everything up to there is saved."""

    def __init__(self, where: str, signal: int, out: str) -> None:
        super().__init__(f"stopped {where}; the same command with --out {out} goes on from there")
        self.signal = signal
