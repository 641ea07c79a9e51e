"""The work queue: it only wakes the next stage up; whatever it loses, a sweep of the ledger finds again."""
