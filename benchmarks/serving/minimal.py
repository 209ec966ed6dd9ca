"""The peer that a user would write instead: Flask, torch, a GRU that reads the whole history at each request.

No signatures, no schemas, no filters. Live events lie in Redis under the user's id, as the numbers of items. It runs
in the same gunicorn as the runtime.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import redis
import torch
from flask import Flask, Response, request
from safetensors.torch import load_file


def create_app() -> Flask:
    torch.set_num_threads(1)
    model = Path(os.environ["BENCHMARK_MODEL"])
    vectors_IH = load_file(model / "model.safetensors")["item.weight"][:-1]
    offsets, items = (np.load(model / "histories" / f"{name}.npy") for name in ("offsets", "items"))
    item_ids = [f"i{item:08}" for item in range(len(vectors_IH))]
    gru = torch.nn.GRU(vectors_IH.shape[1], vectors_IH.shape[1]).eval()
    store: Any = redis.Redis.from_url(os.environ["FORETASTE_REDIS_URL"])
    app = Flask("minimal")

    @app.get("/ping")
    def ping() -> Response:
        return Response("{}", content_type="application/json")

    @app.post("/recommendations")
    def recommend() -> Response:
        asked = orjson.loads(request.data)
        user = int(asked["userId"][1:])
        live = [int(item) for item in store.lrange(f"live:{user}", 0, -1)]
        history_T = torch.tensor([*items[offsets[user] : offsets[user + 1]].tolist(), *live])
        with torch.inference_mode():
            _, h_1H = gru(vectors_IH[history_T])
            scores_I = (vectors_IH @ h_1H[0]).softmax(0)
            best = scores_I.topk(25)
        found = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        answer = {"itemList": [{"itemId": item_ids[item], "score": score} for item, score in found]}
        return Response(orjson.dumps(answer), content_type="application/json")

    return app
