"""Today's sales of each region, as the live loop keeps them in Valkey: one page of plain HTML."""

from __future__ import annotations

import redis
from fastapi import FastAPI, HTTPException
from jinja2 import Environment
from starlette.responses import HTMLResponse

from maxy.hooks.valkey import ValkeyHook
from maxy.settings import valkey_prefix
from maxy.web.access import MAY_SEE_PLUGINS
from maxy.web.headers import SecurityHeaders
from shop.regions import REGIONS

FIELDS = ("orders", "revenue", "updated_at")
PAGE = Environment(autoescape=True).from_string(
    """<!doctype html>
<html lang="en">
<meta charset="utf-8"><meta name="color-scheme" content="light dark">
<title>Shop sales</title>
<h1>Sales of today</h1>
<table>
<tr><th>region<th>orders<th>revenue<th>changed
{% for region, figures in rows %}
<tr><th>{{ region }}{% for figure in figures %}<td>{{ figure or "-" }}{% endfor %}
{% endfor %}
</table>
<p>Last looked at {{ looked_at or "never: is the DAG realtime_shop_sales paused?" }}
</html>"""
)

app = FastAPI(title="Shop sales", openapi_url=None, docs_url=None, redoc_url=None)
app.add_middleware(SecurityHeaders)


# Not async: what asks Valkey here blocks, so it runs in a thread of its own.
@app.get("/today", dependencies=[MAY_SEE_PLUGINS], response_class=HTMLResponse)
def today() -> str:
    """Return the page."""
    prefix = valkey_prefix()
    try:
        with ValkeyHook().client() as valkey:
            pipeline = valkey.pipeline(transaction=False)
            for region in REGIONS:
                pipeline.hmget(f"{prefix}:shop:{region}", FIELDS)
            pipeline.hget(f"{prefix}:loop:shop_sales", "last_success_at")
            *figures, looked_at = pipeline.execute()
    except redis.RedisError as error:
        raise HTTPException(503, "Valkey cannot be asked") from error
    rows = [(region, [_text(value) for value in values]) for region, values in zip(REGIONS, figures, strict=True)]
    return PAGE.render(rows=rows, looked_at=_text(looked_at))


def _text(value: bytes | None) -> str | None:
    return value.decode() if value is not None else None
