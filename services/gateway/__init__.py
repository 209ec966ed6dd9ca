"""The gateway: an event-driven proxy that offers the three services at one port, and routes by path.

`connections` has the connections of clients, with their limits; `upstreams` those to the services; `app` forwards or
refuses requests; `worker` is the gunicorn worker whose event loop runs all of it.
"""
