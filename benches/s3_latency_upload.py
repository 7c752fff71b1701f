#!/usr/bin/env python3
"""`upload_points` with the client's defaults on a bucket as slow as S3; points per second until acknowledged.

The bucket is MinIO behind a proxy that holds each request as long as S3 does (GET p50 63 ms, PUT p50 100 ms, with the
usual tail).
"""

import random
import time

import numpy as np
from _bench import data, metrics, parser, report, serving, stages, wordnet
from harness.minio import Minio
from harness.proxy import Proxy
from harness.stores import MinioStore
from qdrant_client import models

QUANTILES = {
    "GET": ((0.5, 0.063), (0.99, 0.078), (0.999, 0.118)),
    "PUT": ((0.5, 0.100), (0.99, 0.195), (0.999, 0.274)),
}


def s3_delay(method: str, rng: random.Random = random.Random(1)) -> float:
    """Seconds, drawn so that the quantiles are those of S3."""
    draw, last = rng.random(), (0.0, 0.040)
    for quantile, seconds in QUANTILES["PUT" if method in ("PUT", "POST", "DELETE") else "GET"]:
        if draw <= quantile:
            share = (draw - last[0]) / (quantile - last[0])
            return last[1] + share * (seconds - last[1])
        last = quantile, seconds
    return last[1]


def main() -> None:
    options = parser(__doc__).parse_args()
    points = data(options.points or 10_000)
    minio = Minio()
    proxy = Proxy(minio.endpoint, delay=s3_delay)
    store = MinioStore(minio, endpoint=proxy.endpoint)
    try:
        with serving(store) as server:
            for grpc in (False, True):
                client = server.client(grpc=grpc, timeout=120)
                client.delete_collection(wordnet.COLLECTION)
                wordnet.create(client, points)
                rows = points.vectors.astype(np.float32)
                structs = (
                    models.PointStruct(id=i, vector=rows[i].tolist(), payload=payload)
                    for i, payload in enumerate(points.payload)
                )
                before = metrics(server)
                begun = time.perf_counter()
                client.upload_points(wordnet.COLLECTION, structs)
                took = time.perf_counter() - begun
                assert client.count(wordnet.COLLECTION, exact=True).count == len(points.payload)
                report(
                    "upload at S3 latency",
                    protocol="gRPC" if grpc else "REST",
                    points=len(points.payload),
                    seconds=round(took, 2),
                    points_per_second=round(len(points.payload) / took),
                    stages=stages(before, metrics(server)),
                )
    finally:
        store.close()
        proxy.stop()
        minio.stop()


if __name__ == "__main__":
    main()
