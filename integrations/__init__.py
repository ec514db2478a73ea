"""The frameworks that log to tracker, as a table; it imports none of them.

A framework is supported when it has a line here and a file beside this one. None yet: the frameworks come next.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Integration:
    """One supported framework.

    Args:
        name: As the framework is imported; also the file here, and the extra to install.
        cls: The class that users pass to the framework.
        versions: The supported versions, as a requirement specifier.
    """

    name: str
    cls: str
    versions: str


INTEGRATIONS: tuple[Integration, ...] = ()
