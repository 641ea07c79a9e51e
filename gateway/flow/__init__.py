"""The way of an instance: receive, route, forward, sweep."""
