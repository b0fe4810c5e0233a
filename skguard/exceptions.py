"""The errors of this package. It imports nothing of the package."""

__all__ = ["NotCopyableError"]


class NotCopyableError(TypeError):
    """An object in the parameters cannot be copied, so no fit could start fresh.

    Raised by ``fit``, ``sklearn.base.clone``, ``copy.deepcopy`` and ``pickle``, before any
    training. The message names the object and says what to pass instead.
    """
