"""The few S3 calls that tests need, signed by hand (AWS signature, version 4)."""

import hashlib
import hmac
import re
import time
from datetime import datetime, timezone
from urllib.parse import quote, urlencode

import httpx

REGION = "us-east-1"


class S3:
    """One endpoint with one pair of keys, in path style."""

    def __init__(self, endpoint: str, access_key: str, secret_key: str) -> None:
        self.endpoint = endpoint
        self.access_key = access_key
        self.secret_key = secret_key
        self._http = httpx.Client(timeout=30, trust_env=False)

    def request(
        self,
        method: str,
        path: str,
        query: dict[str, str] | None = None,
        body: bytes = b"",
        extra: dict[str, str] | None = None,
    ) -> httpx.Response:
        """A signed request; `path` begins with the bucket."""
        # A busy MinIO says 503 now and then, and means it.
        for _ in range(8):
            answer = self._once(method, path, query, body, extra)
            if answer.status_code != 503:
                break
            time.sleep(0.5)
        return answer

    def _once(
        self, method: str, path: str, query: dict[str, str] | None, body: bytes, extra: dict[str, str] | None
    ) -> httpx.Response:
        host = self.endpoint.split("//", 1)[1]
        resource = "/" + quote(path)
        arguments = urlencode(sorted((query or {}).items()), quote_via=quote)
        headers = self._sign(method, host, resource, arguments, hashlib.sha256(body).hexdigest())
        url = f"{self.endpoint}{resource}" + (f"?{arguments}" if arguments else "")
        return self._http.request(method, url, headers=headers | (extra or {}), content=body)

    def _sign(self, method: str, host: str, resource: str, arguments: str, digest: str) -> dict[str, str]:
        moment = datetime.now(timezone.utc)
        stamp, day = moment.strftime("%Y%m%dT%H%M%SZ"), moment.strftime("%Y%m%d")
        signed = "host;x-amz-content-sha256;x-amz-date"
        canonical = "\n".join(
            [method, resource, arguments, f"host:{host}", f"x-amz-content-sha256:{digest}", f"x-amz-date:{stamp}"]
            + ["", signed, digest]
        )
        scope = f"{day}/{REGION}/s3/aws4_request"
        to_sign = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
        key = f"AWS4{self.secret_key}".encode()
        for part in (day, REGION, "s3", "aws4_request"):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        signature = hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()
        credential = f"AWS4-HMAC-SHA256 Credential={self.access_key}/{scope}"
        return {
            "host": host,
            "x-amz-date": stamp,
            "x-amz-content-sha256": digest,
            "authorization": f"{credential}, SignedHeaders={signed}, Signature={signature}",
        }

    def make_bucket(self, bucket: str) -> None:
        """Creates a bucket."""
        self.request("PUT", bucket).raise_for_status()

    def remove_bucket(self, bucket: str) -> None:
        """Removes a bucket with all it holds, which only MinIO does in one call. No error if there is none."""
        done = self.request("DELETE", bucket, extra={"x-minio-force-delete": "true"})
        if done.status_code != 404:
            done.raise_for_status()

    def get(self, bucket: str, key: str) -> bytes:
        """An object's bytes."""
        return self.request("GET", f"{bucket}/{key}").raise_for_status().content

    def put(self, bucket: str, key: str, body: bytes) -> None:
        """Writes an object."""
        self.request("PUT", f"{bucket}/{key}", body=body).raise_for_status()

    def delete(self, bucket: str, key: str) -> None:
        """Removes an object."""
        self.request("DELETE", f"{bucket}/{key}").raise_for_status()

    def list(self, bucket: str, prefix: str = "") -> dict[str, int]:
        """Every key with its size."""
        found: dict[str, int] = {}
        query = {"list-type": "2", "prefix": prefix}
        while True:
            page = self.request("GET", bucket, query).raise_for_status().text
            entries = re.findall(r"<Contents>.*?<Key>(.*?)</Key>.*?<Size>(\d+)</Size>", page, re.DOTALL)
            found |= {key: int(size) for key, size in entries}
            token = re.search(r"<NextContinuationToken>(.*?)</NextContinuationToken>", page)
            if token is None:
                return found
            query["continuation-token"] = token.group(1)
