"""Logging in with a browser: the key is sent once, and a cookie that scripts cannot read takes its place."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from ..gate.auth import COOKIE
from ..gate.keys import SESSION_SECONDS, is_well_formed
from ..services import Services, services
from ..wire import Json

router = APIRouter()
Our = Annotated[Services, Depends(services)]


class Login(BaseModel):
    """What the login page sends."""

    key: str = Field(max_length=200)


@router.post("/login", status_code=204, include_in_schema=False)
def login(login: Login, request: Request, our: Our) -> Response:
    """Set the cookie, if the key is one of ours."""
    text = login.key.strip()
    key = our.keys.check(text) if our.keys is not None and is_well_formed(text) else None
    if key is None or our.keys is None:
        raise HTTPException(401, "this is not a key of this server; make one with: tracker server key add")
    response = Response(status_code=204)
    response.set_cookie(
        COOKIE,
        our.keys.session(key),
        max_age=SESSION_SECONDS,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return response


@router.post("/logout", include_in_schema=False)
def logout() -> Response:
    """Take the cookie away."""
    response = Json({})
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return response
