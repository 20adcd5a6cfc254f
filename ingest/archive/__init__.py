"""The archive: old entries in files, chained by hashes, read as one with the streams."""
