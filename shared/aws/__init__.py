"""The wire format of Amazon Personalize: requests, answers, errors and signatures, from botocore's service models.

Nothing here knows resources or HTTP servers.
"""
