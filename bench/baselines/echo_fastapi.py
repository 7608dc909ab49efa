"""Bare FastAPI: a body in, its length out: ``uvicorn bench.baselines.echo_fastapi:app``."""

from fastapi import FastAPI, Request

app = FastAPI()


@app.get("/health")
async def health() -> None:
    """Say that it runs."""


@app.post("/echo")
async def echo(request: Request) -> dict[str, int]:
    """Return the length of the body."""
    return {"bytes": len(await request.body())}
