"""Echo in plain FastAPI: ``uvicorn bench.baselines.echo_fastapi:app``."""

from fastapi import FastAPI, Request

app = FastAPI()


@app.get("/health")
async def health() -> None:
    """Respond when the server runs."""


@app.post("/echo")
async def echo(request: Request) -> dict[str, int]:
    """Return the size of the body."""
    return {"bytes": len(await request.body())}
