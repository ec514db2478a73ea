"""Registries: collections that link versions of any project.

Their versions are asked for as all others are, with the entity `.registry` and the registry's name as the project.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends

from ...core.artifacts.version import REGISTRY
from .. import versions as shapes
from ..services import Services, services
from ..wire import Json
from .artifacts import _collections

router = APIRouter()
Our = Annotated[Services, Depends(services)]


@router.get("/registries", response_model=shapes.Registries)
def registries(our: Our) -> Json:
    """List the registries, by name."""
    found: dict[str, int] = {}
    for each in our.places.catalogue.collections(REGISTRY):
        found[each.project] = found.get(each.project, 0) + 1
    return Json({"registries": [{"name": name, "collections": count} for name, count in sorted(found.items())]})


@router.get("/registries/{registry}", response_model=shapes.Collections)
def registry_collections(registry: str, our: Our) -> Json:
    """List the collections of a registry, by name."""
    return _collections(our.places.catalogue.collections(REGISTRY, registry))
