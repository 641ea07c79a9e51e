"""Sockets for `gateway.dicom`: acceptor and requestor drivers on asyncio."""
