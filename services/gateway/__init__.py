"""One port for the three services: an event-driven front that looks at the path and at nothing else.

`connections` are those of clients, with their limits; `upstreams` those to the services; `app` says what passes, and
what is refused; `worker` is gunicorn's, in whose event loop all of it runs.
"""
