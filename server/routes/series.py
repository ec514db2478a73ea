"""`POST /series`: lines for charts, packed so that the browser reads them where they lie."""

from __future__ import annotations

import struct
from typing import Annotated, Any

import msgspec
import numpy as np
from fastapi import APIRouter, Depends
from starlette.responses import Response

from ...core.errors import UsageError
from ..limits import MAX_SERIES, MAX_SERIES_BUCKETS
from ..models import SeriesRequest
from ..paths import decode_path
from ..services import Services, services
from ..stores.base import Series

SERIES = "application/x-tracker-series"
router = APIRouter()


@router.post(
    "/series",
    response_class=Response,
    responses={200: {"content": {SERIES: {"schema": {"type": "string", "format": "binary"}}}}},
)
def series(wanted: SeriesRequest, our: Annotated[Services, Depends(services)]) -> Response:
    """Read metrics of runs in buckets; the cost grows with the buckets, not with the points."""
    paths = [decode_path(text) for text in dict.fromkeys(wanted.runs)]
    keys = list(dict.fromkeys(wanted.keys))
    count = len(paths) * len(keys)
    if count > MAX_SERIES or count * wanted.buckets > MAX_SERIES_BUCKETS:
        raise UsageError(
            f"{count:,} lines of {wanted.buckets:,} buckets were asked for; at most {MAX_SERIES:,} lines and "
            f"{MAX_SERIES_BUCKETS:,} buckets in all are answered at once."
        )
    low, high = wanted.range or (None, None)
    if (low is not None and low != low) or (high is not None and high != high):
        raise UsageError("the range is not a number.")
    lines: list[Series] = []
    for path in paths:
        start_ns = None
        if wanted.x == "_runtime":
            detail = our.index.metadata.run(path)
            start_ns = detail.run.created_ns if detail else None
        for key in keys:
            lines.append(
                our.index.metrics.series(
                    path,
                    key,
                    x=wanted.x,
                    low=low,
                    high=high,
                    buckets=wanted.buckets,
                    log_x=wanted.log_x,
                    start_ns=start_ns,
                )
            )
    return Response(pack(lines, wanted.runs), media_type=SERIES)


def pack(lines: list[Series], paths: list[str]) -> bytes:
    """Answer the bytes of an answer.

    Args:
        lines: What was found, all keys of one run together.
        paths: The runs as the client spelt them; they are answered the same.
    """
    spelt = {decode_path(text): text for text in paths}
    header: list[dict[str, Any]] = []
    arrays: list[bytes] = []
    offset = 0
    for line in lines:
        columns = list(line.columns)
        n = len(line.columns[columns[0]]) if columns else 0
        header.append(
            {
                "run": spelt[line.path],
                "key": line.key,
                "n": n,
                "points": line.points,
                "exact": bool(line.exact),
                "offset": offset,
                "columns": columns,
                "min_x": _finite(line.min_x),
                "max_x": _finite(line.max_x),
            }
        )
        arrays += [np.ascontiguousarray(line.columns[name], dtype="<f8").tobytes() for name in columns]
        offset += n * len(columns)
    text = msgspec.json.encode({"series": header})
    text += b" " * (-(len(text) + 4) % 8)
    return b"".join((struct.pack("<I", len(text)), text, *arrays))


def _finite(value: float) -> float | None:
    return float(value) if value - value == 0 else None
