"""The wire: what Amazon Personalize's clients send and expect, read from botocore's own service models.

Nothing here knows what a resource is; it only knows how requests, answers, errors and signatures look.
"""
