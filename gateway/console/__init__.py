"""What a host shows over HTTP: health, version and metrics."""
