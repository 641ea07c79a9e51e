"""An asynchronous DICOM routing and forwarding gateway: receive, make durable, route, deliver."""

__version__ = "0.1.0"
