"""The events service: personalize-events. It answers once Redis has stored the records."""
