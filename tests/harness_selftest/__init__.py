"""The harness itself is tested: peers really work, faults really happen, and the checker really finds."""
