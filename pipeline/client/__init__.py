"""For applications: clients that search and embed, blocking or in an event loop, without a model.

Queries get their vectors from a running ``pipeline serve``, by way of the database. Only who asks
for it has a model in its own process.
"""
