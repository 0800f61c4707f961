"""The server of a review: on 127.0.0.1 alone, for whoever has the token that stands in the address.

    GET  /?token=T            the page; all else goes by the header X-Token
    GET  /api/next            the row to look at          who, window; row: this one
    POST /api/decide          a decision                  who, window, row, action, label or code, seconds, note
    GET  /api/groups          rows that can be decided about at once, and how often each source errs
    GET  /api/group           those of one                kind, number or given and suggested
    POST /api/decide_all      about several               who, window, rows (row and code), action, seconds, note
    POST /api/undo            take the last one back      who, window
    GET  /api/numbers         what stands beside          who, window

Another Host (a name that somebody made to lead here) and another Origin (a page of others in the same browser) are refused; no answer
may be kept or framed.
"""

from __future__ import annotations

import hmac
import json
import math
import secrets
import socket
from collections.abc import Callable
from typing import Any

from datassay.checks import DataError
from datassay.review.cards import Cards, shown
from datassay.review.groups import AT_ONCE, Groups
from datassay.review.page import page
from datassay.review.session import NAME, Session, clean

try:
    import uvicorn
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.requests import ClientDisconnect, Request
    from starlette.responses import Response
    from starlette.routing import Route
except ImportError as error:
    raise ImportError("datassay review needs starlette and uvicorn: pip install 'datassay[review]'") from error

