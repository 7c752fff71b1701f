"""Runs a command with a MinIO beside it: `python -m harness.with_minio COMMAND ...`.

The command finds the endpoint and a bucket in `LODESTONE_TEST_S3_ENDPOINT` and `LODESTONE_TEST_S3_BUCKET`.
"""

import os
import subprocess
import sys

from .minio import ACCESS_KEY, SECRET_KEY, Minio


def main() -> int:
    """The command's exit status."""
    minio = Minio()
    try:
        minio.s3.make_bucket("tests")
        environment = os.environ | {
            "LODESTONE_TEST_S3_ENDPOINT": minio.endpoint,
            "LODESTONE_TEST_S3_BUCKET": "tests",
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_REGION": "us-east-1",
        }
        return subprocess.run(sys.argv[1:], env=environment, check=False).returncode
    finally:
        minio.stop()


if __name__ == "__main__":
    sys.exit(main())
