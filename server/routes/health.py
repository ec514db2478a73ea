"""`GET /health`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends

from tracker import __version__

from ..models import Health
from ..services import Services, services

router = APIRouter()


@router.get("/health")
async def health(our: Annotated[Services, Depends(services)]) -> Health:
    """Say that the server is up; open to everyone, also without a key."""
    return Health(status="ok", version=__version__, mode=our.mode)