HOST = "127.0.0.1"
LARGEST = 65_536  #: bytes of a request
PATIENCE = 3.0  #: seconds that the page waits for the exact weights before it shows the first row
RECENT = 12  #: decisions that the page lists
HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class RefusedError(Exception):
    """A request that is not from the page, or makes no sense."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


def listen(port: int) -> socket.socket:
    """A socket on this machine alone.

    Raises
    ------
    DataError
        The port is taken, or is none.
    """
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((HOST, port))
        bound.listen(64)
    except (OSError, OverflowError) as error:
        bound.close()
        raise DataError(
            f"port {port} of {HOST} can't be taken ({error}): give another with --port, or 0 for a free one."
        ) from None
    return bound


def serve(app: Starlette, bound: socket.socket) -> None:
    """Until a signal comes."""
    config = uvicorn.Config(
        app, log_level="critical", access_log=False, server_header=False, date_header=False, lifespan="off", ws="none",
        timeout_graceful_shutdown=2,
    )  # fmt: skip
    uvicorn.Server(config).run(sockets=[bound])


def application(
    session: Session, port: int, token: str | None = None, *, title: str = "", groups: Groups | None = None
) -> Starlette:
    """The application; its token is in ``app.state.token``.

    Parameters
    ----------
    session
        The review.
    port
        On which it is reached: another one in Host or Origin is refused.
    token
        None: a new one.
    title
        What the page is called.
    groups
        Of its rows; None: those that the rows themselves have.
    """
    token = token or secrets.token_urlsafe(24)
    cards, groups_ = Cards(session), groups or Groups(session)
    hosts = {f"{HOST}:{port}", f"localhost:{port}"}

    def check(request: Request, given: str) -> None:
        if request.headers.get("host", "") not in hosts or len(request.headers.getlist("host")) != 1:
            raise RefusedError(403, "this address is not that of the review")
        origin = request.headers.get("origin")
        if origin is not None and origin not in {f"http://{host}" for host in hosts}:
            raise RefusedError(403, "another page asks")
        if not hmac.compare_digest(given.encode("utf-8", "replace"), token.encode()):
            raise RefusedError(403, "the token is wrong: open the address that datassay review printed last")

    def guarded(answer: Callable[[dict[str, Any]], dict[str, Any]], *, post: bool = False) -> Any:
        async def endpoint(request: Request) -> Response:
            try:
                check(request, request.headers.get("x-token", ""))
                if post and request.headers.get("content-type", "").split(";")[0] != "application/json":
                    raise RefusedError(415, "JSON is needed")
                asked = await _body(request) if post else dict(request.query_params)
                return _json(await run_in_threadpool(answer, asked))
            except RefusedError as error:
                return _json({"error": f"{error}."}, error.status)
            except DataError as error:
                return _json({"error": str(error)}, 400)
            except OSError as error:
                return _json(
                    {"error": f"the decision could not be written ({error.strerror or error}): nothing was kept of it."}, 500
                )

        return endpoint

    async def home(request: Request) -> Response:
        try:
            check(request, request.query_params.get("token", ""))
        except RefusedError as error:
            return Response(f"{error}.", error.status, HEADERS, "text/plain")
        html, policy = page(title)
        return Response(html, 200, HEADERS | {"Content-Security-Policy": policy}, "text/html")

    def next_row(asked: dict[str, Any]) -> dict[str, Any]:
        who, window = _who(asked)
        if "row" in asked:
            row: int | None = _whole(asked, "row")
            assert row is not None
            session.open(row, window)
        else:
            row = session.next(who, window)
        return {"card": None if row is None else cards.card(row), "numbers": numbers(who)}

    def decide(asked: dict[str, Any]) -> dict[str, Any]:
        who, window = _who(asked)
        action, row = _words(asked, "action"), _whole(asked, "row")
        label = label_of(asked) if action == "relabel" else ""
        done = session.decide(who, window, row, action, label=label, seconds=_seconds(asked), note=_words(asked, "note"))
        following = session.next(who, window)
        said = cards.brief(row) | {"action": done.action, "new_label": shown(done.new_label)}
        return {"done": said, "card": None if following is None else cards.card(following), "numbers": numbers(who)}

    def label_of(asked: dict[str, Any]) -> str:
        if session.regression:
            return _words(asked, "label")
        code = _whole(asked, "code")
        if not 0 <= code < len(session.labels):
            raise DataError("there is no such class.")
        return session.labels[code]

    def decide_all(asked: dict[str, Any]) -> dict[str, Any]:
        who, window = _who(asked)
        action, rows = _words(asked, "action"), asked.get("rows")
        if not isinstance(rows, list) or not 0 < len(rows) <= AT_ONCE or not all(isinstance(one, dict) for one in rows):
            raise DataError(f"rows must be a list of 1 to {AT_ONCE}.")
        pairs = [(_whole(one, "row"), label_of(one) if action == "relabel" else "") for one in rows]
        if len({row for row, _ in pairs}) < len(pairs):
            raise DataError("a row is there twice.")
        session.decide_all(who, window, pairs, action, seconds=_seconds(asked), note=_words(asked, "note"))
        return listed(asked) | {"numbers": numbers(who)}

    def listed(asked: dict[str, Any]) -> dict[str, Any]:
        found = groups_.listed()
        for one in found:
            for name in ("given", "suggested"):
                if name in one:
                    one[f"{name}_label"] = shown(session.labels[one[name]])
        rates = [one | {"name": shown(one["name"])} for one in groups_.rates()]
        return {"groups": found, "by": shown(groups_.by), "rates": rates}

    def group(asked: dict[str, Any]) -> dict[str, Any]:
        kind = _words(asked, "kind")
        which = {name: _whole(asked, name) if name in asked else -1 for name in ("number", "given", "suggested")}
        return {"rows": cards.group(groups_.rows(kind, **which))}

    def undo(asked: dict[str, Any]) -> dict[str, Any]:
        who, window = _who(asked)
        row = session.undo(who, window)
        if row is None:
            return {"done": None}
        return {"done": cards.brief(row), "card": cards.card(row), "numbers": numbers(who)}

    def numbers(who: str) -> dict[str, Any]:
        with session.lock:
            rows = list(dict.fromkeys(d.row for d in reversed(session.record.decisions) if d.row in session.by_row))[:RECENT]
            recent = [cards.brief(row) for row in rows]
            disputed = [cards.brief(row) for row in session.disputed()[:RECENT]]
        return session.numbers(who) | {"recent": recent, "disputed": disputed}

    def stand(asked: dict[str, Any]) -> dict[str, Any]:
        who, window = _who(asked)
        session.seen(window)
        return {"numbers": numbers(who)}

    def start(asked: dict[str, Any]) -> dict[str, Any]:
        session.wait(PATIENCE)
        return {
            "task": session.data.task,
            "classes": [shown(label) for label in session.labels],
            "rows": len(session.data),
            "method": session.values.method,
            "file": shown(str(session.record.path)),
        }

    app = Starlette(
        routes=[
            Route("/", home, methods=["GET"]),
            Route("/api/start", guarded(start), methods=["GET"]),
            Route("/api/next", guarded(next_row), methods=["GET"]),
            Route("/api/numbers", guarded(stand), methods=["GET"]),
            Route("/api/decide", guarded(decide, post=True), methods=["POST"]),
            Route("/api/groups", guarded(listed), methods=["GET"]),
            Route("/api/group", guarded(group), methods=["GET"]),
            Route("/api/decide_all", guarded(decide_all, post=True), methods=["POST"]),
            Route("/api/undo", guarded(undo, post=True), methods=["POST"]),
        ]
    )
    app.state.token = token
    return app


async def _body(request: Request) -> dict[str, Any]:
    """What was sent, if it is a small JSON object."""
    content = b""
    try:
        async for part in request.stream():
            content += part
            if len(content) > LARGEST:
                raise RefusedError(413, "that is too long")
    except ClientDisconnect:
        raise RefusedError(400, "half a request came") from None
    try:
        asked = json.loads(content)
    except (ValueError, RecursionError):
        raise RefusedError(400, "that is no JSON") from None
    if not isinstance(asked, dict):
        raise RefusedError(400, "that is no JSON object")
    return asked


def _json(content: dict[str, Any], status: int = 200) -> Response:
    return Response(json.dumps(content, allow_nan=False), status, HEADERS, "application/json")


def _who(asked: dict[str, Any]) -> tuple[str, str]:
    who = clean(_words(asked, "who"), NAME)
    return who, clean(_words(asked, "window"), NAME) or who


def _words(asked: dict[str, Any], name: str) -> str:
    value = asked.get(name, "")
    if not isinstance(value, str):
        raise DataError(f"{name} must be a text.")
    return value


def _seconds(asked: dict[str, Any]) -> float:
    seconds = asked.get("seconds", 0)
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not math.isfinite(seconds):
        raise DataError("seconds must be a number.")
    return float(seconds)


def _whole(asked: dict[str, Any], name: str) -> int:
    value = asked.get(name)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 16:
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise DataError(f"{name} must be a whole number.")
    return value
