"""Bytes wherever they lie: paths and URLs, fetched with retries into a bounded local cache."""
