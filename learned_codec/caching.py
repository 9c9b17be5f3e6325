"""A cached property without a lock.

That of `functools` has a lock before Python 3.12. If a process is forked while another thread holds it, the new process
waits for it for ever.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Self, TypeVar, overload

T = TypeVar("T")


class cached_property(Generic[T]):  # noqa: N801 - as in functools
    """A property that is computed once for each object; by threads that ask at the same time, perhaps more often.

    All of them get the first result.
    """

    def __init__(self, function: Callable[[Any], T]) -> None:
        self._function, self.__doc__ = function, function.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...

    @overload
    def __get__(self, instance: object, owner: type) -> T: ...

    def __get__(self, instance: object | None, owner: type) -> Self | T:
        if instance is None:
            return self
        # The object's own attribute of this name comes first from now on.
        value: T = vars(instance).setdefault(self._name, self._function(instance))
        return value
