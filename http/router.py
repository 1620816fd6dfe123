"""From a path and a method to an endpoint: by path first, the most literal one, then by method."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Generic, TypeVar

from .errors import RequestError

T = TypeVar("T")
_Pattern = tuple[Callable[[str], re.Match[str] | None], dict[str, T]]
_PARAMETER: Final = re.compile(r"{(\w+)}")
_NO_PARAMETERS: Final[Mapping[str, str]] = {}


class Router(Generic[T]):
    """Finds what serves a request. A parameter of a path is one whole segment of it."""

    def __init__(self, routes: Iterable[tuple[str, str, T]]) -> None:
        """Take method, path and target of each route; a GET is found by HEAD as well."""
        by_path: dict[str, dict[str, T]] = {}
        for method, path, target in routes:
            methods = by_path.setdefault(path, {})
            methods[method] = target
            if method == "GET":
                methods["HEAD"] = target
        self._fixed = {path: ms for path, ms in by_path.items() if "{" not in path}
        # Of two patterns that fit, the one whose first parameter comes later says more.
        patterns = sorted((p for p in by_path if "{" in p), key=lambda p: -p.index("{"))
        self._patterns: defaultdict[int, list[_Pattern[T]]] = defaultdict(list)
        for path in patterns:
            fits = re.compile(_PARAMETER.sub(r"(?P<\1>[^/]+)", path)).fullmatch
            # Only a path of as many segments can fit.
            self._patterns[path.count("/")].append((fits, by_path[path]))

    def find(self, method: str, path: str) -> tuple[T, Mapping[str, str]]:
        """Return the target and the parameters of its path.

        Raises:
            RequestError: 404, there is no such path; 405, it doesn't take this method.
        """
        methods = self._fixed.get(path)
        if methods is not None:
            return _by_method(methods, method), _NO_PARAMETERS
        for fits, methods in self._patterns.get(path.count("/"), ()):
            if found := fits(path):
                return _by_method(methods, method), found.groupdict()
        raise RequestError(404, "resource_missing", "There is nothing at this path.")


def _by_method(methods: Mapping[str, T], method: str) -> T:
    target = methods.get(method)
    if target is None:
        allowed = ", ".join(sorted(methods))
        raise RequestError(
            405,
            "method_not_allowed",
            f"This path takes {allowed}.",
            headers={"Allow": allowed},
        )
    return target
