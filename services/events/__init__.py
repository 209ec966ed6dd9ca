"""The events service: personalize-events. An answer leaves when Redis has what was sent."""
