"""Processes and stores for tests from outside: the server, MinIO, buckets, and clients that keep score."""
