"""What state everything is in: sessions, instances, payloads, deliveries, destinations, rules and decisions."""
