"""DICOM's upper layer and message exchange, sans-IO: bytes in, events out; no socket, clock or file."""
