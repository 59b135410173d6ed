"""serve: drivers in, over HTTP; out what the online store knows of them, and what the model says of that."""

import sys
from pathlib import Path
from typing import Annotated, Any

import uvicorn
from fastapi import FastAPI
from feast import FeatureStore
from feature_repository import answer, online, open_store
from pydantic import BaseModel, ConfigDict, Field
from saved_model import SavedModel, open_model
from step import parse_parameters, whole
from step_error import StepError

STEP = "serve"
MOST = 1000  # drivers of a request


class Asked(BaseModel):
    model_config = ConfigDict(extra="forbid")
    driver_ids: list[Annotated[int, Field(ge=0, lt=2**63)]] = Field(min_length=1, max_length=MOST)


def main() -> int:
    try:
        given = parse_parameters(STEP, repository=Path, model=str, host=str, port=whole(1, 65535))
        app = application(open_store(given.repository), open_model(given.model))
    except StepError as error:
        print(f"{STEP}: {error}", file=sys.stderr)
        return 1
    uvicorn.run(app, host=given.host, port=given.port, log_level="warning")
    return 0


def application(store: FeatureStore, model: SavedModel) -> FastAPI:
    app = FastAPI(title=model.table.name)

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/predict")
    async def predict(asked: Asked) -> Any:  # one at a time: the store is one SQLite connection
        rows = answer(model, online(store, asked.driver_ids))
        return rows.astype(object).mask(rows.isna(), None).to_dict("records")

    return app


if __name__ == "__main__":
    sys.exit(main())
