"""What goes wrong by the caller's hand; the command line turns both into one sentence and exit status 2."""


class DataError(ValueError):
    """The data or the call is wrong: one sentence says what is needed, what came, and what to do."""


class OptionError(TypeError):
    """The method has no such option."""
